"""64-bit types, which an application may have enabled, and networks that compute in bfloat16."""

import os
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import x64_worker
from cases import KEY, fresh
from processes import ROOT, run_together
from scipy.stats import spearmanr
from sklearn.datasets import load_digits

import jaxad
from jaxad import networks
from jaxad.networks.types import TYPES

# The core of the suite, run a second time in an application's mode of 64-bit types. Left out are
# `tests/losses` and `tests/networks/test_images.py`, which mix arrays of float32 with those that
# JAX then makes of float64 (`test_numerics` has the formulas in float64), and what a test here
# compares between both modes to the bit: ensembles, streams, populations and fleets.
CORE = (
    "tests/objectives/test_contract.py",
    "tests/objectives/test_padded.py",
    "tests/networks/test_networks.py",
    "tests/networks/test_convolution.py",
    "tests/training/test_batching.py",
    "tests/training/test_trees.py",
    "tests/training/test_scoring.py",
    "tests/estimators/test_scaling.py",
    "tests/estimators/test_weights.py",
    "tests/test_persistence.py",
    "tests/test_thresholds.py",
)
X64 = {"JAX_ENABLE_X64": "1"}


@pytest.mark.full
def test_every_detector_and_way_of_training_gives_the_same_with_64_bit_types(
    tmp_path, record_property
):
    """The numbers agree to the bit: jaxad computes in float32 in both modes."""
    own, other = tmp_path / "float32", tmp_path / "x64"
    own.mkdir(), other.mkdir()
    expected = x64_worker.results(own)
    worker = str(ROOT / "tests" / "support" / "x64_worker.py")
    run_together([[sys.executable, worker, str(other), str(own)]], X64)
    found = dict(np.load(other / "results.npz"))
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)
    for scores in (x64_worker.read(other), dict(np.load(other / "read.npz"))):
        for name, values in scores.items():
            np.testing.assert_array_equal(values, expected[name], err_msg=f"read, {name}")
    record_property("results compared", len(expected) + 2 * len(scores))


@pytest.mark.full
def test_the_core_of_the_suite_passes_with_64_bit_types(record_property):
    """``JAX_ENABLE_X64=1 python -m pytest tests/...``, in a process of its own."""
    options = "-q --strict-markers --import-mode=importlib -p no:xdist -p no:cacheprovider"
    command = [sys.executable, "-m", "pytest", "-o", f"addopts={options}", "-m", "not full", *CORE]
    run = subprocess.run(
        command, cwd=ROOT, env=os.environ | X64, capture_output=True, text=True, timeout=3000
    )
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-2000:]
    record_property("tests passed", int(re.search(r"(\d+) passed", run.stdout)[1]))


@pytest.mark.parametrize(
    "module",
    [
        networks.ConvEncoder((4,), 3),
        networks.LeNetEncoder((4,), (), 3),
        networks.WideResNet(10, 1),
    ],
    ids=lambda module: type(module).__name__,
)
@pytest.mark.full
def test_image_networks_take_float32_images_with_64_bit_types(module, rng):
    """Initialisers of Flax draw float64 then, and a convolution needs one type."""
    x = rng.uniform(size=(4, 8, 8, 1)).astype(np.float32)
    with jax.enable_x64(True):
        assert jnp.isfinite(networks.apply(module, *networks.init(module, KEY, x), x)[0]).all()


def digits():
    """Images of one digit, and of that and others."""
    found = load_digits()
    images = found.images[..., None].astype(np.float32) / 16
    one = images[found.target == 0]
    return one[:100], np.concatenate([one[100:140], images[found.target == 1][:40]])


