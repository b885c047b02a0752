"""A small table of groups, fleets for it, and whether two fleets are equal."""

import os
import signal

import jax
import numpy as np
import pandas as pd

import jaxad

FEATURES = ["power", "heat", "speed", "load"]


def table_of(groups=13, seed=0):
    """Rows of groups in mixed order; the last group has too few for a model of its own."""
    random = np.random.default_rng(seed)
    sizes = np.r_[random.integers(60, 320, groups - 1), 20]
    code = random.permutation(np.repeat(np.arange(groups), sizes))
    x = random.normal(size=(groups, 4))[code] * 5 + random.normal(size=(len(code), 4))
    frame = pd.DataFrame(x.astype(np.float32), columns=FEATURES)
    return frame.assign(machine=np.array(list("abcdefghijklmnopqrstuvwxyz"))[code])


def fleet_of(kind=jaxad.DeepSVDD, **options):
    """An unfitted fleet of small detectors."""
    detector = kind(n_members=1, hidden=(8,), latent_dim=4, epochs=3)
    given = {"detector": detector, "group": "machine", "min_rows": 50, "random_state": 0}
    return jaxad.Fleet(**given | {"false_alarm_rate": 0.05} | options)


def same_fleets(one, other, table):
    """Fail unless two fleets are equal to the bit, and score a table so."""
    pd.testing.assert_frame_equal(one.groups_, other.groups_, check_exact=True)
    pd.testing.assert_frame_equal(one.score(table), other.score(table), check_exact=True)
    left, right = (jax.tree.leaves_with_path(f._models.arrays) for f in (one, other))
    for (path, a), (_, b) in zip(left, right, strict=True):
        np.testing.assert_array_equal(a, b, err_msg=jax.tree_util.keystr(path))


class Dying(jaxad.DeepSVDD):
    """Its training kills the first process that comes to it, unless it is the process ``DRIVER``.

    The file ``DEAD`` says that one has died.
    """

    def _check_rows(self, row, count):
        super()._check_rows(row, count)
        if os.getpid() == int(os.environ["DRIVER"]):
            return
        try:
            os.close(os.open(os.environ["DEAD"], os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return
        os.kill(os.getpid(), signal.SIGKILL)
