"""Hyper-parameter search with Optuna: trials are trained as populations and pruned early."""

from jaxad.tuning.criteria import CRITERIA as CRITERIA
from jaxad.tuning.tune import Tuned as Tuned
from jaxad.tuning.tune import tune as tune
