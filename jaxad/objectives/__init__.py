"""Objectives: what a network is trained for, one per paper."""

from jaxad.objectives.autoencoder import AutoEncoder as AutoEncoder
from jaxad.objectives.autoencoder import encoder_of as encoder_of
from jaxad.objectives.autoencoder import mean_squared_error as mean_squared_error
from jaxad.objectives.autoencoder import sum_squared_error as sum_squared_error
from jaxad.objectives.compound import Compound as Compound
from jaxad.objectives.dagmm import DAGMM as DAGMM
from jaxad.objectives.deep_sad import DeepSAD as DeepSAD
from jaxad.objectives.deep_svdd import DeepSVDD as DeepSVDD
from jaxad.objectives.goad import GOAD as GOAD
from jaxad.objectives.goad import MapReconstruction as MapReconstruction
from jaxad.objectives.goad_images import ImageGOAD as ImageGOAD
