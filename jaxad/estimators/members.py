"""The members of an ensemble under one leading axis; one alone is a single model, without."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxad import training
from jaxad.stream import Stream
from jaxad.typing import Key, Params, Stats


def key_of(key: Key, p: int) -> Key:
    """The key of member ``p`` of an ensemble, whose own key is that of the first."""
    if p == 0:
        return key
    words = np.asarray(jax.random.key_data(key)).tolist()
    return jax.random.wrap_key_data(
        jnp.asarray(np.random.SeedSequence([*words, p]).generate_state(len(words)))
    )


def stacked(results: Sequence[Any]) -> training.Result:
    """P results as one: leaves ``[P, ...]``, histories as `histories` has them, tuples of P."""
    first = results[0]
    if len(results) == 1:
        return first

    def stack(name: str) -> Any:
        trees = [getattr(result, name) for result in results]
        return jax.tree.map(lambda *leaves: jnp.asarray(np.stack(leaves)), *trees)

    return first._replace(
        params=stack("params"),
        stats=stack("stats"),
        history=histories([result.history for result in results]),
        best_epoch=None if first.best_epoch is None else tuple(r.best_epoch for r in results),
        steps=tuple(result.steps for result in results),
        skipped=tuple(result.skipped for result in results),
    )


def histories(each: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Histories ``[epochs]`` as one ``[P, epochs]``, NaN after a member's last epoch."""
    if len(each) == 1:
        return each[0]
    length = max(len(history["loss"]) for history in each)

    def padded(values: np.ndarray) -> np.ndarray:
        return np.pad(values.astype(np.float32), (0, length - len(values)), constant_values=np.nan)

    return {name: np.stack([padded(h[name]) for h in each]) for name in each[0]}


def score(
    objective: Any, params: Params, stats: Stats, x: Any, count: int, *, mesh: Any = None
) -> np.ndarray:
    """Scores ``[P, N]`` of rows by ``count`` members, or by a single model.

    They are float64; of a stream float32, as they are computed, since they may be very many.
    """
    if isinstance(x, Stream):
        each = apply("score", objective, params, stats, x, count)
        return np.stack(each) if count > 1 else each[0][None]  # one is not copied
    if count == 1:
        return training.score(objective, params, stats, x).astype(np.float64)[None]
    scores = training.score_population(objective, params, stats, x, mesh=mesh)
    return scores.astype(np.float64)


def apply(
    method: str, objective: Any, params: Params, stats: Stats, x: Any, count: int
) -> list[np.ndarray]:
    """A function of the objective for all rows, by each of ``count`` members."""
    # Put there once, and not with every block.
    each = [(jax.device_put(own), jax.device_put(its)) for own, its in split(params, stats, count)]
    if not isinstance(x, Stream) or count == 1:
        return [training.apply_rows(method, objective, *model, x) for model in each]
    chunks = [  # one pass, whatever the members
        [training.apply_rows(method, objective, *model, rows) for model in each]
        for rows, _ in x.on_host()
    ]
    return [np.concatenate(parts) for parts in zip(*chunks, strict=True)]


def split(params: Params, stats: Stats, count: int) -> list[tuple[Params, Stats]]:
    """Each member's own parameters and statistics."""
    if count == 1:
        return [(params, stats)]
    host = jax.tree.map(np.asarray, (params, stats))  # where indexing compiles nothing
    return [jax.tree.map(lambda leaf, p=p: leaf[p], host) for p in range(count)]


def to_go_on(detector: Any, objective: Any, shape: tuple[int, ...]) -> tuple[Params, Stats]:
    """A fitted detector's parameters and statistics, if ``objective`` can go on with them.

    Raises:
      ValueError: its networks for rows of ``shape`` have other shapes than the fitted ones.
    """
    row = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    wanted = _shapes(jax.eval_shape(objective.init, jax.random.key(0), row))
    fitted = detector.params_, detector.stats_
    found = _shapes(split(*fitted, detector.n_members_)[0])
    if wanted != found:
        name = min(set(wanted.items()) ^ set(found.items()))[0]
        raise ValueError(
            f"{detector}: its arguments and these rows make other networks than the fitted ones "
            f"(shapes differ at {name}). Give the arguments it was fitted with, or fit a clone"
        )
    return fitted


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    leaves, _ = jax.tree.flatten_with_path(tree)
    return {jax.tree_util.keystr(path): np.shape(leaf) for path, leaf in leaves}
