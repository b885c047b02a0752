"""Training of a fleet's models: waves of groups, in each of them calls of a few groups.

A wave is a range of groups whose rows are in memory together. Its groups are sorted into buckets of
padded sizes; every bucket has one compiled program, which threads call for a few groups at a time.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from functools import cache, cached_property
from typing import Any, NamedTuple

import jax
import numpy as np
from tqdm.auto import tqdm

from jaxad.estimators import ensemble, fitting
from jaxad.estimators.devices import on_device
from jaxad.estimators.scaling import AffineScaler
from jaxad.fleet.calibration import centre_and_spread
from jaxad.fleet.models import Models, stack_combinations
from jaxad.fleet.scoring import Bank, Request, Scaled
from jaxad.fleet.survey import Key, Split, labels_of, split, takes_labels, waves, words_of
from jaxad.fleet.tables import Table
from jaxad.rows import ArrayRows, unweighted
from jaxad.training import sets
from jaxad.training.contract import check_batch_size
from jaxad.training.members import stacked
from jaxad.training.mesh import POPULATION, default_mesh, platform, used_devices
from jaxad.training.threads import each
from jaxad.typing import Key as RandomKey
from jaxad.typing import Params, Stats


class Trained(NamedTuple):
    """The outcome of training.

    Attributes:
      models: of the groups that did not fail, or None.
      failed: why the others did, by identifier.
    """

    models: Models | None
    failed: dict[Key, str]

    @staticmethod
    def join(parts: Sequence["Trained"]) -> "Trained":
        """The outcome of all parts."""
        models = [part.models for part in parts if part.models is not None]
        failed = {key: why for part in parts for key, why in part.failed.items()}
        return Trained(Models.join(models) if models else None, failed)


Saver = Callable[[int, Callable[[], int], Callable[[], Trained]], Trained]


class Task(NamedTuple):
    """Groups to train.

    Attributes:
      table: the table that holds their rows.
      wanted: ``[G]`` which of its groups to train.
      train_rows: ``[G]`` rows of each that are trained on.
      shift: ``[G, D]``, and
      scale: ``[G, D]``: scalers of its groups.
    """

    table: Table
    wanted: np.ndarray
    train_rows: np.ndarray
    shift: np.ndarray
    scale: np.ndarray


@dataclasses.dataclass(frozen=True)
class Trainer:
    """How the groups of a fleet are trained.

    Attributes:
      detector: the detector, with a whole number of members.
      seed: of the fleet.
      rate: its false-alarm rate.
      shared: parameters and statistics ``[P, ...]`` that groups start from; None draws them anew.
      before: models that all groups continue from, or None.
      epochs: epochs of each group; None: as the detector says.
      threads: as for `jaxad.training.fit_population`.
    """

    detector: Any
    seed: int
    rate: float
    shared: tuple[Params, Stats] | None = None
    before: Models | None = None
    epochs: int | None = None
    threads: int | None = None

    def train(
        self,
        task: Task,
        *,
        saved: Saver | None = None,
        progress: bool = False,
    ) -> Trained:
        """Train groups.

        Args:
          task: the groups.
          saved: called with a wave's number, a function that returns the mark of its rows, and one
            that trains it; returns its outcome.
          progress: show a progress bar.
        """
        table, wanted, done = task.table, task.wanted, []
        epochs = [int(self.recipe(n).epochs) for n in np.unique(task.train_rows[wanted]).tolist()]
        length = sets.power_of_two(max([64, *epochs]))
        shown = tqdm(total=int(wanted.sum()), unit="group", disable=not progress)
        with on_device(self.detector.device), shown as bar:
            for number, (start, stop) in enumerate(waves(table)):
                if not wanted[start:stop].any():
                    continue

                def train(start: int = start, stop: int = stop) -> Trained:
                    return _Wave(self, task, start, stop, length).train(bar.update)

                def mark(start: int = start, stop: int = stop) -> int:
                    return table.read(start, stop).mark

                done.append(train() if saved is None else saved(number, mark, train))
                bar.update(int(wanted[:stop].sum()) - bar.n)
        return Trained.join(done)

    @cached_property
    def recipe(self) -> Callable[[int], Any]:
        """The recipe for so many rows, made once."""

        def make(rows: int) -> Any:
            recipe = self.detector._recipe(rows)
            if self.epochs is None:
                return recipe
            return recipe.replace(epochs=self.epochs, patience=None)

        return cache(make)

    @cached_property
    def objective(self) -> Callable[[tuple[int, ...], int], Any]:
        """The objective for rows of a shape, and so many of them, made once."""
        return cache(self.detector._full_objective)

    @cached_property
    def structure(self) -> Callable[[tuple[int, ...], int], Any]:
        """What must be equal for groups that are trained in one call, by shape and rows."""

        def structure(row: tuple[int, ...], rows: int) -> Any:
            objective, recipe = self.objective(row, rows), self.recipe(rows)
            check_batch_size(objective, recipe.batch_size, row)
            return jax.tree.structure((objective, recipe))

        return cache(structure)

    def members_of(self, objective: Any) -> list[Any]:
        """The objective of each member."""
        return fitting.each_member(self.detector._of_members(objective, self.members), self.members)

    @property
    def takes_labels(self) -> bool:
        """Whether known anomalies are trained on."""
        return takes_labels(self.detector)

    @property
    def members(self) -> int:
        """P."""
        return self.detector.n_members

    @property
    def rule(self) -> str:
        """The rule that combines the members' scores."""
        return self.detector._rule()

    @cached_property
    def numbers(self) -> dict[Key, int]:
        """The number of each group's model in ``before``."""
        return {} if self.before is None else {key: m for m, key in enumerate(self.before.keys)}


