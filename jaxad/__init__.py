"""Deep anomaly detection in JAX: whole training runs compiled, alone or by the hundred."""

from jaxad.estimators import DAGMM as DAGMM
from jaxad.estimators import GOAD as GOAD
from jaxad.estimators import AutoEncoder as AutoEncoder
from jaxad.estimators import CollapseWarning as CollapseWarning
from jaxad.estimators import DeepSAD as DeepSAD
from jaxad.estimators import DeepSVDD as DeepSVDD
from jaxad.estimators import cross_val as cross_val
from jaxad.estimators import fit_many as fit_many
from jaxad.estimators import labels_from_anomalies as labels_from_anomalies
from jaxad.estimators import load as load
from jaxad.estimators import sweep as sweep
from jaxad.persistence import FileFormatError as FileFormatError
from jaxad.training import NonFiniteError as NonFiniteError

__version__ = "0.1.0"
