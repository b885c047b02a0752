"""Digests depend on content, type, shape and path."""

import jax
import numpy as np
import pytest

from jaxad.training.trees import described, digest

TREE = {"a": np.arange(6, dtype=np.float32), "key": jax.random.key(0)}


def test_equal_trees_have_one_digest():
    same = {"key": jax.random.key(0), "a": jax.numpy.arange(6, dtype=np.float32)}
    assert digest(TREE) == digest(same)


@pytest.mark.parametrize(
    "other",
    [
        TREE | {"a": np.arange(6, dtype=np.float64)},
        TREE | {"a": np.arange(6, dtype=np.float32).reshape(2, 3)},
        TREE | {"a": np.arange(6, dtype=np.float32) + np.float32(1e-6)},
        TREE | {"key": jax.random.key(1)},
        {"b": TREE["a"], "key": TREE["key"]},
    ],
)
def test_other_trees_have_another(other):
    assert digest(other) != digest(TREE)


def test_a_description_has_no_addresses():
    def function():
        pass

    assert "0x" in repr(function)
    assert "0x" not in described(function)