class _Group(NamedTuple):
    """One group of a wave, ready to train.

    Attributes:
      key: its identifier.
      rows: its rows.
      parting: which rows to train on, and which are held out.
      label: ``[n]`` labels of its rows.
      seed: of its training.
      objective: what it is trained for.
      recipe: how it is trained.
      first_rows: rows to train on of its first training, for which the objective was made.
      number: of the model that it continues from, or None.
      updates: how often it continued, this time included.
    """

    key: Key
    rows: Scaled
    parting: Split
    label: np.ndarray
    seed: int
    objective: Any
    recipe: Any
    first_rows: int
    number: int | None
    updates: int

    def labels(self, detector: Any) -> np.ndarray:
        """Labels of the rows to train on, as the detector takes them."""
        return detector._labels(self.label[self.parting.train], len(self.parting.train))


class _Untrainable(ValueError):
    """A group's rows do not suit the detector."""


class _Wave:
    """The groups ``start`` to ``stop`` of a table, with their rows in memory."""

    def __init__(self, trainer: Trainer, task: Task, start: int, stop: int, length: int):
        self._trainer, self._task, self._start, self._length = trainer, task, start, length
        self._mesh = default_mesh(used_devices(local=True))
        self._grouped = task.table.read(start, stop)
        self._labels = labels_of(self._grouped)
        self._row = (len(task.table.columns),)
        self._wanted = np.flatnonzero(task.wanted[start:stop]) + start

    def train(self, report: Callable[[int], Any]) -> Trained:
        """Train all groups; ``report`` is called with the number of those just done."""
        buckets: dict[Any, list[int]] = {}
        for g in self._wanted.tolist():
            count = int(self._task.train_rows[g])
            structure = self._trainer.structure(self._row, count)
            buckets.setdefault((sets.padded_rows(count), structure), []).append(g)
        calls = []
        for (rows, _), groups in sorted(buckets.items(), key=lambda bucket: -bucket[0][0]):
            together = self._together(len(groups), rows)
            groups.sort(key=lambda g: -int(self._task.train_rows[g]))
            for i in range(0, len(groups), together):
                calls.append((groups[i : i + together], rows, together))

        def train(call: tuple[list[int], int, int]) -> Trained:
            numbers, rows, together = call
            groups, failed = [], {}
            for g in numbers:
                try:
                    groups.append(self._group(g))
                except _Untrainable as error:
                    failed[self._task.table.keys[g]] = str(error)
            trained = [Trained(None, failed)]
            if groups:
                trained.append(self._train(groups, rows, together))
            report(len(numbers))
            return Trained.join(trained)

        return Trained.join(each(train, calls, self._trainer.threads))

    def _together(self, groups: int, rows: int) -> int:
        """The number of groups in a call, if so many groups are trained."""
        members = self._trainer.members
        side = sets.side_by_side(
            self._trainer.objective(self._row, rows), self._row, rows, self._mesh
        )
        together = max(1, side // members)
        if platform(self._mesh) != "cpu":  # few groups need no wide call
            together = min(together, sets.power_of_two(groups))
        parts = 1 if self._mesh is None else self._mesh.shape[POPULATION]
        whole = parts // math.gcd(parts, members)
        return -(-together // whole) * whole

    def _group(self, g: int) -> _Group:
        """A group of the table, ready to train."""
        trainer, task, key = self._trainer, self._task, self._task.table.keys[g]
        first, last = self._grouped.offsets[g - self._start : g - self._start + 2]
        label = self._labels[first:last]
        number, updates, count = None, 0, int(task.train_rows[g])
        rows = count
        if trainer.before is not None:
            number, facts = trainer.numbers[key], trainer.before.arrays["facts"]
            updates, rows = int(facts["updates"][number]) + 1, int(facts["rows"][number])
        seed = np.random.SeedSequence([trainer.seed, *words_of(key), updates])
        parting = split(key, label, trainer.seed, trainer.rate, trainer.takes_labels, updates)
        if not (label[parting.train] >= 0).any():
            raise _Untrainable(
                "no row is left to train on that is not a known anomaly: label more rows as "
                "unlabelled (0) or normal (+1)"
            )
        try:
            trainer.detector._check_rows(self._row, count)
            trained = trainer.detector._labels(label[parting.train], count)
            trainer.detector._check_labels(set(np.unique(trained).tolist()))
        except ValueError as error:
            raise _Untrainable(str(error)) from None

        scaler = AffineScaler(task.shift[g], task.scale[g])
        return _Group(
            key,
            Scaled(key, scaler, self._grouped.x[first:last]),
            parting,
            label,
            int(seed.generate_state(1)[0]),
            trainer.objective(self._row, rows),
            trainer.recipe(count),
            rows,
            number,
            updates,
        )

    def _train(self, groups: list[_Group], rows: int, together: int) -> Trained:
        """Train some groups in one call, and score their rows."""
        trainer, size, members = self._trainer, len(groups), self._trainer.members
        x = [group.rows(slice(None)) for group in groups]
        filled = groups + [groups[-1]] * (together - size)  # a call has a fixed number of groups
        train = [
            unweighted(x[min(i, size - 1)][group.parting.train], group.labels(trainer.detector))
            for i, group in enumerate(filled)
        ]
        objectives = [own for group in filled for own in trainer.members_of(group.objective)]
        keys = fitting.keys_from([group.seed for group in filled], members)
        result = sets.train_sets(
            objectives,
            [group.recipe for group in filled for _ in range(members)],
            keys,
            _padded(train, rows, members),
            self._initial(filled, objectives, keys, train, rows),
            length=self._length,
            fitted=trainer.before is not None,
            mesh=self._mesh,
        )
        by_group = lambda leaf: leaf.reshape(together, members, *leaf.shape[1:])[:size]  # noqa: E731
        model, history = jax.tree.map(by_group, ((result.params, result.stats), result.history))
        figures = {"steps": result.steps, "skipped": result.skipped}
        if result.best_epoch is not None:
            figures["best_epoch"] = result.best_epoch
        figures = jax.tree.map(by_group, figures)
        failed = by_group(result.failed).any(axis=1)
        bank = Bank(
            lambda m: groups[m].objective,
            lambda m, p: jax.tree.map(lambda leaf: leaf[m, p], model),
            members,
            sets.side_by_side(groups[0].objective, self._row, sets.SCORED, self._mesh),
            self._mesh,
            trainer.detector.device,
        )
        requests = [Request(i, len(x[i]), lambda rows, i=i: x[i][rows]) for i in range(size)]
        combinations, units, held_out = [], [], []
        for i, scores in enumerate(bank.apply("score", requests, threads=1)):
            group = groups[i]
            if not np.isfinite(scores).all():
                failed[i] = True
                scores = np.zeros_like(scores)
            calibrates = group.parting.held_out
            normal = group.parting.train[group.label[group.parting.train] >= 0]
            # Not of held-out rows: their combined scores would differ from those of new rows.
            combinations.append(ensemble.fit_combination(trainer.rule, scores[:, normal]))
            combined = ensemble.combine(combinations[-1], scores).astype(np.float32)
            ends = np.array([0, len(normal)])
            units.append(np.concatenate(centre_and_spread(combined[normal], ends)))
            held_out.append(np.sort(combined[calibrates]))
        facts = figures | {
            "rows": np.array([group.first_rows for group in groups]),
            "updates": np.array([group.updates for group in groups]),
            "trained_on": np.array([len(group.parting.train) for group in groups]),
        }
        scalers = [group.rows.scaler for group in groups]
        arrays = {
            "params": model[0],
            "stats": model[1],
            "combination": stack_combinations(combinations),
            "history": history,
            "scaler": {
                "shift": np.stack([scaler.shift for scaler in scalers]),
                "scale": np.stack([scaler.scale for scaler in scalers]),
            },
            "facts": facts,
            "unit": np.stack(units),
        }
        models = Models([group.key for group in groups], arrays, held_out)
        kept = np.flatnonzero(~failed)
        why = f"its training met steps or scores that are not finite. {fitting.REMEDY}"
        return Trained(
            models.take(kept) if len(kept) else None,
            {groups[i].key: why for i in np.flatnonzero(failed)},
        )

    def _initial(
        self,
        groups: list[_Group],
        objectives: list[Any],
        keys: RandomKey,
        train: list[ArrayRows],
        rows: int,
    ) -> tuple[Params, Stats]:
        """Parameters and statistics to start from, leaves ``[S, ...]``."""
        trainer, members = self._trainer, self._trainer.members
        if trainer.before is not None:
            before = trainer.before.arrays["params"], trainer.before.arrays["stats"]
            numbers = np.array([group.number for group in groups])
            return jax.tree.map(lambda leaf: leaf[numbers].reshape(-1, *leaf.shape[2:]), before)
        if trainer.shared is not None:
            return jax.tree.map(lambda leaf: np.concatenate([leaf] * len(groups)), trainer.shared)
        firsts = [
            trainer.detector._pretraining(group.objective, its, group.seed)
            for group, its in zip(groups, train, strict=True)
        ]
        if firsts[0] is None:
            return sets.draw_sets(objectives, keys, self._row, mesh=self._mesh)
        before = [first.objective for first in firsts for _ in range(members)]
        seeds = [group.seed for group in groups]
        keys = fitting.keys_from(seeds, members, stream=1)
        pretrained = sets.train_sets(
            before,
            [first.recipe for first in firsts for _ in range(members)],
            keys,
            _padded([first.rows for first in firsts], rows, members),
            sets.draw_sets(before, keys, self._row, mesh=self._mesh),
            length=sets.power_of_two(max(64, int(firsts[0].recipe.epochs))),
            mesh=self._mesh,
        )
        model = pretrained.params, pretrained.stats
        started = fitting.from_encoders(objectives[0], *model, self._row, several=True)
        return jax.device_get(started)


def _padded(sets_of_rows: list[ArrayRows], size: int, repeats: int) -> ArrayRows:
    """Sets of rows as leaves ``[S * repeats, size, ...]``, padded."""
    rows = stacked(sets_of_rows, size)
    return (
        jax.tree.map(lambda leaf: np.repeat(leaf, repeats, axis=0), rows) if repeats > 1 else rows
    )
