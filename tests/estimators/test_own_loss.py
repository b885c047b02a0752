"""Losses of the user's in detectors: results, sweeps, fleets, files and errors."""

import functools
import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors
from cases import fresh
from fleets import fitted as fitted_fleet
from fleets import made, same
from sklearn.base import clone

import jaxad
from jaxad import data, losses, objectives, plotting, registry, training

PATH = f"{__name__}.pseudo_huber"


def pseudo_huber(distance, *, delta):
    return delta**2 * (jnp.sqrt(1 + distance / delta**2) - 1)


def huber_of_errors(x, reconstruction, *, delta):
    squares = jnp.square(x - reconstruction)
    return jnp.mean(delta**2 * (jnp.sqrt(1 + squares / delta**2) - 1), -1)


def of_the_mixture(error, energy, *, delta):
    return delta * error + 0.1 * energy


def of_the_views(logits, *, delta):
    return delta * jnp.mean(-jnp.diagonal(jax.nn.log_softmax(logits), axis1=1, axis2=2), -1)


OWN = {
    "DeepSVDD": pseudo_huber,
    "DeepSAD": pseudo_huber,
    "AutoEncoder": huber_of_errors,
    "DAGMM": of_the_mixture,
    "GOAD": of_the_views,
}


def with_own(name, delta=1.0, **options):
    return fresh(name, loss=OWN[name], loss_numbers={"delta": delta}, **options)


@pytest.fixture
def label():
    return np.where(np.arange(300) % 30 == 0, -1, 0)


# The papers' losses, given as the user's


def same_training(one, other, rows, y=None, rtol=0.0):
    one.fit(rows, y)
    other.fit(rows, y)
    for a, b in zip(jax.tree.leaves(one.params_), jax.tree.leaves(other.params_), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol)
    np.testing.assert_allclose(one.history_["loss"], other.history_["loss"], rtol=rtol)
    np.testing.assert_allclose(one.anomaly_score(rows), other.anomaly_score(rows), rtol=rtol)


def test_the_one_class_loss_is_deep_svdd_to_the_bit(rows):
    same_training(fresh("DeepSVDD", loss=losses.hypersphere.one_class), fresh("DeepSVDD"), rows)


def test_the_soft_boundary_is_deep_svdd_to_the_bit(rows):
    soft = {"objective": "soft-boundary", "nu": 0.2, "warm_up_epochs": 1}
    given = fresh("DeepSVDD", loss=losses.hypersphere.soft_boundary, **soft)
    same_training(given, fresh("DeepSVDD", **soft), rows)


def test_the_labelled_exponent_is_deep_sad_to_the_bit(rows, label):
    given = fresh("DeepSAD", loss=losses.sad.labelled_exponent, eta=2.0)
    same_training(given, fresh("DeepSAD", eta=2.0), rows, label)


def test_the_squared_error_is_the_autoencoder_to_the_bit(rows):
    given = fresh("AutoEncoder", loss=objectives.mean_squared_error)
    same_training(given, fresh("AutoEncoder"), rows)


def test_the_formula_of_dagmm_is_its_loss(rows):
    def formula(error, energy, penalty, lambda_energy, lambda_covariance):
        return error + lambda_energy * energy + lambda_covariance * penalty

    options = {"lambda_energy": 0.3, "lambda_covariance": 0.01}
    given = fresh("DAGMM", loss=formula, **options)
    same_training(given, fresh("DAGMM", **options), rows, rtol=1e-5)


def test_the_composition_of_goad_is_its_loss(rows):
    def composed(z, centres, logits, margin, triplet_weight):
        views = jnp.arange(len(centres))
        entropy = -jnp.mean(jax.nn.log_softmax(logits)[:, views, views], -1)
        distances = losses.transformation.squared_distances(z, centres)
        own = distances[:, views, views]
        others = jnp.where(jnp.eye(len(centres), dtype=bool)[None], jnp.inf, distances).min(-1)
        return entropy + triplet_weight * jnp.mean(jax.nn.relu(own + margin - others), -1)

    given = fresh("GOAD", loss=composed, triplet_weight=0.3)
    same_training(given, fresh("GOAD", triplet_weight=0.3), rows, rtol=2e-4)


