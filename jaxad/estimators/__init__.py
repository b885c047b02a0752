"""Estimators: detectors with the interface of scikit-learn."""

from jaxad.checks import labels_from_anomalies as labels_from_anomalies
from jaxad.estimators.autoencoder import AutoEncoder as AutoEncoder
from jaxad.estimators.base import CollapseWarning as CollapseWarning
from jaxad.estimators.base import Detector as Detector
from jaxad.estimators.base import LabelWarning as LabelWarning
from jaxad.estimators.base import argument as argument
from jaxad.estimators.dagmm import DAGMM as DAGMM
from jaxad.estimators.deep_sad import DeepSAD as DeepSAD
from jaxad.estimators.deep_svdd import DeepSVDD as DeepSVDD
from jaxad.estimators.goad import GOAD as GOAD
from jaxad.estimators.k_dsm import KDSM as KDSM
from jaxad.estimators.objective_detector import ObjectiveDetector as ObjectiveDetector
from jaxad.estimators.pipelines import explain as explain
from jaxad.estimators.storage import load as load
from jaxad.estimators.tccm import TCCM as TCCM
from jaxad.registry import DETECTORS as DETECTORS
