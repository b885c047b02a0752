"""Detectors of many sets, seeds and numbers trained together.

A job is one detector for one set and seed. Jobs whose programs are the same, after rows are padded
to a power of two and columns to one of a few widths, are trained some members at a time by one
compiled call; threads share the calls out.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.interpreters import partial_eval as pe
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from jaxad import objectives
from jaxad.checks import seed_from
from jaxad.estimators import Detector, ObjectiveDetector, ensemble, fitting, prepare
from jaxad.estimators.devices import on_device
from jaxad.estimators.scaling import fit_scaler
from jaxad.objectives import padding
from jaxad.rows import ArrayRows, unweighted
from jaxad.study import runs
from jaxad.study.sets import Task
from jaxad.training import sets
from jaxad.training.history import last
from jaxad.training.members import stacked
from jaxad.training.mesh import default_mesh, used_devices
from jaxad.typing import Batch

_OWN = ("fit", "anomaly_score", "member_scores")  # methods that `train` stands in for
WIDTHS = (4, 8, 16, 32, 64, 128)  # of padded rows; wider tables keep their own


class Job(NamedTuple):
    """One detector to fit to one task.

    Attributes:
      number: which it is, for whoever asked.
      detector: unfitted, with its seed.
      read: returns the task.
      rows: number of rows that it trains on.
      features: their columns, D.
      before: unfitted transformers that rows go through first, or None.
    """

    number: int
    detector: Any
    read: Callable[[], Task]
    rows: int
    features: int
    before: Any = None


class Outcome(NamedTuple):
    """What came out of a job.

    Attributes:
      number: the job's.
      score: ``[M]`` of the test rows, or None.
      loss: of the last epoch, averaged over members.
      seconds: spent on it by one core.
      notes: what is wrong with it.
    """

    number: int
    score: np.ndarray | None
    loss: float
    seconds: float
    notes: tuple[str, ...]


def job(number: int, detector: Any, read: Callable[[], Task]) -> Job | None:
    """The job of a detector, or of a scikit-learn ``Pipeline`` that ends with one; None for others.

    It is None, too, for detectors of images, for those that hold rows out, warm-start or pretrain,
    for classes that fit or score in their own way, and for objectives that do not begin on such
    rows, which fails again where that is noted: they are fitted by themselves.
    """
    before: Any = None
    if isinstance(detector, Pipeline):
        before, detector = detector[:-1], detector[-1]
    task = read()
    if not (isinstance(detector, Detector) and task.train.ndim == 2) or (
        any(getattr(type(detector), name) is not getattr(Detector, name) for name in _OWN)
        or detector.validation_fraction
        or detector.warm_start
        or getattr(detector, "pretrain_epochs", 0)
    ):
        return None
    rows, _ = training_rows(detector, task)
    width = rows.shape[1]
    if before is not None:
        transformers: Any = clone(before)
        try:
            width = transformers.fit_transform(rows).shape[1]
        except Exception:  # it fails again where that is noted
            return None
    try:
        objective = detector._full_objective((width,), len(rows))
        _check_begins(jax.tree.structure(objective), (width,))
    except Exception:  # such as a window of ICL in a table too narrow for it; as above
        return None
    return Job(number, detector, read, len(rows), width, before)


@lru_cache(maxsize=256)
def _check_begins(structure: Any, row: tuple[int, ...]) -> None:
    """Raise an error if an objective with this structure does not begin on such rows."""
    objective = jax.tree.unflatten(structure, [np.float32(1)] * structure.num_leaves)
    jax.eval_shape(objective.init, jax.random.key(0), jax.ShapeDtypeStruct((1, *row), np.float32))


def takes_labels(detector: Any, row: tuple[int, ...]) -> bool:
    """Whether known anomalies are given to a detector for rows of a shape.

    A loss that does not read labels would take them for normal rows.
    """
    if isinstance(detector, Pipeline):
        detector = detector[-1]
    if not isinstance(detector, Detector) or type(detector)._labels is Detector._labels:
        return False
    objective = detector._objective(row, 2)
    while isinstance(objective, objectives.Wrapper) and not objective.uses_labels:
        objective = objective.objective  # `Trimmed` reads labels itself, whatever the loss does
    if type(objective).__module__.startswith("jaxad."):
        return objective.uses_labels
    return _reads_labels(jax.tree.structure(objective), row)


@lru_cache(maxsize=256)
def _reads_labels(structure: Any, row: tuple[int, ...]) -> bool:
    """Whether the loss of an objective with this structure reads the labels of rows."""
    objective = jax.tree.unflatten(structure, [np.float32(1)] * structure.num_leaves)
    key, x = jax.random.key(0), jax.ShapeDtypeStruct((2, *row), np.float32)
    model = jax.eval_shape(objective.init, key, x)

    def loss(label: Any, model: Any, x: Any) -> Any:
        return objective.loss(*model, Batch(x, label, jnp.ones(2)), key)[0]

    label = jax.ShapeDtypeStruct((2,), np.int32)
    program = jax.make_jaxpr(loss)(label, model, x).jaxpr
    used, _ = pe.dce_jaxpr(program, [True] * len(program.outvars))
    return program.invars[0] in used.invars


def training_rows(detector: Any, task: Task) -> tuple[np.ndarray, np.ndarray | None]:
    """What ``fit`` is given: rows, and labels where the detector learns from known anomalies."""
    if not (len(task.known) and takes_labels(detector, task.train.shape[1:])):
        return task.train, None
    label = np.r_[np.zeros(len(task.train), np.int32), np.full(len(task.known), -1, np.int32)]
    return np.concatenate([task.train, task.known]), label


def can_pad(detector: Any, features: int, width: int) -> bool:
    """Whether so many columns may be padded to a width.

    A function of the user may make another objective for each number of columns. It must make the
    same one for both numbers, but for the outputs of its networks.
    """
    own = isinstance(detector, ObjectiveDetector)
    try:
        one, other = (detector._full_objective((columns,), 2) for columns in (features, width))
        if not getattr(one, "takes_padding", False) or not padding.knows_padding(one):
            return False
        if own and not padding.equal_but_outputs(one, other, features, width):
            return False
        filled = objectives.padded(other, float(features))
        _check_begins(jax.tree.structure(filled), (width,))
    except Exception:  # of a function that is for other widths only
        return False
    return True


def width_for(detector: Any, features: int) -> int:
    """The padded number of columns."""
    width = next((width for width in WIDTHS if width >= features), features)
    return width if can_pad(detector, features, width) else features


def train(jobs: Sequence[Job], *, together: bool = True) -> "list[Call]":
    """Calls that fit and score the jobs, those with one program after the other.

    Args:
      jobs: the jobs; their detectors have been checked.
      together: whether columns may be padded, so that sets of other widths share programs.
    """
    groups: dict[Any, list[_Ready]] = {}
    for job in jobs:
        ready = _ready(job, together)
        groups.setdefault(ready.program, []).append(ready)
    calls = []
    for (*_, rows, _), members in sorted(groups.items(), key=lambda group: group[0][2:]):
        epochs = max(float(ready.recipe.epochs) for ready in members)
        length = sets.power_of_two(max(64, int(epochs)))
        members = [
            (ready, p)
            for ready in sorted(members, key=lambda ready: -ready.steps)
            for p in range(ready.size)
        ]
        first = members[0][0]
        with on_device(first.job.detector.device):
            mesh = default_mesh(used_devices(local=True))
            side = sets.side_by_side(first.objective, (first.width,), rows, mesh)
        for i in range(0, len(members), side):
            calls.append(Call(tuple(members[i : i + side]), rows, side, length))
    return calls


class _Ready(NamedTuple):
    """A job whose objective and recipe are made."""

    job: Job
    width: int
    size: int
    objective: Any
    recipe: Any

    @property
    def program(self) -> tuple[Any, str | None, int, int]:
        """Equal for jobs that one compiled program trains."""
        return (
            jax.tree.structure((self.objective, self.recipe)),
            self.job.detector.device,
            sets.padded_rows(self.job.rows),
            self.width,
        )

    @property
    def steps(self) -> float:
        return float(self.recipe.epochs) * -(-self.job.rows // self.recipe.batch_size)


def _ready(job: Job, together: bool) -> _Ready:
    detector = job.detector._settled((job.features,))
    width = width_for(detector, job.features) if together else job.features
    objective = detector._full_objective((width,), job.rows)
    # Also where nothing is added: one program.
    if together and (width > job.features or can_pad(detector, job.features, width)):
        objective = objectives.padded(objective, float(job.features))
    rows: Any = unweighted(np.zeros((1, job.features), np.float32), np.zeros(1, np.int32))
    return _Ready(job, width, detector._members(rows), objective, detector._recipe(job.rows))


class _Data(NamedTuple):
    """The scaled rows of a job."""

    x: np.ndarray
    label: np.ndarray
    test: np.ndarray


@lru_cache(maxsize=32)
def _data(job: Job) -> _Data | str:
    """The rows of a job, or why there are none."""
    task, detector = job.read(), job.detector
    try:
        (given, label), test_rows = training_rows(detector, task), task.test
        if job.before is not None:
            transformers: Any = clone(job.before)
            given, test_rows = transformers.fit_transform(given), transformers.transform(test_rows)
        rows: Any = prepare.read(detector, given, label, reset=True)
        scaler = fit_scaler(detector.scaler, [rows.x], rows.shape)
        detector._check_rows(rows.shape, len(rows.x))
        detector._check_labels(set(np.unique(rows.label).tolist()))
        test: Any = prepare.read(detector, test_rows, reset=False, labelled=False)
        return _Data(scaler(rows.x), np.asarray(rows.label), scaler(test.x))
    except Exception as error:  # one failure must not lose the others
        return str(error)


class MemberScores(NamedTuple):
    """One trained member of a job: its scores of training and test rows, or None if it failed."""

    ready: _Ready
    p: int
    train: np.ndarray
    test: np.ndarray
    stats: Any
    loss: float
    failed: bool
    skipped: int
    steps: int
    why: str
    seconds: float


class Call(NamedTuple):
    """Members to train in one compiled call."""

    members: tuple[tuple[_Ready, int], ...]
    rows: int
    side: int
    length: int

    def run(self) -> list[MemberScores]:
        """Train and score the members."""
        began = time.perf_counter()
        data = [_data(ready.job) for ready, _ in self.members]
        sound = [i for i, found in enumerate(data) if not isinstance(found, str)]
        results = {i: _lost(*self.members[i], str(data[i])) for i in range(len(data))}
        if sound:
            chosen = [self.members[i] for i in sound]
            both = [found for found in data if not isinstance(found, str)]
            with on_device(chosen[0][0].job.detector.device):
                for i, one in zip(sound, self._train(chosen, both), strict=True):
                    results[i] = one
        seconds = (time.perf_counter() - began) / len(self.members)
        return [results[i]._replace(seconds=seconds) for i in range(len(data))]

    def _train(self, members: list[tuple[_Ready, int]], data: list[_Data]) -> list[MemberScores]:
        mesh, width = default_mesh(used_devices(local=True)), members[0][0].width
        fill = [*range(len(members)), *[0] * (self.side - len(members))]  # of a fixed size
        own = [_own(*members[i]) for i in fill]
        recipes = [members[i][0].recipe for i in fill]
        keys = _keys([members[i] for i in fill])
        train: list[ArrayRows] = [unweighted(_wide(found.x, width), found.label) for found in data]
        rows = stacked([train[i] for i in fill], self.rows)
        initial = sets.draw_sets(own, keys, (width,), mesh=mesh)
        result = sets.train_sets(own, recipes, keys, rows, initial, length=self.length, mesh=mesh)
        model = own, result.params, result.stats
        train_scores = _scores(model, [found.x for found in data], fill, width, mesh)
        test_scores = _scores(model, [found.test for found in data], fill, width, mesh)
        losses = last(np.atleast_2d(result.history["loss"]))
        return [
            MemberScores(
                ready,
                p,
                train_scores[i],
                test_scores[i],
                jax.tree.map(lambda leaf, i=i: leaf[i], result.stats),
                float(losses[i]) if len(losses) else float("nan"),
                bool(result.failed[i]),
                int(result.skipped[i]),
                int(result.steps[i]),
                "",
                0.0,
            )
            for i, (ready, p) in enumerate(members)
        ]


def outcomes(finished: Iterator[list[MemberScores]]) -> Iterator[Outcome]:
    """The outcome of each job, as soon as its last member is there."""
    waiting: dict[int, list[MemberScores]] = {}
    for members in finished:
        for one in members:
            job = one.ready.job.number
            waiting.setdefault(job, []).append(one)
            if len(waiting[job]) == one.ready.size:
                yield _outcome(sorted(waiting.pop(job), key=lambda member: member.p))


def _outcome(members: list[MemberScores]) -> Outcome:
    ready, seconds = members[0].ready, sum(one.seconds for one in members)
    job, detector = ready.job, ready.job.detector
    if members[0].why:
        return Outcome(
            job.number, None, float("nan"), seconds, (f"{runs.FAILED}: {members[0].why}",)
        )
    kept = [one for one in members if not one.failed and np.isfinite(one.test).all()]
    notes = []
    if skipped := sum(one.skipped for one in members):
        notes.append(runs.skipped(skipped, sum(one.steps for one in members)))
    elif len(kept) < len(members):
        notes.append(runs.NOT_FINITE)
    if not kept:
        return Outcome(job.number, None, float("nan"), seconds, tuple(notes))
    data = _data(job)
    assert isinstance(data, _Data)
    rows = unweighted(data.x, data.label)
    if any(detector._collapse(rows, one.train.astype(float), one.stats) for one in kept):
        notes.append(runs.COLLAPSED)
    detector.n_members_ = len(kept)
    rule = detector._rule()
    combination = ensemble.fit_combination(rule, np.stack([one.train for one in kept]))
    score = ensemble.combine(combination, np.stack([one.test for one in kept]))
    loss = float(np.mean([one.loss for one in kept]))
    return Outcome(job.number, score, loss, seconds, tuple(notes))


def _lost(ready: _Ready, p: int, why: str) -> MemberScores:
    none = np.zeros(0)
    return MemberScores(ready, p, none, none, None, float("nan"), True, 0, 0, why, 0.0)


def _own(ready: _Ready, p: int) -> Any:
    return fitting.each_member(
        ready.job.detector._of_members(ready.objective, ready.size), ready.size
    )[p]


def _keys(members: list[tuple[_Ready, int]]) -> Any:
    each = [
        fitting.keys_from([seed_from(ready.job.detector.random_state)], ready.size)[p]
        for ready, p in members
    ]
    return jnp.stack(each)


def _wide(x: np.ndarray, width: int) -> np.ndarray:
    return x if x.shape[1] == width else np.pad(x, ((0, 0), (0, width - x.shape[1])))


def _scores(
    model: tuple[Any, Any, Any], x: list[np.ndarray], fill: list[int], width: int, mesh: Any
) -> list[np.ndarray]:
    """Scores ``[N]`` of each member's own rows."""
    longest = max(map(len, x))
    parts: list[list[np.ndarray]] = [[] for _ in x]
    for start in range(0, longest, sets.SCORED):
        block = np.zeros((len(fill), sets.SCORED, width), np.float32)
        for place, i in enumerate(fill):
            some = x[i][start : start + sets.SCORED]
            block[place, : len(some), : some.shape[1]] = some
        values = sets.apply_sets("score", *model, block, mesh=mesh)
        for i, own in enumerate(x):
            parts[i].append(values[i, : max(0, len(own) - start)])
    return [np.concatenate(part).astype(np.float64) for part in parts]
