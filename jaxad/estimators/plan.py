"""What a detector's ``fit`` trains, and the training of one such plan or of many at once."""

from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxad import training
from jaxad.estimators import members
from jaxad.objectives import encoder_of
from jaxad.stream import Stream
from jaxad.typing import Array, Batch, Key, Params, Stats

REMEDY = "Lower learning_rate, or set clip_norm (5 is a good start)"


def key_from(seed: int, stream: int = 0) -> Key:
    """A typed key for one purpose (``stream``) of a seed; nothing is compiled for it."""
    words = np.random.SeedSequence([seed, stream]).generate_state(2)
    return jax.random.wrap_key_data(jnp.asarray(words))


def validation_split(count: int, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the rows to train on and of those held out, of ``count`` rows."""
    held_out = int(round(count * fraction))
    if count - held_out < 1:
        raise ValueError(
            f"validation_fraction={fraction} leaves none of {count} rows to train on: lower it"
        )
    order = np.random.default_rng(seed).permutation(count) if held_out else np.arange(count)
    return np.sort(order[held_out:]), np.sort(order[:held_out])


class Pretraining(NamedTuple):
    """An autoencoder to train first; its encoder starts the run."""

    objective: Any
    recipe: training.Recipe
    key: Key
    rows: Batch | Stream


class Plan(NamedTuple):
    """A checked and scaled data set with everything that training needs.

    Attributes:
      scaler: fitted on the rows.
      x: ``[N, ...]`` all scaled rows; of a stream, its first chunk.
      held_out: numbers of those that are not trained on.
      objective: what for.
      recipe: how.
      key: the run's.
      rows: to train on.
      validation: the held-out rows, or None.
      pretraining: what comes first, or None.
      n_members: P, how many models that differ in their keys; 1 is a single model.
      initial: fitted parameters and statistics that the run goes on with, an ensemble's with their
        axis ``[P]``; or None.
    """

    scaler: Any
    x: np.ndarray
    held_out: np.ndarray
    objective: Any
    recipe: training.Recipe
    key: Key
    rows: Batch | Stream
    validation: Batch | None
    pretraining: Pretraining | None
    n_members: int = 1
    initial: tuple[Params, Stats] | None = None

    @property
    def scored(self) -> np.ndarray | Stream:
        """All scaled rows, where a stream is not cut to its first chunk."""
        return self.rows if isinstance(self.rows, Stream) else self.x

    @property
    def structure(self) -> Hashable:
        """Equal for plans that can train as one population."""
        first = self.pretraining and (self.pretraining.objective, self.pretraining.recipe)
        tree = jax.tree.structure((self.objective, self.recipe, first))
        return tree, self.x.shape[1:], self.validation is None, self.initial is None

    def sharing(self, other: "Plan") -> "Plan":
        """Be on the other's arrays where they hold the same: memory for one, not for P."""
        x = other.x if np.array_equal(self.x, other.x) else self.x
        rows = other.rows if _same_rows(self.rows, other.rows) else self.rows
        return self._replace(x=x, rows=rows)

    def members(self) -> list["Plan"]:
        """A plan for each member; the first is that of a single model."""
        initial = [None] * self.n_members
        if self.initial is not None:
            initial = members.split(*self.initial, self.n_members)
        return [self._member(p, own) for p, own in enumerate(initial)]

    def _member(self, p: int, initial: tuple[Params, Stats] | None) -> "Plan":
        first = self.pretraining and self.pretraining._replace(
            key=members.key_of(self.pretraining.key, p)
        )
        key = members.key_of(self.key, p)
        return self._replace(key=key, pretraining=first, n_members=1, initial=initial)


class Trained(NamedTuple):
    """A result, and the history of what came before it.

    Those of an ensemble have a leading axis ``[P]``: leaves are arrays, histories end in NaN, and
    what is a number of a single model is a tuple.

    Attributes:
      result: the trained model.
      pretrain_history: of the pretraining, or None.
      n_members: P, the members that did not fail; where one is left it is a single model.
      lost: numbers of the members that failed.
    """

    result: training.Result
    pretrain_history: dict[str, np.ndarray] | None
    n_members: int = 1
    lost: tuple[int, ...] = ()

    def score(self, plan: Plan, mesh: Any = None) -> np.ndarray:
        """Scores ``[P, N]`` of all rows of the plan."""
        model = plan.objective, self.result.params, self.result.stats
        return members.score(*model, plan.scored, self.n_members, mesh=mesh)


def train(plan: Plan, *, checkpoints: Any = None, progress: bool = False) -> Trained:
    """Carry out one plan.

    Raises:
      jaxad.NonFiniteError: training met steps that are not finite; of an ensemble: in every member.
    """
    if plan.n_members > 1:
        if isinstance(plan.rows, Stream):
            ensemble = _one_by_one(plan.members(), checkpoints, progress)
        else:
            (ensemble,) = train_population([plan], checkpoints=checkpoints, progress=progress)
        if ensemble is None:
            raise training.NonFiniteError(
                f"all {plan.n_members} members met steps that are not finite. {REMEDY}"
            )
        return ensemble
    initial, history = starting_point(plan, checkpoints=checkpoints, progress=progress)
    result = training.fit(
        plan.objective,
        plan.recipe,
        plan.key,
        plan.rows,
        validation=plan.validation,
        initial=initial,
        fitted=plan.initial is not None,
        checkpoints=checkpoints,
        progress=progress,
    )
    return Trained(result, history)


def _one_by_one(plans: Sequence[Plan], checkpoints: Any, progress: bool) -> Trained | None:
    """The members of an ensemble on a stream, which no population trains on."""
    trained: list[Any] = []
    for p, plan in enumerate(plans):
        own = within(checkpoints, f"member-{p}")
        try:
            trained.append(train(plan, checkpoints=own, progress=progress))
        except training.NonFiniteError:
            trained.append(None)
    return _kept(trained, np.array([one is None for one in trained]))


def starting_point(
    plan: Plan, *, checkpoints: Any = None, progress: bool = False
) -> tuple[tuple[Params, Stats] | None, dict[str, np.ndarray] | None]:
    """What the run of a plan starts from, and the history of the pretraining that made it."""
    first = plan.pretraining
    if first is None:
        return plan.initial, None
    model = training.fit(
        first.objective,
        first.recipe,
        first.key,
        first.rows,
        checkpoints=within(checkpoints, "pretraining"),
        progress=progress,
    )
    encoder = encoder_of(model.params, model.stats)
    return plan.objective.from_encoder(*encoder, plan.x[:1]), model.history


def train_population(
    plans: Sequence[Plan], *, mesh: Any = None, checkpoints: Any = None, progress: bool = False
) -> list[Trained | None]:
    """Carry out plans of one structure, with all their members, as one population.

    Returns:
      For each plan what was trained; None where that, or every member, failed.
    """
    every = [member for plan in plans for member in plan.members()]
    trained, failed = _train_members(every, mesh, checkpoints, progress)
    ends = np.cumsum([plan.n_members for plan in plans])[:-1]
    groups = np.split(np.arange(len(every)), ends)
    return [_kept([trained[i] for i in own], failed[own]) for own in groups]


def _kept(trained: Sequence[Trained], failed: np.ndarray) -> Trained | None:
    """What did not fail, as one; None where all did."""
    kept = [one for one, lost in zip(trained, failed, strict=True) if not lost]
    if not kept:
        return None
    before = [one.pretrain_history for one in kept if one.pretrain_history is not None]
    return Trained(
        members.stacked([one.result for one in kept]),
        members.histories(before) if before else None,
        len(kept),
        tuple(np.flatnonzero(failed).tolist()),
    )


def _train_members(
    plans: Sequence[Plan], mesh: Any, checkpoints: Any, progress: bool
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
            checkpoints=within(checkpoints, "pretraining"),
            progress=progress,
        )

        initial = _from_encoders(plans[0].objective, model.params, model.stats, plans[0].x[:1])
        lost = model.failed
        histories = [model.member(p).history for p in range(len(plans))]
    fitted = [plan.initial for plan in plans if plan.initial is not None]
    if fitted:
        initial = jax.tree.map(lambda *leaves: np.stack(leaves), *fitted)
    held_out = [plan.validation for plan in plans if plan.validation is not None]
    population = training.fit_population(
        [plan.objective for plan in plans],
        [plan.recipe for plan in plans],
        _stack([plan.key for plan in plans]),
        _shared([plan.rows for plan in plans]),
        validation=_shared(held_out) if held_out else None,
        initial=initial,
        fitted=bool(fitted),
        mesh=mesh,
        checkpoints=checkpoints,
        progress=progress,
    )
    host = population._replace(
        params=jax.device_get(population.params), stats=jax.device_get(population.stats)
    )
    results = [host.member(p) for p in range(len(plans))]
    return [
        Trained(*pair) for pair in zip(results, histories, strict=True)
    ], population.failed | lost


def within(checkpoints: Any, name: str) -> training.Checkpoints | None:
    """Checkpoints, or their folder, as those of a run of this name; None stays None."""
    given = training.Checkpoints.of(checkpoints)
    return None if given is None else given.within(name)


@jax.jit
def _from_encoders(objective: Any, params: Params, stats: Stats, x: Array) -> tuple[Params, Stats]:
    """What each of the pretrained encoders ``[P, ...]`` makes the objective start from."""

    def start(params, stats):
        return objective.from_encoder(*encoder_of(params, stats), x)

    return jax.vmap(start)(params, stats)


def _stack(keys: Sequence[Key]) -> Key:
    data = np.stack([np.asarray(jax.random.key_data(key)) for key in keys])
    return jax.random.wrap_key_data(jnp.asarray(data))


def _shared(sets: Sequence[Any]) -> Batch | list[Batch]:
    """One set where all are the same, so that it lies in memory once."""
    first = sets[0]
    return first if all(_same_rows(first, other) for other in sets[1:]) else list(sets)


def _same_rows(one: Any, other: Any) -> bool:
    pairs = zip(one[:3], other[:3], strict=True)
    return all(a is b or np.array_equal(a, b) for a, b in pairs)
