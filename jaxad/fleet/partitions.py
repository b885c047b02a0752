"""Fleets beyond one machine: pure functions for the partitions of a table, on any engine.

Every partition holds whole groups. What a group's model depends on, beside its own rows in their
order, is small and the same for all: the prior of the scalers and the global model. So a fit has
five steps, of which the first and the third run wherever the partitions are:

1. `survey_partition`: what is known of a partition's groups, before any model is trained;
2. ``Fleet.begin``: from all surveys, what the groups share;
3. `fit_partition`: the models of a partition's groups, as one population;
4. ``Fleet.merge``: all models, one fleet;
5. ``Fleet.score`` of any rows, which need not be whole groups.

The fleet equals, to the bit, the one that is fitted on all rows at once, on the same kind of
machine. What goes over the wire are the fleet, which any pickle takes, and frames with one row and
two columns, ``groups`` (how many) and ``survey`` or ``model`` (bytes in the safetensors format,
without code in them).

``Fleet.fit`` does this by itself for Dask and Ray. On Spark, with ``rows`` of whole groups::

    rows = frame.repartition("machine").sortWithinPartitions("time")

    def surveys(frames):
        yield survey_partition(frames, fleet)

    def models(frames):
        yield fit_partition(frames, fleet)

    def scores(frames):
        for frame in frames:
            yield fleet.score(frame).astype({"source": str}).assign(time=frame["time"])

    fleet.begin(rows.mapInPandas(surveys, "groups long, survey binary").toPandas())
    fleet.merge(rows.mapInPandas(models, "groups long, model binary").toPandas())
    schema = "machine string, score double, p_value double, is_anomaly boolean, "
    schema += "source string, time long"
    scored = rows.mapInPandas(scores, schema)
"""

from collections.abc import Iterable, Iterator
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from jaxad import persistence
from jaxad.fleet import storage
from jaxad.fleet.scaling import Moments
from jaxad.fleet.shared import Shared
from jaxad.fleet.survey import Drawn, Key, Survey, check_distinct, keys_of
from jaxad.fleet.tables import Table
from jaxad.fleet.waves import Trained
from jaxad.persistence import made_from
from jaxad.training.threads import among_others
from jaxad.training.trees import digest


class Begun(NamedTuple):
    """A fit between its survey and its training.

    Attributes:
      shared: what the groups share.
      groups: the number of groups that were surveyed.
      rows: the number of their rows.
    """

    shared: Shared
    groups: int
    rows: int

    @property
    def mark(self) -> str:
        """What the models of this fit are known by."""
        shared = self.shared
        return digest((shared.seed, *shared.prior, shared.model, shared.held_out))


class Part(NamedTuple):
    """The groups of a partition and what came of them.

    Attributes:
      keys: identifiers.
      rows: ``[G]`` the number of rows of each.
      trained: the outcome of their training.
      recent: rows that are not known anomalies, and alarms among them, of each group, by the models
        before the training.
    """

    keys: list[Key]
    rows: np.ndarray
    trained: Trained
    recent: dict[Key, tuple[int, int]]

    @staticmethod
    def join(parts: Iterable["Part"]) -> "Part":
        """All groups of the parts.

        Raises:
          ValueError: a group is in several parts.
        """
        parts = list(parts)
        keys = [key for part in parts for key in part.keys]
        check_distinct(keys)
        rows = np.concatenate([np.zeros(0, np.int64), *(part.rows for part in parts)])
        recent = {key: counts for part in parts for key, counts in part.recent.items()}
        return Part(keys, rows, Trained.join([part.trained for part in parts]), recent)


def survey_partition(frame: Any, fleet: Any) -> pd.DataFrame:
    """Survey the groups of a partition, for ``Fleet.begin``.

    Args:
      frame: the rows of whole groups: a table as for ``Fleet.fit``, or an iterator of frames, such
        as ``mapInPandas`` of Spark gives.
      fleet: a `jaxad.Fleet` whose ``random_state`` is a whole number; it stays as it is.

    Returns:
      A pandas frame of one row: ``groups``, their number, and ``survey``, bytes. No row if the
      partition has none.

    Raises:
      ValueError: as ``Fleet.fit``, or ``random_state`` is no whole number.

    Example:
      >>> import jaxad
      >>> rng = np.random.default_rng(0)
      >>> frame = pd.DataFrame(rng.normal(size=(900, 3)), columns=["power", "heat", "speed"])
      >>> frame["machine"] = np.repeat(["a", "b", "c"], 300)
      >>> parts = [frame[:300], frame[300:]]
      >>> fleet = jaxad.Fleet(jaxad.DeepSVDD(epochs=2), group="machine", random_state=0)
      >>> fleet.begin([survey_partition(part, fleet) for part in parts])
      Fleet(detector=DeepSVDD(epochs=2), group='machine', random_state=0)
      >>> models = [fit_partition(part, fleet) for part in parts]
      >>> [frame.groups.tolist() for frame in models]
      [[1], [2]]
      >>> sorted(fleet.merge(models))
      ['a', 'b', 'c']
    """
    fleet._check(None)
    seed = whole_seed(fleet)
    frames = _frames(frame)
    if frames is None:
        return _row(survey=None)
    with among_others():
        table = fleet._open(frames, None)
        found = fleet._survey(table, seed, fleet.false_alarm_rate)
    return _row(survey=(len(found.keys), persistence.dumps(*_pack_survey(found))))


