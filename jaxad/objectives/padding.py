"""Objectives for rows that are padded with columns of zeros, so that tables share programs."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jaxad import networks
from jaxad.objectives.base import BaseObjective
from jaxad.objectives.compound import Compound
from jaxad.objectives.wrappers import Wrapper
from jaxad.typing import Array, Key, Params, Stats


class Padded(Wrapper):
    """An objective for rows ``[B, D]`` of which only the first ``features`` columns are real.

    The others hold zeros. Training and scores are those of the objective on the real columns alone,
    so that tables of different width train as one population: the first layer is drawn as if it had
    so few inputs, and what is drawn or computed for columns, such as noise and reconstructions, is
    0 in the others (`real`). Made by `padded`.

    Attributes:
      objective: an objective with ``takes_padding``.
      features: leaf, the number of real columns.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jaxad import networks, objectives
      >>> narrow = objectives.padded(objectives.deep_svdd(networks.MLP((16, 8))), 5)
      >>> params, stats = narrow.init(jax.random.key(0), jnp.zeros((4, 8)))
      >>> narrow.score(params, stats, jnp.zeros((4, 8))).shape
      (4,)
    """

    features: Any

    def init(self, key: Key, x: Array) -> tuple[Params, Stats]:
        """Initialise the objective for the real columns."""
        params, stats = self.objective.init_padded(key, x, self.features)
        width = x.shape[1]
        real = self.objective.padded_inputs(self.features)
        for role, (network, inputs) in self.objective.padded_inputs(width).items():
            scale = jnp.sqrt(inputs / real[role][1])
            first = _grows(network, inputs)
            scaled = jax.tree.map(
                lambda leaf, grows, scale=scale: leaf * scale if grows else leaf,
                params[role],
                first,
            )
            params = params | {role: scaled}
        if "offsets" in stats:  # of GOAD's maps, whose spread is that of a mapped row
            stats = stats | {"offsets": stats["offsets"] * jnp.sqrt(self.features / width)}
        return params, stats | {"real": (jnp.arange(width) < self.features).astype(jnp.float32)}


def padded(objective: Any, features: Any) -> Any:
    """The objective for rows of which only the first ``features`` columns are real.

    Raises:
      ValueError: the objective cannot tell, see ``takes_padding``; or there are too few columns
        for it, such as for a window of ICL.

    Example:
      >>> from jaxad import networks, objectives
      >>> objectives.padded(objectives.deep_svdd(networks.MLP((16, 8))), 5).features
      5
    """
    if not getattr(objective, "takes_padding", False):
        raise ValueError(
            f"{type(objective).__name__} does not take columns of padding: it would learn them. "
            "Give it rows of one width"
        )
    if isinstance(objective, Compound):
        return objective.replace(parts=tuple(padded(p, features) for p in objective.parts))
    if isinstance(objective, Wrapper):
        return objective.replace(objective=padded(objective.objective, features))
    traced = isinstance(features, Tracer)
    settled = [objective.of_columns(int(n)) for n in ([] if traced else np.unique(features))]
    settled = settled or [objective]
    if any(jax.tree.structure(one) != jax.tree.structure(settled[0]) for one in settled):
        raise ValueError(
            f"features={features!r}: {type(objective).__name__} has another structure for each of "
            "these numbers of columns. Train tables of one structure together"
        )
    return Padded(settled[0], features)


def knows_padding(objective: Any) -> bool:
    """Whether all of its losses and scores were written for columns of padding.

    So were jaxad's. An objective of one's own, also one derived from jaxad's, must say which of its
    networks see the columns, in the class that has its loss and score.

    Example:
      >>> from jaxad import networks, objectives
      >>> knows_padding(objectives.deep_svdd(networks.MLP((8,))))
      True
    """
    if isinstance(objective, Compound):
        return all(map(knows_padding, objective.parts))
    kind = objective if isinstance(objective, type) else type(objective)
    known = "padded_inputs" in vars(kind) or all(
        getattr(kind, name).__module__.startswith("jaxad.") for name in ("loss", "score")
    )
    return known and (not isinstance(objective, Wrapper) or knows_padding(objective.objective))


def equal_but_outputs(one: Any, other: Any, features: int, width: int) -> bool:
    """Whether objectives for two widths are equal, but for MLPs that return a row of either width.

    Example:
      >>> from jaxad import networks, objectives
      >>> narrow, wide = (objectives.tccm(networks.MLP((16, columns))) for columns in (5, 8))
      >>> equal_but_outputs(narrow, wide, 5, 8)
      True
    """
    if type(one) is not type(other):
        return False
    if isinstance(one, BaseObjective):
        names = [field.name for field in dataclasses.fields(one)]
        one, other = (tuple(getattr(each, name) for name in names) for each in (one, other))
    if isinstance(one, tuple):
        return len(one) == len(other) and all(
            equal_but_outputs(*pair, features, width) for pair in zip(one, other, strict=True)
        )
    if isinstance(one, networks.MLP):
        wider = one.clone(widths=(*one.widths[:-1], width))
        return other == one or (one.widths[-1] == features and other == wider)
    if isinstance(one, nn.Module):
        return False  # it may do anything with columns of padding
    (leaves, structure), (others, wanted) = jax.tree.flatten(one), jax.tree.flatten(other)
    return structure == wanted and all(map(np.array_equal, leaves, others))


def _grows(network: Any, width: int) -> Any:
    """Which parameters have an input for each column: their first axis grows with the width."""

    def shapes(columns: int) -> Any:
        row = jax.ShapeDtypeStruct((1, columns), jnp.float32)
        return jax.eval_shape(lambda x: networks.init(network, jax.random.key(0), x)[0], row)

    return jax.tree.map(lambda a, b: a.shape != b.shape, shapes(width), shapes(width + 1))
