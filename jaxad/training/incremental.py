"""A run that goes on with other rows: begun once, then one epoch after the other."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxad.training import run
from jaxad.training.batching import as_rows, bucket, pad_rows
from jaxad.training.engine import State, train
from jaxad.training.nonfinite import raise_if_stuck
from jaxad.training.recipe import Recipe, as_leaves, optimizer
from jaxad.typing import Batch, Key, Objective, Params, Stats

# Not donated: the state that a failed call was given is still good.
_train = jax.jit(train)


def begin(
    objective: Objective,
    recipe: Recipe,
    key: Key,
    rows: Any,
    *,
    initial: tuple[Params, Stats] | None = None,
    fitted: bool = False,
) -> State:
    """The state before the first step of a run; arguments as for `jaxad.training.fit`.

    Example:
      >>> import jax, numpy as np
      >>> from jaxad import networks, objectives, training
      >>> batches = np.random.default_rng(0).normal(size=(3, 200, 4))
      >>> objective, recipe = objectives.DeepSVDD(networks.MLP((16, 8))), training.Recipe()
      >>> state = training.begin(objective, recipe, jax.random.key(0), batches[0])
      >>> for x in batches:
      ...     state, stats, history = training.advance(objective, recipe, state, x)
      >>> int(state.epoch), training.score(objective, state.params, stats, x).shape
      (3, (200,))
    """
    objective, how, _, padded = _prepared(objective, recipe, rows)
    sample = jnp.zeros((1, *padded.x.shape[1:]))
    params, stats = initial or run._initialise(objective, key, sample)
    if not fitted:
        stats = run._refresh(objective, params, stats, padded, np.bool_(True))
    return run._start(how, key, params, stats)


def advance(
    objective: Objective, recipe: Recipe, state: State, rows: Any
) -> tuple[State, Stats, dict[str, np.ndarray]]:
    """Train one epoch on ``rows``, whatever ``recipe.epochs`` and ``recipe.patience`` say.

    Returns:
      The new state; statistics that are exact for these rows and the new parameters, to score
      with; and the epoch's record, see `jaxad.training.Result`.

    Raises:
      NonFiniteError: as `jaxad.training.fit` does. ``state`` can be used again.
      ValueError: the recipe's optimizer has other parts than the one the run began with.
    """
    objective, how, count, padded = _prepared(objective, recipe, rows)
    try:
        done, history = _train(objective, how, state, padded, count, None, np.int32(1))
    except Exception as error:
        wanted = jax.eval_shape(optimizer(how).init, state.params)
        if jax.tree.structure(wanted) == jax.tree.structure(state.opt_state):
            raise
        raise ValueError(
            f"optimizer={recipe.optimizer!r}, clip_norm={recipe.clip_norm!r}, weight_decay="
            f"{recipe.weight_decay!r}, decoupled_weight_decay={recipe.decoupled_weight_decay!r}: "
            "the optimizer is another than when the run began, or one of the others is set and "
            "was not, or the other way round. Their values may change, but not which there are: "
            "leave those as they were, or begin anew"
        ) from error
    raise_if_stuck(how, done, state)
    stats = run._refresh(objective, done.params, done.stats, padded, np.bool_(False))
    return done, stats, {name: np.asarray(values)[:1] for name, values in history.items()}


def _prepared(
    objective: Objective, recipe: Recipe, rows: Any
) -> tuple[Objective, Recipe, np.int32, Batch]:
    recipe.check()
    data = rows if isinstance(rows, Batch) else as_rows(rows)
    padded = pad_rows(data, bucket(len(data.x)))
    endless = recipe.replace(epochs=np.inf, patience=None)  # pyright: ignore
    return *as_leaves((objective, endless)), np.int32(len(data.x)), padded
