"""Long frames of made groups, and small fleets, for the tests of fleets."""

import warnings

import numpy as np
import pandas as pd
from cases import fresh

import jaxad

COLUMNS = list("abcd")
SIZES = (60, 120, 300, 20, 1, 61)  # in a fleet of `small`, those of 20 and 1 have no model
TINY = {"hidden": (4,), "latent_dim": 2, "epochs": 2}


def made(sizes=SIZES, seed=0, shuffled=True, names="m"):
    """A long frame: groups ``m0``, ``m1``, ... of these sizes, each around a place of its own."""
    draw = np.random.default_rng(seed)
    code = np.repeat(np.arange(len(sizes)), sizes)
    code = draw.permutation(code) if shuffled else code
    places = np.random.default_rng(9).normal(size=(10_000, len(COLUMNS)))[: len(sizes)]
    x = 5 * places[code] + draw.normal(size=(len(code), len(COLUMNS)))
    frame = pd.DataFrame(x.astype(np.float32), columns=COLUMNS)
    frame["machine"] = [f"{names}{c}" for c in code]
    return frame


def small(detector="DeepSVDD", group="machine", *, settings=(), **options):
    """An unfitted fleet of small networks, by the detector's name or with a detector."""
    if isinstance(detector, str):
        detector = fresh(detector, **dict(settings))
    given = {"min_rows": 50, "false_alarm_rate": 0.1, "random_state": 0}
    return jaxad.Fleet(detector, group, **given | options)


def fitted(frame=None, detector="DeepSVDD", checkpoints=None, **options):
    """A fleet fitted to ``made()``, or another frame, without the warnings of few rows."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*cannot be promised")
        fleet = small(detector, **options)
        return fleet.fit(made() if frame is None else frame, checkpoints=checkpoints)


def same(one, other):
    """Whether two frames or arrays are equal to the bit, NaN included."""
    if isinstance(one, pd.DataFrame):
        pd.testing.assert_frame_equal(one, other, check_exact=True)
        return True
    if isinstance(one, pd.Series):
        pd.testing.assert_series_equal(one, other, check_exact=True)
        return True
    return np.array_equal(one, other, equal_nan=np.asarray(one).dtype.kind == "f")
