"""Objectives: losses, scores and exact statistics, one objective per paper.

Functions such as `deep_svdd` make an objective from networks and a loss; `DAGMM` is a class.
Wrappers such as `Trimmed` change how any objective is trained.
"""

import warnings
from typing import Any

from jaxad.objectives.base import BaseObjective as BaseObjective
from jaxad.objectives.compound import Compound as Compound
from jaxad.objectives.contraction import ContractionMatching as ContractionMatching
from jaxad.objectives.contraction import tccm as tccm
from jaxad.objectives.dagmm import DAGMM as DAGMM
from jaxad.objectives.diffusion_time import DiffusionTime as DiffusionTime
from jaxad.objectives.diffusion_time import dte_c as dte_c
from jaxad.objectives.feature_bags import ConstantOutput as ConstantOutput
from jaxad.objectives.feature_bags import dean as dean
from jaxad.objectives.internal_contrast import InternalContrast as InternalContrast
from jaxad.objectives.internal_contrast import icl as icl
from jaxad.objectives.learned_views import LearnedViews as LearnedViews
from jaxad.objectives.learned_views import neutral_ad as neutral_ad
from jaxad.objectives.padding import Padded as Padded
from jaxad.objectives.padding import padded as padded
from jaxad.objectives.reconstruction import Reconstruction as Reconstruction
from jaxad.objectives.reconstruction import autoencoder as autoencoder
from jaxad.objectives.reconstruction import encoder_of as encoder_of
from jaxad.objectives.reconstruction import mean_squared_error as mean_squared_error
from jaxad.objectives.reconstruction import sum_squared_error as sum_squared_error
from jaxad.objectives.score_matching import ScoreMatching as ScoreMatching
from jaxad.objectives.score_matching import k_dsm as k_dsm
from jaxad.objectives.svdd import Hypersphere as Hypersphere
from jaxad.objectives.svdd import deep_sad as deep_sad
from jaxad.objectives.svdd import deep_svdd as deep_svdd
from jaxad.objectives.view_classifier import MapReconstruction as MapReconstruction
from jaxad.objectives.view_classifier import ViewClassifier as ViewClassifier
from jaxad.objectives.view_classifier import goad as goad
from jaxad.objectives.view_classifier import image_goad as image_goad
from jaxad.objectives.wrappers import LOE as LOE
from jaxad.objectives.wrappers import Denoised as Denoised
from jaxad.objectives.wrappers import FeatureBag as FeatureBag
from jaxad.objectives.wrappers import Trimmed as Trimmed
from jaxad.objectives.wrappers import Wrapper as Wrapper
from jaxad.registry import OBJECTIVES as OBJECTIVES

_RENAMED = {
    "AutoEncoder": autoencoder,
    "DeepSAD": deep_sad,
    "DeepSVDD": deep_svdd,
    "GOAD": goad,
    "ImageGOAD": image_goad,
}


def __getattr__(name: str) -> Any:
    if name not in _RENAMED:
        raise AttributeError(f"module 'jaxad.objectives' has no attribute {name!r}")
    now = _RENAMED[name]
    warnings.warn(
        f"objectives.{name} is a function and is called objectives.{now.__name__} now",
        DeprecationWarning,
        stacklevel=2,
    )
    return now