def test_an_own_loss_changes_what_is_learnt(rows):
    default, own = fresh("DeepSVDD").fit(rows), with_own("DeepSVDD", 0.1).fit(rows)
    assert not np.allclose(default.anomaly_score(rows), own.anomaly_score(rows), rtol=1e-3)


@pytest.mark.parametrize("name", OWN)
def test_every_detector_trains_by_an_own_loss(name, rows):
    detector = with_own(name, 0.7).fit(rows)
    assert detector.objective_.numbers == {"delta": 0.7}
    assert np.isfinite(detector.history_["loss"]).all()
    assert detector.explain(rows[:5]).shape == (5, 5)
    assert len(plotting.loss_curves(detector.history_).axes) == 1


# Arguments


def test_numbers_are_arguments_by_name(rows):
    detector = with_own("DeepSVDD", 2.0)
    assert detector.get_params()["loss_numbers__delta"] == 2.0
    assert "loss_numbers__delta" not in detector.get_params(deep=False)
    copy = clone(detector).set_params(loss_numbers__delta=3.0)
    assert (copy.loss_numbers, detector.loss_numbers) == ({"delta": 3.0}, {"delta": 2.0})
    both = clone(detector).set_params(loss_numbers={"a": 1.0}, loss_numbers__b=2.0)
    assert both.loss_numbers == {"a": 1.0, "b": 2.0}
    assert fresh("DeepSVDD").set_params(loss_numbers__delta=1).loss_numbers == {"delta": 1}
    given = {"delta": 1.0}
    fresh("DeepSVDD", loss_numbers=given).set_params(loss_numbers__delta=5.0)
    assert given == {"delta": 1.0}


def _not_traceable(distance):
    return distance if distance.mean() > 1 else 2 * distance


