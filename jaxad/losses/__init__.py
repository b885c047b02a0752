"""Losses: formulas from papers, from arrays to one value per row, without networks or state."""

from jaxad.losses import contrastive as contrastive
from jaxad.losses import diffusion_time as diffusion_time
from jaxad.losses import hypersphere as hypersphere
from jaxad.losses import mixture as mixture
from jaxad.losses import reconstruction as reconstruction
from jaxad.losses import sad as sad
from jaxad.losses import score_matching as score_matching
from jaxad.losses import transformation as transformation
