"""What is wrong with an objective of the user's is said before anything is compiled."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import OBJECTIVES, RECIPE
from flax import struct

from jaxad import networks, objectives, training
from jaxad.objectives.wrappers import Trimmed
from jaxad.training import contract

KEY = jax.random.key(0)


class Own(objectives.BaseObjective):
    """The distance to a learnt point."""

    power: float = 2.0
    chunk: int = struct.field(pytree_node=False, default=64)

    def init(self, key, x):
        return {"point": jax.random.normal(key, x.shape[1:])}, {"steps": jnp.zeros(())}

    def loss(self, params, stats, batch, key):
        values = self.score(params, stats, batch.x)
        return values, stats if key is None else stats | {"steps": stats["steps"] + 1}

    def score(self, params, stats, x):
        return jnp.sum((jnp.abs(x - params["point"][None]) + 1e-3) ** self.power, -1)


def changed(**methods):
    """An objective with other methods."""
    return type("Odd", (Own,), {"__module__": __name__, **methods})()


@pytest.fixture
def traces(monkeypatch):
    """The objectives that are traced."""
    found, trace = [], contract._trace

    def counted(objective, *others):
        found.append(objective)
        return trace(objective, *others)

    monkeypatch.setattr(contract, "_trace", counted)
    return found


class Bare:
    """No base class and no methods."""


class NoChunk(struct.PyTreeNode):
    init = Own.init
    loss = Own.loss
    score = Own.score


class Fixed(Own):
    weights: Any = struct.field(pytree_node=False, default=None)


class OneMethod(struct.PyTreeNode):
    chunk: int = struct.field(pytree_node=False, default=64)

    def init(self, key, x):
        return {}, {}


def forgets(self, params, stats, batch, key):
    return self.score(params, stats, batch.x), {}


def widens(self, params, stats, batch, key):
    return self.score(params, stats, batch.x), {"steps": jnp.zeros(2)}


BAD = {
    "no methods": (Bare(), TypeError, r"Bare lacks init\(key, x\).*loss\(.*score\(.*chunk, the"),
    "one method": (
        OneMethod(),
        TypeError,
        r"OneMethod lacks loss\(params, stats, batch, key\) -> \(values \[B\], stats\); score\(",
    ),
    "no chunk": (NoChunk(), TypeError, "NoChunk lacks chunk.*BaseObjective is the base class"),
    "an array as structure": (
        Fixed(weights=np.ones(5)),
        TypeError,
        "the field 'weights' of Fixed is an array with pytree_node=False.*or give a tuple",
    ),
    "parameters alone": (
        changed(init=lambda self, key, x: {"point": x[0]}),
        TypeError,
        r"Odd.init returned .* not parameters and a dict of statistics: init\(key, x\)",
    ),
    "statistics that are no dict": (
        changed(init=lambda self, key, x: ({"point": x[0]}, ())),
        TypeError,
        r"Odd.init returned .* not parameters and a dict of statistics: init\(key, x\)",
    ),
    "values alone": (
        changed(loss=lambda self, params, stats, batch, key: batch.x[:, 0]),
        TypeError,
        r"Odd.loss returned an array of shape \(3,\): loss\(params, stats, batch, key\)",
    ),
    "a mean": (
        changed(loss=lambda self, params, stats, batch, key: (jnp.mean(batch.x), stats)),
        ValueError,
        r"Odd.loss returned an array of shape \(\) for a batch of 3 rows, but it returns one",
    ),
    "a mean in validation only": (
        changed(
            loss=lambda self, params, stats, batch, key: (
                batch.x.mean() if key is None else batch.x[:, 0],
                stats,
            )
        ),
        ValueError,
        r"Odd.loss returned an array of shape \(\) for a batch of 3 rows",
    ),
    "a column": (
        changed(score=lambda self, params, stats, x: x[:, :1]),
        ValueError,
        r"Odd.(score|loss) returned an array of shape \(3, 1\)",
    ),
    "a score of a batch": (
        changed(
            loss=lambda self, params, stats, batch, key: (batch.x[:, 0], stats),
            score=lambda self, params, stats, x: jnp.mean(x),
        ),
        ValueError,
        r"Odd.score returned an array of shape \(\) for a batch of 3 rows.*-> \[B\]",
    ),
    "statistics that are lost": (
        changed(loss=forgets),
        TypeError,
        "statistics of other names, shapes or types than Odd.init: {}, not .*steps",
    ),
    "statistics that grow": (changed(loss=widens), TypeError, r"\(2,\).*A step must keep them"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_objective_is_refused_before_compiling(case, rows):
    objective, error, message = BAD[case]
    with training.Stopwatch() as watch, pytest.raises(error, match=message):
        training.fit(objective, RECIPE, KEY, rows)
    assert watch.compilations == 0


def test_it_is_refused_in_a_population_and_in_steps(rows):
    objective, error, message = BAD["a mean"]
    with pytest.raises(error, match=message):
        training.fit_population(objective, RECIPE, jax.random.split(KEY, 2), rows)
    with pytest.raises(error, match=message):
        training.fit_population([objective] * 2, RECIPE, jax.random.split(KEY, 2), rows)
    with pytest.raises(error, match=message):
        training.begin(objective, RECIPE, KEY, rows)


def test_an_error_of_its_own_is_not_hidden(rows):
    def broken(self, params, stats, x):
        raise RuntimeError("my own words")

    with pytest.raises(RuntimeError, match="my own words"):
        training.fit(changed(score=broken), RECIPE, KEY, rows)


def test_a_sound_objective_is_traced_once_for_each_shape(traces, rows):
    own = Own()
    for power in (2.0, 1.5):
        training.fit(own.replace(power=power), RECIPE, KEY, rows)
    assert len(traces) == 1
    training.fit_population(own, RECIPE, jax.random.split(KEY, 2), rows)
    powers = own.replace(power=np.float32([1.0, 2.0]))
    training.fit_population(powers, RECIPE, jax.random.split(KEY, 2), rows)
    assert len(traces) == 1
    training.fit(own, RECIPE, KEY, rows[:, :2])
    assert len(traces) == 2


@pytest.mark.parametrize("name", OBJECTIVES)
def test_objectives_of_jaxad_are_not_traced(name, traces, rows):
    contract.check_objective(OBJECTIVES[name], (5,))
    contract.check_objective([OBJECTIVES[name]] * 2, (5,))
    contract.check_objective(Trimmed(OBJECTIVES[name], 0.1, 0.9), (5,))
    assert not traces


@pytest.mark.parametrize("wrapped", [False, True])
def test_an_objective_of_jaxad_with_code_of_the_users_is(wrapped, traces):
    def own(distance):
        return distance

    objective = objectives.deep_svdd(networks.MLP((4, 2)), loss=own)
    if wrapped:
        objective = objectives.Compound((Trimmed(objective, 0.1, 0.9),), (1.0,))
    contract.check_objective(objective, (5,))
    assert len(traces) == 1