BAD = {
    "no function": ({"loss": 3}, TypeError, "loss=3 is neither None nor a function"),
    "a compiled function": (
        {"loss": jax.jit(pseudo_huber)},
        TypeError,
        "is a function of jax.jit.*give the function without jax.jit",
    ),
    "a partial": (
        {"loss": functools.partial(pseudo_huber, delta=1)},
        TypeError,
        "functools.partial.*would be compiled anew",
    ),
    "numbers without a loss": (
        {"loss": None, "loss_numbers": {"delta": 1}},
        ValueError,
        "which is None: give the loss",
    ),
    "numbers that are no dict": ({"loss_numbers": [1]}, TypeError, r"try \{'delta': 1.0\}"),
    "several values of a number": (
        {"loss_numbers": {"delta": [1, 2]}},
        ValueError,
        "is not one number: to try several, use jaxad.sweep",
    ),
    "a text": ({"loss_numbers": {"delta": "1"}}, ValueError, "is not one number"),
    "a number that the detector passes": (
        {"loss_numbers": {"nu": 1.0}},
        ValueError,
        r"the detector passes \['nu'\] itself",
    ),
    "a number that is missing": ({"loss_numbers": None}, TypeError, r"needs \['delta'\]"),
    "a number that it does not take": (
        {"loss_numbers": {"delta": 1, "gamma": 2}},
        TypeError,
        r"takes no \['gamma'\]",
    ),
    "a scalar": ({"loss": lambda distance: distance.mean()}, ValueError, "one value for each"),
    "a wrong shape": ({"loss": lambda z: z}, ValueError, "sum or average over the other axes"),
    "no tracing": ({"loss": _not_traceable}, TypeError, "cannot be compiled.*jnp.where"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_losses_are_refused_before_compiling(case, rows):
    options, error, message = BAD[case]
    given = {"loss": pseudo_huber, "loss_numbers": {"delta": 1.0}} | options
    if "loss" in options and "loss_numbers" not in options:
        given["loss_numbers"] = None
    with training.Stopwatch() as watch, pytest.raises(error, match=message):
        fresh("DeepSVDD", **given).fit(rows)
    assert watch.compilations == 0


# What detectors can do


@pytest.mark.slow
def test_a_sweep_of_a_number_compiles_no_more_than_one_setting(rows):
    detector = fresh("DeepSVDD", hidden=(9,), loss=pseudo_huber)
    counts = []
    for values in ([0.5], [0.5, 1.0, 2.0]):
        jax.clear_caches()
        with training.Stopwatch() as watch:
            found = jaxad.sweep(
                detector, {"loss_numbers__delta": values}, rows, seeds=2, progress=False
            )
        counts.append(watch.compilations)
    assert counts[1] <= counts[0]
    assert found["loss_numbers__delta"].tolist() == [0.5, 0.5, 1.0, 1.0, 2.0, 2.0]
    for row in found[found["seed"] == 0].to_dict("records"):
        alone = with_own("DeepSVDD", row["loss_numbers__delta"], hidden=(9,)).fit(rows)
        scores = row["detector"].anomaly_score(rows)
        np.testing.assert_allclose(scores, alone.anomaly_score(rows), rtol=1e-4)


def test_ensembles_and_populations_equal_each_alone(rows):
    many = [with_own("AutoEncoder", delta, n_members=2) for delta in (0.5, 2.0)]
    alone = [clone(one).fit(rows) for one in many]
    jaxad.fit_many(many, rows)
    for one, other in zip(many, alone, strict=True):
        assert one.n_members_ == 2
        np.testing.assert_allclose(one.anomaly_score(rows), other.anomaly_score(rows), rtol=1e-4)


def test_on_a_stream_and_on_rows_that_arrive(rows):
    streamed = with_own("DeepSVDD").fit(data.stream(rows, rows=128))
    assert np.isfinite(streamed.anomaly_score(rows)).all()
    arriving = with_own("DeepSVDD")
    for _ in range(2):
        arriving.partial_fit(rows)
    assert len(arriving.history_["loss"]) == 2
    further = with_own("DeepSVDD", warm_start=True).fit(rows)
    before = further.anomaly_score(rows)
    assert not np.array_equal(further.fit(rows).anomaly_score(rows), before)


def test_checkpoints_are_resumed_to_the_bit(rows, tmp_path):
    fixed = {"warm_up_epochs": 1}
    whole = with_own("DeepSVDD", epochs=4, **fixed).fit(rows)
    with_own("DeepSVDD", epochs=2, **fixed).fit(rows, checkpoints=tmp_path / "run")
    resumed = with_own("DeepSVDD", epochs=4, **fixed).fit(rows, checkpoints=tmp_path / "run")
    np.testing.assert_array_equal(resumed.anomaly_score(rows), whole.anomaly_score(rows))
    assert resumed.history_["loss"].tolist() == whole.history_["loss"].tolist()
    with pytest.raises(ValueError, match="delta"):
        with_own("DeepSVDD", 3.0, epochs=5, **fixed).fit(rows, checkpoints=tmp_path / "run")


@pytest.mark.full
@pytest.mark.slow
def test_checkpoints_are_resumed_in_another_process(rows, tmp_path):
    """What tells runs apart must hold no address of a function."""
    np.save(tmp_path / "rows.npy", rows)
    (tmp_path / "script.py").write_text(
        "import sys, numpy as np, jax.numpy as jnp, jaxad\n"
        "padding = [object() for _ in range(int(sys.argv[2]))]\n"
        "def own(distance, *, delta):\n"
        "    return jnp.log1p(distance / delta)\n"
        "options = dict(hidden=(4,), latent_dim=2, n_members=1, random_state=0)\n"
        "options |= dict(loss=own, loss_numbers={'delta': 1.0}, warm_up_epochs=0)\n"
        "options['epochs'] = int(sys.argv[1])\n"
        "jaxad.DeepSVDD(**options).fit(np.load('rows.npy'), checkpoints='run')\n"
    )
    for epochs, others in (("1", "10"), ("2", "100000")):
        command = [sys.executable, "script.py", epochs, others]
        done = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, env=dict(os.environ)
        )
        assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_fleets_train_by_it_and_their_files_name_it(tmp_path):
    frame = made((60, 70, 80))
    settings = {"loss": pseudo_huber, "loss_numbers": {"delta": 0.5}}
    fleet = fitted_fleet(frame, settings=settings)
    plain = fitted_fleet(frame)
    assert not np.allclose(fleet.score(frame)["score"], plain.score(frame)["score"])
    fleet.save(tmp_path / "fleet")
    with pytest.raises(jaxad.FileFormatError, match="names the function.*losses="):
        jaxad.load(tmp_path / "fleet")
    found = jaxad.load(tmp_path / "fleet", losses={"pseudo_huber": pseudo_huber})
    assert same(found.score(frame), fleet.score(frame))


# Files


@pytest.fixture
def path(tmp_path):
    return tmp_path / "detector.safetensors"


@pytest.fixture
def saved(path, rows):
    with_own("DeepSVDD").fit(rows).save(path)
    return path


def parameters_in(path):
    with safetensors.safe_open(path, framework="np") as file:
        return json.loads(file.metadata()["jaxad"])["metadata"]["parameters"]


def test_a_file_names_the_loss_and_holds_no_code(saved):
    parameters = parameters_in(saved)
    assert parameters["loss"] == {"function": PATH}
    assert parameters["loss_numbers"] == {"delta": 1.0}
    content = saved.read_bytes()
    assert b"sqrt" not in content
    assert pseudo_huber.__code__.co_code not in content


@pytest.mark.parametrize("name", [PATH, "pseudo_huber"])
def test_a_loss_is_given_by_its_path_or_its_name(saved, rows, name):
    found = jaxad.load(saved, losses={name: pseudo_huber})
    expected = with_own("DeepSVDD").fit(rows).anomaly_score(rows)
    np.testing.assert_array_equal(found.anomaly_score(rows), expected)
    assert found.loss is pseudo_huber


def test_a_loss_that_is_not_known_is_an_error_that_says_how(saved):
    with pytest.raises(jaxad.FileFormatError) as caught:
        jaxad.load(saved)
    message = str(caught.value)
    assert str(saved) in message
    assert f'losses={{"{PATH}": function}}' in message
    assert "jaxad.register_loss" in message
    with pytest.raises(jaxad.FileFormatError, match="is not known here"):
        jaxad.load(saved, losses={"other": pseudo_huber})


def test_a_registered_loss_is_known(saved, monkeypatch):
    monkeypatch.setattr(registry, "FUNCTIONS", dict(registry.FUNCTIONS))
    assert jaxad.register_loss(pseudo_huber) is pseudo_huber
    assert jaxad.load(saved).loss is pseudo_huber


@pytest.mark.parametrize(
    ("name", "loss"),
    [
        ("DeepSVDD", losses.hypersphere.one_class),
        ("DeepSAD", losses.sad.labelled_exponent),
        ("AutoEncoder", objectives.mean_squared_error),
    ],
)
def test_losses_of_jaxad_load_by_themselves(name, loss, rows, path):
    detector = fresh(name, loss=loss).fit(rows)
    detector.save(path)
    found = jaxad.load(path)
    assert found.loss is loss
    np.testing.assert_array_equal(found.anomaly_score(rows), detector.anomaly_score(rows))


def with_function(path, name):
    """Let the file name another function, as an attacker could."""
    arrays, metadata = jaxad.persistence.read(path)
    metadata["parameters"]["loss"] = {"function": name}
    jaxad.persistence.write(path, arrays, metadata)


@pytest.mark.parametrize(
    "name", ["os.system", "subprocess.run", "jaxad.persistence.os", "jaxad.os.system", "eval", ""]
)
def test_loading_imports_and_calls_nothing_that_a_file_names(saved, name):
    with_function(saved, name)
    with pytest.raises(jaxad.FileFormatError, match="which is not known here"):
        jaxad.load(saved)


def test_loading_imports_no_module_that_a_file_names(saved, tmp_path, monkeypatch):
    (tmp_path / "trap.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with_function(saved, "trap.loss")
    with pytest.raises(jaxad.FileFormatError, match="which is not known here"):
        jaxad.load(saved)
    assert "trap" not in sys.modules


@pytest.mark.parametrize("name", ["function", "recipe"])
def test_numbers_may_have_any_name(name, rows, path):
    source = f"def own(distance, *, {name}):\n    return {name} * distance"
    names = {"__name__": __name__}
    exec(source, names)
    detector = fresh("DeepSVDD", loss=names["own"], loss_numbers={name: 2.0}).fit(rows)
    detector.save(path)
    found = jaxad.load(path, losses={"own": names["own"]})
    assert found.loss_numbers == {name: 2.0}