def fit_partition(frame: Any, fleet: Any) -> pd.DataFrame:
    """Train the groups of a partition, for ``Fleet.merge``.

    It uses one thread, as the tasks beside it have the other cores, or as many as the fleet's
    ``threads`` or the environment variable ``JAXAD_THREADS`` say.

    Args:
      frame: the rows of whole groups, in the order that they were surveyed in; see
        `survey_partition`.
      fleet: what ``Fleet.begin`` returned; it stays as it is.

    Returns:
      A pandas frame of one row: ``groups``, their number, and ``model``, bytes. No row if the
      partition has none.

    Raises:
      ValueError: as ``Fleet.fit``, or ``begin`` was not called.
    """
    begun = begun_of(fleet)
    frames = _frames(frame)
    if frames is None:
        return _row(model=None)
    with among_others():
        table = fleet._open(frames, begun.shared.columns)
        part = fit_part(fleet, begun.shared, table)
    arrays, metadata = storage.pack_trained(part.trained)
    metadata |= {"groups": part.keys, "begun": begun.mark}
    data = persistence.dumps({"trained": arrays, "rows": part.rows}, metadata)
    return _row(model=(len(part.keys), data))


def fit_part(fleet: Any, shared: Shared, table: Table) -> Part:
    """Train the groups of a table, given what all groups share."""
    found = fleet._survey(table, shared.seed, fleet.false_alarm_rate)
    return fleet._fit_part(shared, table, found)


def update_partition(frame: Any, fleet: Any, epochs: int) -> Part:
    """Train on the groups of a partition, as ``Fleet.update``; the fleet stays as it is."""
    with among_others():
        return fleet._update_part(fleet._open(frame, fleet.columns_), epochs)


def score_partition(frame: Any, fleet: Any) -> Any:
    """``fleet.score`` of any rows, also of none."""
    if not len(frame):
        scores = {"score": np.float64, "p_value": np.float64, "is_anomaly": np.bool_}
        kinds = pd.CategoricalDtype(["global", "own"])
        return _without_rows(frame, fleet, scores | {"source": kinds})
    with among_others():
        return fleet.score(frame)


def predict_partition(frame: Any, fleet: Any) -> pd.Series:
    """``fleet.predict`` of any rows, also of none, with their index."""
    with among_others():
        found = fleet.predict(frame) if len(frame) else np.zeros(0, np.int64)
    return pd.Series(found, index=frame.index, name="prediction")


def _without_rows(frame: pd.DataFrame, fleet: Any, columns: dict[str, Any]) -> pd.DataFrame:
    """The columns of the group and others, without rows, with the frame's kind of index."""
    if missing := [repr(name) for name in fleet._group_names if name not in frame]:
        raise ValueError(
            f"group: the frame has no column {', '.join(missing)}; it has "
            f"{', '.join(map(repr, frame.columns))}"
        )
    empty = frame[fleet._group_names].iloc[:0]
    return empty.assign(**{name: pd.Series([], dtype=kind) for name, kind in columns.items()})


def begun_of(fleet: Any) -> Begun:
    """How a fit was begun.

    Raises:
      ValueError: it was not.
    """
    if not hasattr(fleet, "_begun"):
        raise ValueError(
            "the fleet was not begun, so its groups share no prior and no global model yet: call "
            "fleet.begin with the surveys of all partitions first, from survey_partition"
        )
    return fleet._begun


def whole_seed(fleet: Any) -> int:
    """The fleet's seed.

    Raises:
      ValueError: ``random_state`` is not a whole number, so partitions would draw different ones.
    """
    seed = fleet.random_state
    if not isinstance(seed, Integral) or isinstance(seed, bool):
        raise ValueError(
            f"random_state={seed!r} gives every partition another seed: give a whole number"
        )
    return int(seed)


