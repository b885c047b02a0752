"""Formulas from papers: arrays in, one value per row out; no network, no state, no reduction."""

from jaxad.losses import hypersphere as hypersphere
from jaxad.losses import reconstruction as reconstruction
from jaxad.losses import sad as sad
