"""Fleets: one detector for each group of a table's rows."""

import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Self

import jax
import numpy as np
import pandas as pd
from scipy.stats import betabinom
from sklearn.base import BaseEstimator, clone
from sklearn.utils.validation import check_is_fitted

from jaxad import training
from jaxad.checks import Choice, Flag, Interval, Special, Whole, seed_from
from jaxad.estimators import Detector, ensemble, prepare
from jaxad.estimators.devices import on_device
from jaxad.estimators.fitting import subfolder
from jaxad.estimators.scaling import AffineScaler
from jaxad.fleet import calibration, partitions, shared, storage
from jaxad.fleet.calibration import Calibration, calibrate
from jaxad.fleet.engines import Engine, engine_of
from jaxad.fleet.models import Models
from jaxad.fleet.partitions import Begun, Part
from jaxad.fleet.routing import route
from jaxad.fleet.scoring import Request, Scaled
from jaxad.fleet.shared import GLOBAL, Shared
from jaxad.fleet.survey import Key, Survey, evenly, in_order, labels_of, survey, takes_labels, waves
from jaxad.fleet.tables import Table, name_of, open_table
from jaxad.fleet.waves import Task, Trained, Trainer
from jaxad.networks import TABULAR
from jaxad.thresholds import p_values_from_sorted
from jaxad.training.history import last

_CHECKS = {
    "false_alarm_rate": Interval(0, 1, "neither"),
    "min_rows": Whole(),
    "unseen": Choice(("global", "raise")),
    "start": Choice(("global", "random")),
    "threads": Special(None, Whole()),
    "verbose": Flag(),
}
_RESULTS = ("score", "p_value", "is_anomaly", "source")  # columns of ``score``
_DERIVED = ("_places", "_numbers", "_bank", "_found_thresholds", "_table")
_SCALERS = ("auto", "standard", "none")


