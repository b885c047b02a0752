"""Objectives: what a network is trained for, one per paper."""

from jaxad.objectives.autoencoder import AutoEncoder as AutoEncoder
from jaxad.objectives.autoencoder import encoder_of as encoder_of
from jaxad.objectives.deep_svdd import DeepSVDD as DeepSVDD
