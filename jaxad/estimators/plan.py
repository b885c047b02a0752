"""What a detector's ``fit`` trains, and the training of one such plan or of many at once."""

from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxad import training
from jaxad.objectives import encoder_of
from jaxad.typing import Array, Batch, Key, Params, Stats


class Pretraining(NamedTuple):
    """An autoencoder to train first; its encoder starts the run."""

    objective: Any
    recipe: training.Recipe
    key: Key
    rows: Batch


class Plan(NamedTuple):
    """A checked and scaled data set with everything that training needs.

    Attributes:
      scaler: fitted on the rows.
      x: ``[N, ...]`` all scaled rows.
      held_out: numbers of those that are not trained on.
      objective: what for.
      recipe: how.
      key: the run's.
      rows: to train on.
      validation: the held-out rows, or None.
      pretraining: what comes first, or None.
    """

    scaler: Any
    x: np.ndarray
    held_out: np.ndarray
    objective: Any
    recipe: training.Recipe
    key: Key
    rows: Batch
    validation: Batch | None
    pretraining: Pretraining | None

    @property
    def structure(self) -> Hashable:
        """Equal for plans that can train as one population."""
        first = self.pretraining and (self.pretraining.objective, self.pretraining.recipe)
        tree = jax.tree.structure((self.objective, self.recipe, first))
        return tree, self.x.shape[1:], self.validation is None

    def sharing(self, other: "Plan") -> "Plan":
        """Be on the other's arrays where they hold the same: memory for one, not for P."""
        x = other.x if np.array_equal(self.x, other.x) else self.x
        rows = other.rows if _same_rows(self.rows, other.rows) else self.rows
        return self._replace(x=x, rows=rows)


class Trained(NamedTuple):
    """A result, and the history of what came before it."""

    result: training.Result
    pretrain_history: dict[str, np.ndarray] | None


def train(plan: Plan, *, progress: bool = False) -> Trained:
    """Carry out one plan."""
    first, initial, history = plan.pretraining, None, None
    if first is not None:
        model = training.fit(
            first.objective, first.recipe, first.key, first.rows, progress=progress
        )
        encoder = encoder_of(model.params, model.stats)
        initial = plan.objective.from_encoder(*encoder, plan.x[:1])
        history = model.history
    result = training.fit(
        plan.objective,
        plan.recipe,
        plan.key,
        plan.rows,
        validation=plan.validation,
        initial=initial,
        progress=progress,
    )
    return Trained(result, history)


def train_population(
    plans: Sequence[Plan], *, mesh: Any = None, progress: bool = False
) -> tuple[list[Trained], np.ndarray]:
    """Carry out plans of one structure as one population, and tell which failed."""
    firsts = [plan.pretraining for plan in plans if plan.pretraining is not None]
    initial, histories = None, [None] * len(plans)
    lost = np.zeros(len(plans), bool)
    if firsts:
        model = training.fit_population(
            [first.objective for first in firsts],
            [first.recipe for first in firsts],
            _stack([first.key for first in firsts]),
            _shared([first.rows for first in firsts]),
            mesh=mesh,
            progress=progress,
        )

        initial = _from_encoders(plans[0].objective, model.params, model.stats, plans[0].x[:1])
        lost = model.failed
        histories = [model.member(p).history for p in range(len(plans))]
    held_out = [plan.validation for plan in plans if plan.validation is not None]
    population = training.fit_population(
        [plan.objective for plan in plans],
        [plan.recipe for plan in plans],
        _stack([plan.key for plan in plans]),
        _shared([plan.rows for plan in plans]),
        validation=_shared(held_out) if held_out else None,
        initial=initial,
        mesh=mesh,
        progress=progress,
    )
    host = population._replace(
        params=jax.device_get(population.params), stats=jax.device_get(population.stats)
    )
    results = [host.member(p) for p in range(len(plans))]
    return [
        Trained(*pair) for pair in zip(results, histories, strict=True)
    ], population.failed | lost


@jax.jit
def _from_encoders(objective: Any, params: Params, stats: Stats, x: Array) -> tuple[Params, Stats]:
    """What each of the pretrained encoders ``[P, ...]`` makes the objective start from."""

    def start(params, stats):
        return objective.from_encoder(*encoder_of(params, stats), x)

    return jax.vmap(start)(params, stats)


def _stack(keys: Sequence[Key]) -> Key:
    data = np.stack([np.asarray(jax.random.key_data(key)) for key in keys])
    return jax.random.wrap_key_data(jnp.asarray(data))


def _shared(sets: Sequence[Batch]) -> Batch | list[Batch]:
    """One set where all are the same, so that it lies in memory once."""
    first = sets[0]
    return first if all(_same_rows(first, other) for other in sets[1:]) else list(sets)


def _same_rows(one: Batch, other: Batch) -> bool:
    pairs = zip(one[:3], other[:3], strict=True)
    return all(a is b or np.array_equal(a, b) for a, b in pairs)