class Fleet(BaseEstimator):
    """One detector for each group of rows: for each machine, customer, sensor or site.

    ``fit`` takes a long table with a column that says which group a row belongs to, and trains a
    detector for each group that has enough rows, thousands of them as one population. Each group
    gets a scaler, shrunk towards the fleet's where it has few rows (`jaxad.fleet.scaling`), and a
    threshold from rows that it was not trained on (`jaxad.fleet.calibration`). A global model,
    trained on rows drawn evenly from all groups, scores groups with few rows and new ones.

    A group's model depends only on its own rows in their order, its identifier, the seed, and what
    the fleet shares (prior of the scalers, global model); thresholds that are not from the group's
    own scores, and their p-values, also on the held-out scores of groups of similar size. So the
    result is the same to the bit for any number of threads and, on the same kind of machine, for
    partitions of the table.

    Beside the table and the models, under 3 GB of memory are in use at a time (measured with 10,000
    groups of 1,440 rows and 100 columns): rows are read in waves of 256 MB, or of one larger group.

    Args:
      detector: any detector for tables. It stays unfitted. ``n_members="auto"`` means 1 here; its
        ``random_state``, ``threads`` and ``contamination`` do not matter, and its
        ``validation_fraction`` is 0, because a fleet holds out rows by itself.
      group: the column that tells the groups apart, or several. Identifiers are text, whole numbers
        or booleans.
      columns: the features; None: all other columns.
      label: the column of labels, +1 known normal, -1 known anomaly, 0 unlabelled, for detectors
        that take labels. Known anomalies never calibrate a threshold, and detectors that take no
        labels are not trained on them.
      false_alarm_rate: share of normal rows that are flagged in each group, in (0, 1). After
        ``fit``, `recalibrate` changes it.
      min_rows: groups with fewer rows get no model of their own.
      unseen: rows of groups that ``fit`` did not see get scores of the global model, ``"global"``,
        or an error, ``"raise"``.
      start: where the training of a group starts: from the ``"global"`` model's weights, or from
        ``"random"`` ones. Which is better depends on what the groups have in common; see
        ``docs/fleets.md``.
      random_state: seed, as for `DeepSVDD`.
      threads: at most so many threads, as for `DeepSVDD`.
      verbose: show a progress bar, with groups done and time left.

    Attributes:
      groups_: a frame with one row a group, in the order of identifiers: ``rows`` that it was
        fitted on, ``source`` of its scores (``"own"`` model or ``"global"``), ``note`` why it has
        no model of its own, ``loss`` of the last epoch, ``skipped_steps`` that were not finite,
        ``updates``, ``threshold`` and where it is from (``threshold_from``: the group's ``"own"``
        held-out rows, ``"pooled"`` ones of all groups, or ``"global"``), ``alarm_rate`` of its
        held-out rows, and ``recent_rows``, ``recent_alarm_rate`` of the last `update` or
        `recalibrate`, before it changed anything, with ``drift_p_value``: how likely so many alarms
        are without drift, given how far the true rates of groups are from the one asked for (NaN
        for groups without a model).
      global_: the global model, an ordinary detector.
      columns_: names of the features.
      compile_seconds_: seconds that ``fit`` spent compiling in this process.
      fit_seconds_: seconds of the rest of ``fit``.

    Example:
      >>> import jaxad, numpy as np, pandas as pd
      >>> rng = np.random.default_rng(0)
      >>> frame = pd.DataFrame(rng.normal(size=(900, 3)), columns=["power", "heat", "speed"])
      >>> frame["machine"] = np.repeat(["a", "b", "c"], 300)
      >>> fleet = jaxad.Fleet(jaxad.DeepSVDD(epochs=2), group="machine", random_state=0)
      >>> scored = fleet.fit(frame).score(frame)
      >>> scored.columns.tolist()
      ['machine', 'score', 'p_value', 'is_anomaly', 'source']
      >>> fleet["b"].anomaly_score(frame.loc[:2, ["power", "heat", "speed"]]).shape
      (3,)
    """

    _keys: list[Key]
    _rows: np.ndarray
    _rate: float

    def __init__(
        self,
        detector: Detector,
        group: str | Sequence[str],
        *,
        columns: Sequence[str] | None = None,
        label: str | None = None,
        false_alarm_rate: float = 0.01,
        min_rows: int = 200,
        unseen: str = "global",
        start: str = "global",
        random_state: Any = None,
        threads: int | None = None,
        verbose: bool = False,
    ):
        self.detector = detector
        self.group = group
        self.columns = columns
        self.label = label
        self.false_alarm_rate = false_alarm_rate
        self.min_rows = min_rows
        self.unseen = unseen
        self.start = start
        self.random_state = random_state
        self.threads = threads
        self.verbose = verbose

    def fit(self, frame: Any, *, checkpoints: Any = None) -> Self:
        """Train a model for each group.

        Args:
          frame: a pandas or polars frame, a pyarrow table, a Parquet file or a folder of them, or a
            stream: a function that returns a fresh iterator of frames at every call. Files and
            streams are read once for every 256 MB of rows, files only where they hold these rows.
            Or a Dask frame or a Ray data set: groups are trained where its partitions are, with one
            thread a task unless ``threads`` or ``JAXAD_THREADS`` say otherwise. Partitions are read
            twice, rows stay in the cluster's memory until the fit ends, and the progress is the
            engine's to show.
          checkpoints: `jaxad.training.Checkpoints`, or a folder: save every wave of groups, and
            resume after the last one. A resumed fit is the same to the bit.

        Raises:
          ValueError: an argument, a column or a value is invalid, or the checkpoints are another
            fit's; raised before anything is compiled.
          jaxad.NonFiniteError: the training of the global model met steps that are not finite.

        Warns:
          RuntimeWarning: groups get no model of their own, or no threshold can be promised.
        """
        self._check(checkpoints)
        engine = engine_of(frame)
        if checkpoints is not None and engine:
            raise ValueError(
                "checkpoints are for tables that one process reads; on Dask and Ray, the engine "
                "trains lost partitions again: leave checkpoints out"
            )
        with training.Stopwatch() as watch:
            seed = seed_from(self.random_state)
            if engine:
                self._finish(*self._fit_on(engine, frame, seed))
            else:
                table = self._open(frame, None)
                found = self._survey(table, seed, self.false_alarm_rate)
                common = self._shared_by(found, seed, checkpoints)
                self._finish(common, self._fit_part(common, table, found, checkpoints))
        self.compile_seconds_, self.fit_seconds_ = watch.compile_seconds, watch.run_seconds
        return self

    def begin(self, surveys: Any) -> Self:
        """Begin a fit on partitions: fit what all groups share; see `jaxad.fleet.partitions`.

        Args:
          surveys: what `jaxad.fleet.survey_partition` returned for all partitions, in any order: a
            list of frames, or one frame.

        Returns:
          This fleet, which `jaxad.fleet.fit_partition` then takes. An earlier fit of it stays until
          `merge`.

        Raises:
          ValueError: an argument is invalid, ``random_state`` is no whole number, a group is in
            several partitions, or these differ in their columns.
          jaxad.NonFiniteError: as for ``fit``.
        """
        self._check(None)
        seed = partitions.whole_seed(self)
        found = partitions.join_surveys(surveys)
        common = self._shared_by(found, seed)
        self._begun = Begun(common, len(found.keys), int(found.rows.sum()))
        return self

    def merge(self, models: Any) -> Self:
        """End a fit on partitions: the models of all of them are this fleet's.

        Args:
          models: what `jaxad.fleet.fit_partition` returned for all partitions, in any order: a list
            of frames, or one frame.

        Raises:
          ValueError: `begin` was not called, a group is in several partitions, or the partitions
            are not those that were surveyed.

        Warns:
          RuntimeWarning: as ``fit``.
        """
        begun = partitions.begun_of(self)
        self._finish(begun.shared, partitions.join_models(models, begun))
        del self._begun
        return self

    def score(self, frame: Any) -> Any:
        """Scores of rows by their groups' models.

        Args:
          frame: a table as for ``fit``; columns are found by name.

        Returns:
          A frame of the kind that was given, with its index; pandas for files and streams; of a
          Dask frame or a Ray data set a lazy one, the latter with all columns that are no features,
          since its rows have no index. Columns:
          those of the group; ``score``, higher = more anomalous, comparable within a group;
          ``p_value`` in (0, 1], small = anomalous, comparable between groups: the share of normal
          rows that score at least as high; ``is_anomaly``, whether it is at most
          ``false_alarm_rate``; ``source``, ``"own"`` or ``"global"``.

        Raises:
          ValueError: a column or value is invalid, or with ``unseen="raise"`` a group is new.
        """
        check_is_fitted(self)
        if engine := engine_of(frame):
            return engine.map(frame, partitions.score_partition, self)
        table = self._open_known(frame)
        score, p_value = np.empty(len(table)), np.empty(len(table))
        own = np.zeros(len(table), np.int8)
        for scored in self._scored(table):
            score[scored.number], p_value[scored.number] = scored.score, scored.p_value
            own[scored.number] = scored.model != GLOBAL
        return table.frame(
            {
                "score": score,
                "p_value": p_value,
                "is_anomaly": self._flags(p_value),
                "source": pd.Categorical.from_codes(own, ["global", "own"]),
            }
        )

    def predict(self, frame: Any) -> Any:
        """-1 for rows that ``score`` marks as anomalies, +1 for the others, ``[N]``.

        Of a Dask frame a lazy series, and of a Ray data set a column, ``prediction``.
        """
        check_is_fitted(self)
        if engine := engine_of(frame):
            return engine.map(frame, partitions.predict_partition, self)
        table = self._open_known(frame)
        p_value = np.empty(len(table))
        for scored in self._scored(table):
            p_value[scored.number] = scored.p_value
        return np.where(self._flags(p_value), -1, 1)

    def explain(
        self, frame: Any, method: str = "auto", *, background: Any = None, return_base: bool = False
    ) -> Any:
        """What each feature contributes to its row's score; see the detector's ``explain``.

        Args:
          frame: a table as for ``score``, but not of Dask or Ray.
          method: as for the detector.
          background: as for the detector, the features alone. None: the global model's background,
            in each group's own units.
          return_base: whether to return the bases ``[N]``, too, which differ between groups.

        Returns:
          A frame of the kind that was given: the columns of the group, and the features. With
          ``return_base`` a pair: the frame and the bases.
        """
        check_is_fitted(self)
        table = self._open_known(frame)
        found, base = np.empty((len(table), len(table.columns))), np.empty(len(table))
        options: dict[str, Any] = {"background": background, "return_base": True}
        for start, stop in waves(table):
            grouped = table.read(start, stop, check=True)
            for g in range(start, stop):
                place = slice(*grouped.offsets[g - start : g - start + 2])
                detector = self._detector(self._numbers.get(table.keys[g], GLOBAL))
                rows = pd.DataFrame(grouped.x[place], columns=list(table.columns))
                number = grouped.number[place]
                found[number], base[number] = detector.explain(rows, method, **options)
        explained = table.frame(dict(zip(table.columns, found.T, strict=True)))
        return (explained, base) if return_base else explained

    def update(self, frame: Any, *, epochs: int = 1) -> Self:
        """Train on with new rows: only the groups that occur in them.

        A group with a model goes on from its weights, with its scaler and a fresh optimizer, and is
        calibrated anew on rows held out from these. A group without one starts from the global
        model and is trained as in ``fit``. Groups with fewer than ``min_rows`` new rows stay as
        they are. The global model stays as it is. Beforehand all new rows are scored, which fills
        ``recent_rows``, ``recent_alarm_rate`` and ``drift_p_value`` in ``groups_``.

        Args:
          frame: a table as for ``fit``, also on Dask or Ray, of new rows.
          epochs: passes over the new rows for groups that have a model.

        Raises:
          ValueError: as in ``fit``.

        Warns:
          RuntimeWarning: the training of a group fails, and it keeps the model that it had.
        """
        check_is_fitted(self)
        Whole()("epochs", epochs)
        if engine := engine_of(frame):
            part = self._update_on(engine, frame, epochs)
        else:
            part = self._update_part(self._open(frame, self._common.columns), epochs)
        trained, models = part.trained, self._whole_models()
        if trained.models is not None:
            new = set(trained.models.keys)
            kept = [m for key, m in self._numbers.items() if key not in new]
            old = [models.take(kept)] if models and kept else []
            models = Models.join([trained.models, *old])
        counts = dict(zip(self._keys, self._rows.tolist(), strict=True))
        for key, count in zip(part.keys, part.rows.tolist(), strict=True):
            counts[key] = counts.get(key, 0) + count
        notes = {k: v for k, v in self._notes.items() if k in counts} | trained.failed
        recent = self._recent | part.recent
        self._adopt(self._common, counts, models, notes, recent, self._rate)
        if failed := list(trained.failed):
            _warning(
                f"{len(failed)} of {len(part.keys)} groups, such as {name_of(failed[0])}, were "
                f"not updated and are scored as before: {trained.failed[failed[0]]}",
                stacklevel=3,
            )
        return self

    def recalibrate(self, frame: Any = None, *, false_alarm_rate: float | None = None) -> Self:
        """Set new thresholds without training.

        Args:
          frame: a table as for ``fit`` of normal rows that the models were not trained on; they
            replace the held-out rows of the groups that occur in it. Those of groups without a
            model replace the held-out rows of the global model, if they suffice for the rate. None:
            keep those of ``fit``.
          false_alarm_rate: the new rate; None keeps the one that the fleet has.

        Raises:
          ValueError: neither is given, or an argument, a column or a value is invalid.
        """
        check_is_fitted(self)
        if frame is None and false_alarm_rate is None:
            raise ValueError("recalibrate needs normal rows, a false_alarm_rate, or both")
        rate = self._rate if false_alarm_rate is None else false_alarm_rate
        _CHECKS["false_alarm_rate"]("false_alarm_rate", rate)
        common, models, recent = self._common, self._whole_models(), {}
        if frame is not None:
            table = self._open_known(frame, empty=False)
            found = {s.key: s for s in self._scored(table)}
            recent = {key: s.alarms(self._flags) for key, s in found.items()}
            normal = {k: np.sort(s.score[s.normal]) for k, s in found.items() if s.normal.any()}
            if models is not None:
                held_out = [
                    normal.get(key, scores)
                    for key, scores in zip(models.keys, models.held_out, strict=True)
                ]
                models = models._replace(held_out=held_out)
            others = [normal[key] for key in normal if found[key].model == GLOBAL]
            together = evenly(others)
            if calibration.suffice(len(together), rate):
                common = common._replace(held_out=together)
        counts = dict(zip(self._keys, self._rows.tolist(), strict=True))
        recent = {k: v for k, v in (self._recent | recent).items() if k in counts}
        self._adopt(common, counts, models, self._notes, recent, rate)
        self.false_alarm_rate = rate
        return self

    def drop(self, groups: Iterable[Any]) -> Self:
        """Remove groups and their models; their rows are then those of unseen groups.

        Raises:
          KeyError: the fleet has no such group; nothing is removed.
          TypeError: ``groups`` is text.
        """
        check_is_fitted(self)
        if isinstance(groups, str):
            raise TypeError(f"groups={groups!r} is text: give a list, [{groups!r}]")
        gone = {self._known(group) for group in groups}
        counts = {
            k: n for k, n in zip(self._keys, self._rows.tolist(), strict=True) if k not in gone
        }
        models = self._whole_models()
        if models is not None:
            kept = [m for key, m in self._numbers.items() if key not in gone]
            models = models.take(kept) if kept else None
        recent = {key: value for key, value in self._recent.items() if key not in gone}
        notes = {key: why for key, why in self._notes.items() if key not in gone}
        self._adopt(self._common, counts, models, notes, recent, self._rate)
        return self

    def __getitem__(self, group: Any) -> Detector:
        """The fitted detector that scores a group's rows; the global model where it has none.

        Its scores agree with the fleet's up to rounding, and its ``threshold_`` is the group's.

        Raises:
          KeyError: the fleet has no such group.
        """
        check_is_fitted(self)
        return self._detector(self._numbers.get(self._known(group), GLOBAL))

    def _detector(self, m: int) -> Detector:
        """The fitted detector with the number ``m`` of a model."""
        detector: Any = clone(self._common.detector)
        source = vars(self._common.detector)
        vars(detector).update({k: v for k, v in source.items() if k.endswith("_")})
        detector.threshold_ = self._threshold(m)
        if m == GLOBAL:
            return detector
        arrays = self._checked_models([m])
        one = jax.tree.map(lambda leaf: np.asarray(leaf[m]), arrays)
        if self._common.detector.n_members_ == 1:
            for name in ("params", "stats", "history", "facts"):
                one[name] = jax.tree.map(lambda leaf: leaf[0] if leaf.ndim else leaf, one[name])
        facts = {name: value.tolist() for name, value in one["facts"].items()}
        facts = {k: tuple(v) if isinstance(v, list) else v for k, v in facts.items()}
        with on_device(detector.device):
            detector.params_, detector.stats_ = jax.device_put((one["params"], one["stats"]))
        detector.scaler_ = AffineScaler(**one["scaler"])
        detector.combination_ = one["combination"]
        detector.objective_ = detector._full_objective((len(self.columns_),), facts["rows"])
        epochs = ~np.isnan(one["history"]["learning_rate"])
        last = int(epochs.sum(axis=-1).max(initial=0))
        detector.history_ = {k: v[..., :last] for k, v in one["history"].items()}
        detector.n_steps_, detector.n_skipped_ = facts["steps"], facts["skipped"]
        detector.best_epoch_ = facts.get("best_epoch")
        vars(detector).pop("pretrain_history_", None)
        return detector

    def __len__(self) -> int:
        """The number of groups."""
        return len(self._keys)

    def __contains__(self, group: Any) -> bool:
        """Whether the fleet was fitted on rows of a group."""
        return self._as_key(group) in self._places

    def __iter__(self) -> Iterator[Any]:
        """The groups' identifiers, in the order of ``groups_``."""
        return iter(self.groups_.index)

    @property
    def groups_(self) -> pd.DataFrame:
        """A frame with one row a group."""
        check_is_fitted(self)
        if self._table is None:
            self._table = self._overview()
        return self._table.copy()

    @property
    def global_(self) -> Detector:
        """The global model."""
        check_is_fitted(self)
        return self._common.detector

    @property
    def columns_(self) -> tuple[Any, ...]:
        """Names of the features."""
        check_is_fitted(self)
        return self._common.columns

    def save(self, path: Any) -> None:
        """Write the fleet atomically to one file; `jaxad.load` opens it.

        The file is opened, not read: a group's model is read when it is first needed.

        Raises:
          ValueError: the detector's class is not registered.
          FileNotFoundError: the folder does not exist.
        """
        check_is_fitted(self)
        storage.save(self, path)

    # Shared by the methods above.

    def _check(self, checkpoints: Any) -> None:
        """Raise an error that names the first argument out of range."""
        for name, check in _CHECKS.items():
            check(name, getattr(self, name))
        if taken := [name for name in self._group_names if name in _RESULTS]:
            raise ValueError(
                f"the group column {taken[0]!r} has the name of a column of the result: rename it"
            )
        detector = self.detector
        if not isinstance(detector, Detector):
            raise TypeError(
                f"detector={detector!r} is no jaxad detector: give one, such as jaxad.DeepSVDD()"
            )
        detector._check_parameters()
        if isinstance(detector.network, str) and detector.network not in TABULAR:
            raise ValueError(
                f"detector.network={detector.network!r} takes images, but a fleet's rows are those "
                f"of a table: choose one of {', '.join(map(repr, TABULAR))}"
            )
        if detector.validation_fraction:
            raise ValueError(
                f"detector.validation_fraction={detector.validation_fraction}: a fleet holds out "
                "rows of each group by itself, to calibrate its threshold; set it to 0"
            )
        if detector.scaler not in _SCALERS:
            raise ValueError(
                f"detector.scaler={detector.scaler!r}: a fleet shrinks means and standard "
                "deviations of groups towards the fleet's, so it takes 'standard' or 'none'"
            )
        if checkpoints is not None and self.random_state is None:
            raise ValueError(
                "random_state=None is another seed in every fit, and none could go on from the "
                "checkpoints of the one before: give a whole number"
            )

    def _open(self, frame: Any, known: tuple[Any, ...] | None, *, empty: bool = False) -> Table:
        """The table of a frame; with the fitted columns, to score or to train on."""
        names = {"columns": self.columns, "label": self.label, "known": known}
        return open_table(frame, self.group, **names, empty=empty)

    def _survey(self, table: Table, seed: int, rate: float) -> Survey:
        """What is known of a table's groups before any model is trained."""
        return survey(table, seed, rate, len(table.keys), takes_labels(self.detector))

    def _shared_by(self, found: Survey, seed: int, checkpoints: Any = None) -> Shared:
        detector: Any = clone(self.detector)
        detector._check_marks(set(found.labels))
        members = detector.n_members
        members = detector._fewest_members if members == "auto" else int(members)
        detector.set_params(n_members=members, random_state=seed, warm_start=False, verbose=False)
        detector.set_params(threads=self.threads)
        options = {"seed": seed, "labelled": self.label is not None}
        options |= {"checkpoints": subfolder(checkpoints, "global")}
        return shared.begin(detector, found, **options)

    def _trainer(self, common: Shared, rate: float, **options: Any) -> Trainer:
        inputs = common.detector, common.seed, rate
        return Trainer(*inputs, threads=self.threads, **options)

    def _train_new(
        self,
        common: Shared,
        table: Table,
        found: Survey,
        wanted: np.ndarray,
        rate: float,
        *,
        start: Any,
        saved: Any = None,
    ) -> Trained:
        """Train groups of a table that have no model yet."""
        order = found.order_of(table.keys)
        shift, scale = common.scalers(found.moments)
        task = Task(table, wanted, found.train_rows(table.keys), shift[order], scale[order])
        trainer = self._trainer(common, rate, shared=start)
        return trainer.train(task, saved=saved, progress=self.verbose)

    def _fit_part(
        self, common: Shared, table: Table, found: Survey, checkpoints: Any = None
    ) -> Part:
        """Train the groups of a table, given what all groups share."""
        saved = storage.wave_saver(checkpoints, self, common, table, found)
        start = common.model if self.start == "global" else None
        wanted = table.counts >= self.min_rows
        inputs = common, table, found, wanted, self.false_alarm_rate
        trained = self._train_new(*inputs, start=start, saved=saved)
        return Part(list(table.keys), table.counts, trained, {})

    def _fit_on(self, engine: Engine, frame: Any, seed: int) -> tuple[Shared, Part]:
        """What groups share and their models, trained where the partitions of a frame are."""
        fleet: Any = clone(self)
        fleet.set_params(random_state=seed, verbose=False)
        rows, shared = route(engine, frame, fleet), engine.share(fleet)
        calls = [engine.call(partitions.survey_partition, part, shared) for part in rows]
        fleet.begin(engine.gather(calls))
        shared = engine.share(fleet)
        calls = [engine.call(partitions.fit_partition, part, shared) for part in rows]
        begun = partitions.begun_of(fleet)
        return begun.shared, partitions.join_models(engine.gather(calls), begun)

    def _update_on(self, engine: Engine, frame: Any, epochs: int) -> Part:
        """An update where the partitions of a frame are."""
        rows, fleet = route(engine, frame, clone(self), self.columns_), _twin(self)
        fleet.verbose = False
        shared = engine.share(fleet)
        calls = [engine.call(partitions.update_partition, part, shared, epochs) for part in rows]
        return Part.join(engine.gather(calls))

    def _update_part(self, table: Table, epochs: int) -> Part:
        """Train on the groups of a table, of which some may have models."""
        common, models = self._common, self._whole_models()
        found = self._survey(table, common.seed, self._rate)
        prepare.check_binary(self.detector, set(found.labels))
        recent = self._recent_of(table)
        enough = table.counts >= self.min_rows
        known = np.array([key in self._numbers for key in table.keys])
        inputs = common, table, found, enough & ~known, self._rate
        parts = [self._train_new(*inputs, start=common.model)]
        goes_on = enough & known
        if models is not None and goes_on.any():
            before = models.take([self._numbers[table.keys[g]] for g in np.flatnonzero(goes_on)])
            shift, scale = np.zeros((2, len(table.keys), len(table.columns)))
            scaler = before.arrays["scaler"]
            shift[goes_on], scale[goes_on] = scaler["shift"], scaler["scale"]
            trainer = self._trainer(common, self._rate, before=before, epochs=epochs)
            task = Task(table, goes_on, found.train_rows(table.keys), shift, scale)
            parts.append(trainer.train(task, progress=self.verbose))
        return Part(list(table.keys), table.counts, Trained.join(parts), recent)

    def _finish(self, common: Shared, part: Part) -> None:
        """Adopt the models of a fit, and warn of what the user should know."""
        counts = dict(zip(part.keys, part.rows.tolist(), strict=True))
        models, failed = part.trained.models, part.trained.failed
        self._adopt(common, counts, models, failed, {}, self.false_alarm_rate)
        self._warn()

    def _adopt(
        self,
        common: Shared,
        counts: dict[Key, int],
        models: Models | None,
        notes: dict[Key, str],
        recent: dict[Key, tuple[int, int]],
        rate: float,
    ) -> None:
        """Set the fitted attributes, all at once: after an error they are those of before."""
        fitted, keys = _twin(self), list(counts)
        fitted._rate = rate
        fitted._keys = [keys[i] for i in in_order(keys)]
        fitted._rows = np.array([counts[key] for key in fitted._keys], np.int64)
        if models is not None:
            models = models.take(in_order(models.keys))
        common = common._replace(detector=_twin(common.detector))  # its threshold may change
        found = None
        if models is not None:
            centre, spread = models.arrays["unit"].T
            sizes = models.arrays["facts"]["trained_on"]
            found = calibrate(models.held_out, centre, spread, sizes, rate)
        fitted._set(common, models, found, notes, recent)
        vars(self).update(vars(fitted))

    def _set(
        self,
        common: Shared,
        models: Models | None,
        found: Calibration | None,
        notes: dict[Key, str],
        recent: dict[Key, tuple[int, int]],
    ) -> None:
        self._common, self._models, self._calibration = common, models, found
        self._notes, self._recent = notes, recent
        self._unchecked: Any = None
        common.detector.threshold_ = self._threshold(GLOBAL)
        self._derive()

    def _derive(self) -> None:
        """Set what follows from the other attributes, and is not pickled: see ``_DERIVED``."""
        common, models = self._common, self._models
        self._places = {key: g for g, key in enumerate(self._keys)}
        keys = [] if models is None else models.keys
        self._numbers = {key: m for m, key in enumerate(keys)}
        self._bank = common.bank(models)
        self._found_thresholds: Any = None
        self._table: pd.DataFrame | None = None

    def _open_known(self, frame: Any, *, empty: bool = True) -> Table:
        """The table of a frame whose rows models are applied to; it may be ``empty``.

        Raises:
          ValueError: ``unseen`` is "raise", and a group is new.
        """
        table = self._open(frame, self._common.columns, empty=empty)
        new = [key for key in table.keys if key not in self._places]
        kinds = [tuple(map(type, keys[0])) for keys in (new, self._keys) if keys]
        if new and len(new) == len(table.keys) and len(set(kinds)) > 1:
            _warning(
                f"no group of the frame is known, for its identifiers, such as {name_of(new[0])}, "
                f"are of another type than the fleet's, such as {name_of(self._keys[0])}: convert "
                f"the column",
                stacklevel=4,
            )
        if new and self.unseen == "raise":
            raise ValueError(
                f"{len(new)} groups, such as {name_of(new[0])}, are not among the "
                f"{len(self._keys)} that the fleet was fitted on: leave them out, call update with "
                "enough of their rows, or set unseen='global'"
            )
        return table

    def _scored(self, table: Table) -> Iterator["_Scored"]:
        """Scores and p-values of a table, group by group."""
        for applied in self._applied(table, "score"):
            combination = self._combination(applied.model)
            combined = ensemble.combine(combination, applied.values).astype(np.float32)
            p_value = self._p_values(applied.model, combined)
            key, number, model, label, *_ = applied
            yield _Scored(key, number, model, combined, p_value, label >= 0)

    def _applied(self, table: Table, method: str) -> Iterator["_Applied"]:
        """A row-wise method of the rows' models, ``[P, n, ...]`` group by group."""
        models = [self._numbers.get(key, GLOBAL) for key in table.keys]
        arrays = self._checked_models([m for m in models if m != GLOBAL])
        for start, stop in waves(table):
            grouped = table.read(start, stop, check=True)
            labels = labels_of(grouped)
            requests, places = [], []
            for g in range(start, stop):
                first, last = grouped.offsets[g - start : g - start + 2]
                scaler = self._common.detector.scaler_
                if models[g] != GLOBAL:
                    both = (
                        arrays["scaler"]["shift"][models[g]],
                        arrays["scaler"]["scale"][models[g]],
                    )
                    scaler = AffineScaler(*map(np.asarray, both))
                x = grouped.x[first:last]
                rows = Scaled(table.keys[g], scaler, x)
                requests.append(Request(models[g], len(x), rows))
                places.append(slice(first, last))
            values = self._bank.apply(method, requests, threads=self.threads)
            for request, place, found in zip(requests, places, values, strict=True):
                rows: Any = request.rows
                key, number, label = rows.key, grouped.number[place], labels[place]
                yield _Applied(key, number, request.model, label, rows, found)

    def _checked_models(self, numbers: Sequence[int]) -> dict[str, Any]:
        """The arrays of the models; those of a file are checked when they are first used."""
        if self._models is None:
            return {}
        if self._unchecked is not None:
            self._unchecked.check(self._models, numbers)
        return self._models.arrays

    def _whole_models(self) -> Models | None:
        """All models, checked: those that are made or saved from them cannot be checked again."""
        if self._models is not None:
            self._checked_models(range(len(self._models.keys)))
        return self._models

    def _combination(self, m: int) -> dict[str, np.ndarray]:
        if m == GLOBAL or self._models is None:
            return self._common.detector.combination_
        return jax.tree.map(lambda leaf: np.asarray(leaf[m]), self._models.arrays["combination"])

    def _p_values(self, m: int, scores: np.ndarray) -> np.ndarray:
        if m == GLOBAL or self._calibration is None:
            return p_values_from_sorted(self._common.held_out, scores)
        return self._calibration.p_values(m, scores)

    def _threshold(self, m: int) -> float:
        if m == GLOBAL or self._calibration is None:
            return calibration.threshold(self._common.held_out, self._rate)
        return float(self._thresholds[0][m])

    @property
    def _thresholds(self) -> tuple[np.ndarray, np.ndarray]:
        """Thresholds of all models, and whether each is from the group's own scores."""
        if self._found_thresholds is None:
            assert self._calibration is not None
            self._found_thresholds = self._calibration.threshold()
        return self._found_thresholds

    def _flags(self, p_value: np.ndarray) -> np.ndarray:
        return calibration.flags(p_value, self._rate)

    def _recent_of(self, table: Table) -> dict[Key, tuple[int, int]]:
        """Rows that are not known anomalies, and alarms among them, of each group of a table."""
        return {scored.key: scored.alarms(self._flags) for scored in self._scored(table)}

    def _overview(self) -> pd.DataFrame:
        count = len(self._keys)
        m = np.array([self._numbers.get(key, GLOBAL) for key in self._keys], np.int64)
        own = m >= 0
        loss, updates = np.full(count, np.nan), np.zeros(count, np.int64)
        skipped = np.zeros(count, np.int64)
        threshold = np.full(count, self._threshold(GLOBAL))
        alarm_rate, where = np.full(count, np.nan), np.full(count, "global", object)
        if self._models is not None and self._calibration is not None:
            arrays, (thresholds, by_own) = self._models.arrays, self._thresholds
            loss[own] = last(np.asarray(arrays["history"]["loss"])).mean(axis=1)[m[own]]
            facts = arrays["facts"]
            updates[own] = facts["updates"][m[own]]
            skipped[own] = facts["skipped"].reshape(len(by_own), -1).sum(axis=1)[m[own]]
            threshold[own] = thresholds[m[own]]
            alarm_rate[own] = self._calibration.alarm_rates()[m[own]]
            where[own] = np.where(by_own, "own", "pooled")[m[own]]
        few = f"fewer than min_rows={self.min_rows} rows"
        notes = [
            "" if has else self._notes.get(key, few)
            for key, has in zip(self._keys, own.tolist(), strict=True)
        ]
        rows, alarms = np.array([self._recent.get(k, (0, 0)) for k in self._keys]).reshape(-1, 2).T
        with np.errstate(invalid="ignore"):
            recent = np.where(rows > 0, alarms / np.maximum(rows, 1), np.nan)
        drift = self._drift(m, rows, alarms)
        group = self._group_names
        index = (
            pd.Index([key[0] for key in self._keys], name=group[0])
            if len(group) == 1
            else pd.MultiIndex.from_tuples(self._keys, names=group)
        )
        return pd.DataFrame(
            {
                "rows": self._rows,
                "source": np.where(own, "own", "global"),
                "note": notes,
                "loss": loss,
                "skipped_steps": skipped,
                "updates": updates,
                "threshold": threshold,
                "threshold_from": where,
                "alarm_rate": alarm_rate,
                "recent_rows": rows,
                "recent_alarm_rate": recent,
                "drift_p_value": drift,
            },
            index=index,
        )

    def _drift(self, m: np.ndarray, rows: np.ndarray, alarms: np.ndarray) -> np.ndarray:
        """How likely at least so many alarms among so many rows are without drift, ``[G]``."""
        drift = np.full(len(m), np.nan)
        if self._calibration is None:
            return drift
        high, low = self._calibration.true_rates()
        seen = (m >= 0) & (rows > 0)
        drift[seen] = betabinom.sf(alarms[seen] - 1, rows[seen], high[m[seen]], low[m[seen]])
        return drift

    @property
    def _group_names(self) -> list[Any]:
        return list(self.group) if isinstance(self.group, list | tuple) else [self.group]

    def _as_key(self, group: Any) -> Key:
        values = group if isinstance(group, tuple) else (group,)
        return tuple(v.item() if isinstance(v, np.generic) else v for v in values)

    def _known(self, group: Any) -> Key:
        key = self._as_key(group)
        if key not in self._places:
            such = f", such as {name_of(self._keys[0])}" if self._keys else ""
            raise KeyError(
                f"group {name_of(key)} is not among the {len(self._keys)} of the fleet{such}; "
                f"identifiers are those of the columns "
                f"{', '.join(map(repr, self._group_names))}"
            )
        return key

    def _warn(self) -> None:
        """Warn of what the user should know about a new fit."""
        found = self.groups_
        failed = [key for key in self._keys if key in self._notes]
        if failed:
            first = failed[0]
            _warning(
                f"{len(failed)} of {len(found)} groups, such as {name_of(first)}, have no model of "
                f"their own and are scored by the global one: {self._notes[first]}"
            )
        if self._models is None and not failed:
            _warning(
                f"all {len(found)} groups have fewer than min_rows={self.min_rows} rows, so the "
                f"global model scores them all: lower min_rows, the largest has "
                f"{int(self._rows.max())} rows"
            )
        never = int(np.isinf(found["threshold"]).sum())
        if never:
            needed = int(np.ceil(1 / self.false_alarm_rate)) - 1
            _warning(
                f"false_alarm_rate={self.false_alarm_rate} cannot be promised for {never} of "
                f"{len(found)} groups, whose rows are never flagged: it takes {needed} held-out "
                "rows. Raise it, or give more rows"
            )

    def __getstate__(self) -> dict[str, Any]:
        """Parameters and arrays; what is compiled, or follows from them, stays here."""
        state = {k: v for k, v in vars(self).items() if k not in _DERIVED}
        if (models := state.get("_models")) is not None:
            # Held-out scores are the calibration's; arrays of a file become ordinary ones.
            arrays = jax.tree.map(np.asarray, models.arrays)
            state["_models"] = models._replace(arrays=arrays, held_out=[])
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Undo ``__getstate__``."""
        vars(self).update(state)
        if not hasattr(self, "_common"):
            return
        if self._models is not None and self._calibration is not None:
            self._models = self._models._replace(held_out=self._calibration.by_group())
        self._derive()

    def __sklearn_is_fitted__(self) -> bool:
        """Whether there are models to score by."""
        return hasattr(self, "_common")


class _Scored(NamedTuple):
    """Scores of the rows of a group.

    Attributes:
      key: its identifier.
      number: the rows' numbers in the table.
      model: the number of the model.
      score: ``[n]`` float32.
      p_value: ``[n]``.
      normal: ``[n]`` whether they are not known anomalies.
    """

    key: Key
    number: np.ndarray
    model: int
    score: np.ndarray
    p_value: np.ndarray
    normal: np.ndarray

    def alarms(self, flags: Any) -> tuple[int, int]:
        """The number of rows that are not known anomalies, and how many of them are flagged."""
        return int(self.normal.sum()), int(flags(self.p_value[self.normal]).sum())


class _Applied(NamedTuple):
    """Values of the rows of a group, as `_Scored`; ``rows`` returns them scaled."""

    key: Key
    number: np.ndarray
    model: int
    label: np.ndarray
    rows: Any
    values: np.ndarray


def _twin(value: Any) -> Any:
    """Another object with the same attributes."""
    twin = object.__new__(type(value))
    vars(twin).update(vars(value))
    return twin


def _warning(text: str, stacklevel: int = 5) -> None:
    """Warn; by default from `Fleet._warn`, called by `Fleet._finish`, of what the user called."""
    warnings.warn(f"Fleet: {text}", RuntimeWarning, stacklevel=stacklevel)