NETWORKS = {
    "MLP": lambda dtype: networks.MLP((24, 8), batch_norm=True, dtype=dtype),
    "ConvEncoder": lambda dtype: networks.ConvEncoder((4, 8), 8, dtype=dtype),
    "LeNetEncoder": lambda dtype: networks.LeNetEncoder((4, 8), (16,), 8, dtype=dtype),
    "WideResNet": lambda dtype: networks.WideResNet(10, 1, dtype=dtype),
    "ConvDecoder": lambda dtype: networks.ConvDecoder((8, 8, 1), (4, 8), dtype=dtype),
    "LeNetDecoder": lambda dtype: networks.LeNetDecoder((8, 8, 1), (4, 8), dtype=dtype),
}
TOLERANCE = 0.03  # of the largest output; bfloat16 has 8 binary digits, so one rounding is 0.002


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n == "MLP" else pytest.mark.full) for n in NETWORKS]
)
@pytest.mark.parametrize("train", [False, True])
def test_a_network_computes_in_bfloat16_with_float32_outside(name, train, record_property):
    x = digits()[0][:32]
    if name == "MLP" or "Decoder" in name:
        x = x.reshape(32, -1)[:, :16]
    key = KEY if train else None
    exact, short = (NETWORKS[name](dtype) for dtype in TYPES)
    params, running = networks.init(exact, KEY, x)
    weight = jnp.ones(32).at[3].set(0)

    def outcome(module):
        def total(params):
            output, stats = networks.apply(module, params, running, x, weight=weight, key=key)
            return jnp.sum(jnp.sin(output)), (output, stats)

        (_, outputs), slopes = jax.value_and_grad(total, has_aux=True)(params)
        return slopes, *outputs

    drawn = networks.init(short, KEY, x)
    jax.tree.map(np.testing.assert_array_equal, drawn, (params, running))
    expected, found = (
        jax.jit(outcome, static_argnums=0)(exact),
        jax.jit(outcome, static_argnums=0)(short),
    )
    assert {str(leaf.dtype) for leaf in jax.tree.leaves((drawn, found))} == {"float32"}
    worst = 0.0
    for a, b in zip(jax.tree.leaves(expected[1:]), jax.tree.leaves(found[1:]), strict=True):
        worst = max(worst, float(jnp.abs(a - b).max() / jnp.abs(a).max()))
    record_property("largest error of outputs", round(worst, 4))
    assert 1e-5 < worst < TOLERANCE  # float32's own rounding is far below


BFLOAT16 = {
    "DeepSVDD": {"network": "lenet", "latent_dim": 8, "pretrain_epochs": 1},
    "AutoEncoder": {"network": "conv", "latent_dim": 8},
    "GOAD": {"network": "wide_resnet", "resnet_width": 1, "batch_size": 20, "epochs": 1},
}


@pytest.mark.full
@pytest.mark.parametrize("name", BFLOAT16)
def test_scores_of_a_detector_in_bfloat16_are_close_and_rank_alike(name, tmp_path, record_property):
    train, x = digits()
    if name == "GOAD":  # 72 views of every image
        train, x = train[:20], x[20:60]
    options = {"hidden": (4, 8), "epochs": 3, "learning_rate": 1e-3} | BFLOAT16[name]
    detectors = [fresh(name, dtype=t, **options).fit(train) for t in TYPES]
    expected, found = (detector.anomaly_score(x) for detector in detectors)
    error = float(np.median(np.abs(found - expected) / np.abs(expected)))
    correlation = float(spearmanr(expected, found)[0])
    record_property("median relative error of scores", round(error, 4))
    record_property("rank correlation", round(correlation, 4))
    assert 0 < error < 0.05
    assert correlation > 0.98
    detectors[1].save(tmp_path / "d")
    loaded = jaxad.load(tmp_path / "d")
    assert loaded.dtype == "bfloat16"
    np.testing.assert_array_equal(loaded.anomaly_score(x), found)


@pytest.mark.parametrize("name", ["DeepSVDD", "DeepSAD", "AutoEncoder", "GOAD"])
def test_other_types_and_types_of_a_module_are_refused(name, rows):
    with pytest.raises(ValueError, match="dtype='float16'.*'float32'.*'bfloat16'"):
        fresh(name, dtype="float16").fit(rows)
    module = {"network": networks.MLP((4,)), "dtype": "bfloat16"}
    module |= {"decoder": networks.MLP((5,))} if name == "AutoEncoder" else {}
    with pytest.raises(ValueError, match="dtype='bfloat16' is for networks by name.*module"):
        fresh(name, **module).fit(rows)
    with pytest.raises(ValueError, match="dtype='float16'.*'float32'.*'bfloat16'"):
        networks.init(networks.MLP((4,), dtype="float16"), KEY, rows)