def join_surveys(frames: Any) -> Survey:
    """The survey of all groups, from frames of `survey_partition` in any order.

    Raises:
      ValueError: there is none, partitions share a group, or they differ in their columns.
    """
    surveys = []
    for data in _cells(frames, "survey"):
        content = persistence.loads(data)
        with made_from("bytes", "survey of a partition"):
            surveys.append(_unpack_survey(*content))
    if not surveys:
        raise ValueError("surveys is empty: give the surveys of partitions that have rows")
    return Survey.join(surveys)


def join_models(frames: Any, begun: Begun) -> Part:
    """The groups of all partitions, from frames of `fit_partition` in any order.

    Raises:
      ValueError: partitions share a group, or they are not those that were surveyed.
    """
    parts, mark = [], begun.mark
    for data in _cells(frames, "model"):
        arrays, metadata = persistence.loads(data)
        if metadata.get("begun") != mark:
            raise ValueError(
                "models has a partition that was trained for another fit: call fit_partition with "
                "the fleet that begin returned, on every partition"
            )
        with made_from("bytes", "model of a partition"):
            keys = keys_of(metadata["groups"])
            trained = storage.unpack_trained(arrays["trained"], metadata)
            parts.append(Part(keys, arrays["rows"], trained, {}))
    whole = Part.join(parts)
    if (len(whole.keys), int(whole.rows.sum())) != (begun.groups, begun.rows):
        raise ValueError(
            f"models has {len(whole.keys)} groups with {int(whole.rows.sum())} rows, but "
            f"{begun.groups} groups with {begun.rows} rows were surveyed: give the models of the "
            "same partitions, each of them once"
        )
    return whole


def _frames(frame: Any) -> Any:
    """The partition as a table that can be read repeatedly; None if it has no rows."""
    if isinstance(frame, Iterator):
        frame = list(frame)
    if isinstance(frame, list | tuple):
        frame = [part for part in frame if len(part)]
        return frame or None
    return (
        None
        if hasattr(frame, "__len__") and not isinstance(frame, str) and not len(frame)
        else frame
    )


def _row(**cell: tuple[int, bytes] | None) -> pd.DataFrame:
    """A frame of ``groups`` and one column of bytes, with one row, or none for None."""
    ((name, content),) = cell.items()
    groups, data = ([], []) if content is None else ([content[0]], [content[1]])
    return pd.DataFrame(
        {"groups": pd.Series(groups, dtype=np.int64), name: pd.Series(data, dtype=object)}
    )


def _cells(frames: Any, name: str) -> list[bytes]:
    """The bytes of one frame, or of several."""
    frames = [frames] if isinstance(frames, pd.DataFrame) else list(frames)
    for frame in frames:
        if not isinstance(frame, pd.DataFrame) or name not in frame:
            raise ValueError(
                f"{name}s: {type(frame).__name__} is no frame with a column {name!r}: give what "
                f"{'survey' if name == 'survey' else 'fit'}_partition returned"
            )
    return [bytes(data) for frame in frames for data in frame[name]]


def _pack_survey(found: Survey) -> tuple[dict[str, Any], dict[str, Any]]:
    """A survey as nested arrays and metadata ready for JSON."""
    drawn = found.drawn
    arrays = {
        "rows": found.rows,
        "moments": found.moments._asdict(),
        "x": np.concatenate([one.x for one in drawn]),
        "label": np.concatenate([one.label for one in drawn]),
        "drawn": np.array([len(one.x) for one in drawn], np.int64),
        "train": np.array([one.train for one in drawn], np.int64),
    }
    labels = sorted(found.labels)
    return arrays, {"columns": list(found.columns), "keys": found.keys, "labels": labels}


def _unpack_survey(arrays: dict[str, Any], metadata: dict[str, Any]) -> Survey:
    """The inverse of `_pack_survey`."""
    ends = np.cumsum(arrays["drawn"])[:-1]
    split = np.split(arrays["x"], ends), np.split(arrays["label"], ends), arrays["train"].tolist()
    keys = keys_of(metadata["keys"])
    moments, drawn = Moments(**arrays["moments"]), [Drawn(*one) for one in zip(*split, strict=True)]
    counts = {len(part) for part in (keys, arrays["rows"], drawn, *moments)}
    if counts != {len(keys)}:
        raise ValueError(f"it has parts of {sorted(counts)} groups")
    if len(set(keys)) < len(keys):
        raise ValueError("it has a group twice")
    labels = frozenset(metadata["labels"])
    return Survey(tuple(metadata["columns"]), keys, arrays["rows"], moments, drawn, labels)
