"""KDD'99, ten per cent: the raw file, the scaled copy of DAGMM's code, and KDD-Rev.

As in DAGMM (Zong et al., ICLR 2018) and GOAD (Bergman & Hoshen, ICLR 2020) the attacks, four fifths
of the rows, count as normal, and connections labelled ``normal.`` are the anomalies.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from jaxad.data.protocols import as_marks
from jaxad.data.tables import arrays

_COLUMNS = (
    "duration protocol_type service flag src_bytes dst_bytes land wrong_fragment urgent hot "
    "num_failed_logins logged_in num_compromised root_shell su_attempted num_root "
    "num_file_creations num_shells num_access_files num_outbound_cmds is_host_login "
    "is_guest_login count srv_count serror_rate srv_serror_rate rerror_rate srv_rerror_rate "
    "same_srv_rate diff_srv_rate srv_diff_host_rate dst_host_count dst_host_srv_count "
    "dst_host_same_srv_rate dst_host_diff_srv_rate dst_host_same_src_port_rate "
    "dst_host_srv_diff_host_rate dst_host_serror_rate dst_host_srv_serror_rate "
    "dst_host_rerror_rate dst_host_srv_rerror_rate"
).split()
_SYMBOLIC = ["protocol_type", "service", "flag"]


class Reversed(NamedTuple):
    """A set with the roles exchanged.

    Attributes:
      rows: ``[n]`` row numbers, ascending.
      is_anomaly: ``[n]`` bool, in the new roles.
    """

    rows: np.ndarray
    is_anomaly: np.ndarray


def kdd_rev(is_anomaly: Any, seed: Any) -> Reversed:
    """KDD-Rev: all rows labelled ``normal.`` are normal, a quarter as many attacks anomalous.

    Which attacks is random. Of KDD'99 ten per cent that makes 97,278 normal rows and 24,319
    anomalies, a fifth of the rows. Split it with ``half_normals(reversed.is_anomaly, seed)`` and
    take ``reversed.rows`` of that.

    Args:
      is_anomaly: ``[N]`` marks of ``load("kddcup99")``: true where a connection is ``normal.``.
      seed: an int, or a numpy Generator, which advances.

    Raises:
      ValueError: there are not enough attacks.

    Example:
      >>> reversed = kdd_rev([1] * 8 + [0] * 32, seed=0)
      >>> len(reversed.rows), int(reversed.is_anomaly.sum())
      (10, 2)
    """
    marks = as_marks(is_anomaly)
    normal, attacks = np.flatnonzero(marks), np.flatnonzero(~marks)
    count = len(normal) // 4
    if len(attacks) < count:
        raise ValueError(f"KDD-Rev takes {count} attacks, but is_anomaly leaves {len(attacks)}")
    drawn = np.random.default_rng(seed).choice(attacks, count, replace=False)
    rows = np.sort(np.concatenate([normal, drawn]))
    return Reversed(rows, ~marks[rows])


def _raw(paths: list[Path]) -> dict[str, Any]:
    """118 columns: the 38 numeric ones as they are, then one for each value of the symbolic ones.

    The four binary columns stay one column each; with two each, where both values occur, there
    would be 121.
    """
    frame = pd.read_csv(paths[0], header=None, names=[*_COLUMNS, "label"])
    label = frame.pop("label").to_numpy(str)
    encoded = pd.get_dummies(frame, columns=_SYMBOLIC, prefix_sep="=", dtype=np.uint8)
    return {
        "x": encoded.to_numpy(np.float64),
        "is_anomaly": label == "normal.",
        "label": label,
        "features": tuple(encoded.columns),
    }


def _scaled(paths: list[Path]) -> dict[str, Any]:
    (kdd,) = arrays(paths[0], "kdd")
    return {"x": kdd[:, :-1], "is_anomaly": as_marks(kdd[:, -1])}


READERS: dict[str, Callable[[list[Path]], dict[str, Any]]] = {"kdd": _raw, "kdd_npz": _scaled}
