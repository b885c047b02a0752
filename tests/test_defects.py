"""No detector here can do what implementations in use have done: one test for each such defect.

Some are held off elsewhere, for every objective or every detector:

* training that moves nothing, a detached loss, a quality test that stays green over an untrained
  network: `test_contract.test_every_parameter_moves`, `test_the_loss_falls`,
  `test_training_improves_on_a_set_that_needs_learning`;
* a score that depends on the rows beside it:
  `test_contract.test_a_score_does_not_depend_on_other_rows`;
* a refit with the same seed that differs, a seed that changes nothing:
  `test_estimators.test_refitting_with_the_same_seed_is_bit_identical`;
* no labels, or one kind of label only, that crash Deep SAD:
  `test_estimators.test_only_anomalies_labelled_only_normals_labelled_no_unlabelled_rows`;
* running statistics that pretraining does not carry over:
  `test_objectives.test_pretrained_weights_reach_the_encoder`;
* an anomaly drawn both as known and as unlabelled, a draw that fails on small sets:
  `test_semi_supervised.test_no_row_is_drawn_twice_and_every_normal_row_is_there`,
  `test_too_few_anomalies_bound_the_pollution_and_the_record_says_so`.
"""

import os
import pickle
import random
import subprocess
import sys
import time
from functools import partial

import cases
import jax
import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from sklearn.base import clone

from jaxad import training
from jaxad.losses import mixture

# One hidden layer, as a list: `hidden_neurons=[16]` crashed a detector in use.
DETECTORS = {
    name: clone(detector).set_params(hidden=[8], milestones=(2,), batch_size=64)
    for name, detector in cases.DETECTORS.items()
}
DETECTORS["DAGMM"].set_params(learning_rate=1e-3)
ROWS = 199
pytestmark = pytest.mark.defect


def fresh(name, **options):
    return clone(DETECTORS[name]).set_params(**options)


@pytest.fixture(scope="module")
def table():
    """Two clusters, the second in the last rows: no stretch of the file is like the whole."""
    x = np.random.default_rng(0).normal(size=(ROWS, 5))
    x[:, 1] += x[:, 0]
    x[120:] += 3
    return x.astype(np.float32)


@pytest.fixture(scope="module", params=list(DETECTORS))
def name(request):
    return request.param


@pytest.fixture(scope="module")
def fitted(name, table):
    return fresh(name).fit(table)


@pytest.fixture(scope="module")
def dagmm(table):
    return fresh("DAGMM").fit(table)


def leaves(*trees):
    return zip(*map(jax.tree.leaves, trees), strict=True)


# PyOD's DeepSVDD and AutoEncoder


def test_a_detector_built_early_and_fitted_late_is_the_same(name, fitted, table):
    early, late = fresh(name), fresh(name)
    np.random.random(100)  # noqa: NPY002 - the global state a seed must not depend on
    late.fit(table)
    early.fit(table)
    np.testing.assert_array_equal(early.anomaly_score(table), fitted.anomaly_score(table))
    np.testing.assert_array_equal(late.anomaly_score(table), fitted.anomaly_score(table))


def test_fit_and_scoring_leave_every_global_generator_alone(name, table):
    def state():
        return random.getstate(), pickle.dumps(np.random.get_state())  # noqa: NPY002

    before = state()
    for seed in (0, None):
        fresh(name, random_state=seed).fit(table).anomaly_score(table)
    assert state() == before


def test_verbose_is_honoured(name, table, capsys):
    fresh(name, verbose=False).fit(table)
    printed = capsys.readouterr()
    assert printed.out + printed.err == ""
    fresh(name, verbose=True).fit(table)
    assert "epoch" in capsys.readouterr().err


def test_no_rectifier_follows_the_last_layer(fitted, table):
    latent = fitted.transform(table)[:, : getattr(fitted, "latent_dim", None)]
    assert latent.min() < 0 < latent.max()


@pytest.mark.slow
def test_a_detector_runs_on_the_device_jax_is_told_to_use():
    """All detectors share the engine, so one of them in a process with two devices is enough."""
    code = (
        "import jax; jax.config.update('jax_num_cpu_devices', 2); import jaxad, numpy as np\n"
        "device, x = jax.devices('cpu')[1], np.eye(9)\n"
        "with jax.default_device(device):\n"
        "    detector = jaxad.AutoEncoder(hidden=(), latent_dim=2, noise=0, epochs=1).fit(x)\n"
        "used = {d for leaf in jax.tree.leaves(detector.params_) for d in leaf.devices()}\n"
        "assert used == {device}, used\n"
    )
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


def test_fit_returns_the_detector(name, table):
    detector = fresh(name)
    assert detector.fit(table) is detector


def test_fewer_rows_than_a_batch(name, table):
    detector = fresh(name, epochs=1).fit(table[:7])
    assert detector.n_steps_ == 1
    assert np.isfinite(detector.anomaly_score(table)).all()


# Deep-SAD-PyTorch


def test_the_first_step_uses_the_given_rate(name, table):
    """Adam's first step moves a parameter by the rate; a tenth of it would show."""
    after, before = (fresh(name, epochs=epochs).fit(table[:7]) for epochs in (1, 0))
    steps = [np.abs(a - b).max() for a, b in leaves(after.params_, before.params_)]
    np.testing.assert_allclose(max(steps), after.learning_rate, rtol=1e-2)


def test_the_first_epochs_use_the_given_rate(fitted):
    rate = fitted.learning_rate
    np.testing.assert_allclose(fitted.history_["learning_rate"], [rate, rate, rate / 10], rtol=1e-5)


def test_pretrained_weights_reach_deep_sad(table, monkeypatch):
    results, fit = [], training.fit
    monkeypatch.setattr(
        training, "fit", lambda *a, **k: results.append(fit(*a, **k)) or results[-1]
    )
    detector = fresh("DeepSAD", pretrain_epochs=2, epochs=0).fit(table)
    pretrained, _ = results
    for ours, theirs in leaves(detector.params_["encoder"], pretrained.params["encoder"]):
        np.testing.assert_array_equal(ours, theirs)
    untouched = fresh("DeepSAD", epochs=0).fit(table)
    assert all((a != b).any() for a, b in leaves(detector.params_, untouched.params_))


# DAGMM in ADBench, DTE, FoMo-0D, PyTorch-DAGMM and danieltan07/dagmm


def mixture_by_hand(detector, x):
    """Responsibilities, then means and covariances of the whole set, in float64."""
    z = detector.transform(x).astype(np.float64)
    layers = [layer for _, layer in sorted(detector.params_["estimator"].items())]
    first, second = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), layers)
    logits = np.tanh(z @ first["kernel"] + first["bias"]) @ second["kernel"] + second["bias"]
    gamma = np.exp(logits - logsumexp(logits, axis=1, keepdims=True))
    means = [np.average(z, axis=0, weights=share) for share in gamma.T]
    covariances = [np.cov(z.T, aweights=share, ddof=0) for share in gamma.T]
    return z, gamma, np.array(means), np.array(covariances)


def test_the_mixture_is_fitted_to_the_whole_training_set(dagmm, table):
    """Not of the last mini-batch, and with the scatter between chunks."""
    z, gamma, means, covariances = mixture_by_hand(dagmm, table)
    rows = training.as_rows(dagmm.scaler_(table))
    objective = dagmm.objective_.replace(chunk=32)
    in_chunks = jax.jit(objective.finish)(dagmm.params_, dagmm.stats_, rows)
    ridge = dagmm.jitter * np.trace(covariances, axis1=1, axis2=2) / z.shape[1]
    variances = np.diagonal(covariances, axis1=1, axis2=2) + ridge[:, None]
    for stats in (dagmm.stats_, in_chunks):
        found = stats["mixture"]
        np.testing.assert_allclose(np.exp(found["log_weight"]), gamma.mean(0), rtol=1e-4)
        np.testing.assert_allclose(found["mean"], means, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(found["variance"], variances, rtol=1e-3)
    # What averaging the covariances of chunks would give is far from it.
    chunks = np.array_split(np.arange(ROWS), 6)
    averaged = np.mean([np.cov(z[rows].T, aweights=gamma[rows, 0]) for rows in chunks], axis=0)
    assert (np.diag(averaged) / np.diag(covariances[0])).min() < 0.8


def test_the_score_is_the_energy_of_that_mixture(dagmm, table):
    """In full: one square root of the determinant, no cap, no dropout."""
    z, gamma, means, covariances = mixture_by_hand(dagmm, table)
    densities = []
    for share, mean, covariance in zip(gamma.mean(0), means, covariances, strict=True):
        ridge = dagmm.jitter * np.trace(covariance) / len(covariance)
        density = multivariate_normal(mean, covariance + ridge * np.eye(len(covariance)))
        densities.append(np.log(share) + density.logpdf(z))
    np.testing.assert_allclose(
        dagmm.anomaly_score(table), -logsumexp(densities, axis=0), rtol=2e-3, atol=2e-3
    )


def test_the_energy_reaches_every_network(dagmm, table):
    """Its share of the gradient, encoder and decoder included, is nowhere all zero."""
    batch = training.as_rows(dagmm.scaler_(table))

    @partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
    def gradient(objective):
        def loss(params):
            return objective.loss(params, dagmm.stats_, batch, jax.random.key(0))[0].mean()

        return jax.grad(loss)(dagmm.params_)

    with_energy, without = (
        gradient(dagmm.objective_.replace(lambda_energy=np.float32(weight))) for weight in (1, 0)
    )
    assert set(with_energy) == {"encoder", "decoder", "estimator"}
    shares = jax.tree.map(lambda a, b: np.abs(a - b).max(), with_energy, without)
    assert min(jax.tree.leaves(shares)) > 1e-5, shares


def test_dropout_is_off_in_scoring(dagmm, table):
    assert dagmm.dropout == 0.5
    np.testing.assert_array_equal(dagmm.anomaly_score(table), dagmm.anomaly_score(table))
    np.testing.assert_array_equal(dagmm.transform(table), dagmm.transform(table))


def far_rows(table):
    """Fifty rows ever farther out in one direction."""
    direction = np.random.default_rng(1).normal(size=5)
    steps = np.linspace(20, 200, 50)[:, None]
    return table.mean(0) + steps * direction * table.std(0)


def test_fifty_far_anomalies_do_not_tie(name, fitted, table):
    score = fitted.anomaly_score(far_rows(table))
    assert len(np.unique(score)) == 50
    # DAGMM's tanh layers bound what a row can become; its energies are ranked below.
    if name != "DAGMM":
        assert (np.diff(score) > 0).all()
        assert score[0] > fitted.anomaly_score(table).max()


def test_energies_of_fifty_far_anomalies_rank_by_distance(dagmm, table):
    found = mixture.Mixture(**dagmm.stats_["mixture"])
    z = dagmm.transform(table)
    direction = np.random.default_rng(1).normal(size=z.shape[1])
    far = z.mean(0) + np.linspace(20, 200, 50)[:, None] * direction * z.std(0)
    energy = np.asarray(mixture.energy(np.float32(far), found))
    assert (np.diff(energy) > 0).all()
    assert energy[0] > dagmm.anomaly_score(table).max()


# DeepOD


def test_the_centre_is_not_that_of_a_class_balanced_sample(table):
    """Nor do known anomalies count for it at all."""
    x = table.copy()
    x[:20] += 10
    y = np.where(np.arange(ROWS) < 20, -1, 0)
    detector = fresh("DeepSAD", epochs=0).fit(x, y)
    z = detector.transform(x).astype(np.float64)
    mean = z[20:].mean(0)
    expected = np.where(np.abs(mean) >= 0.1, mean, np.where(mean < 0, -0.1, 0.1))
    np.testing.assert_allclose(detector.stats_["centre"], expected, atol=1e-5)
    balanced = (z[:20].mean(0) + z[20:].mean(0)) / 2
    assert np.abs(balanced - expected).max() > 0.1


def test_labels_are_optional(table):
    without = fresh("DeepSAD").fit(table).anomaly_score(table)
    unlabelled = fresh("DeepSAD").fit(table, np.zeros(ROWS, int)).anomaly_score(table)
    np.testing.assert_array_equal(without, unlabelled)


LONGER = {"epochs": 40, "learning_rate": 1e-2}


def relative_score(x, y, rows, **options):
    """How high ``rows`` score after training, beside the median row."""
    score = fresh("DeepSAD", **LONGER, **options).fit(x, y).anomaly_score(x)
    return score[rows].mean() / np.median(score)


def test_known_normals_are_used(table):
    known = np.arange(120, 140)
    y = np.zeros(ROWS, int)
    y[0] = -1  # 0 and 1 alone would be marks
    without = relative_score(table, y, known)
    y[known] = 1
    assert relative_score(table, y, known, eta=20) < 0.8 * without


def test_eta_is_a_parameter(table):
    known = np.arange(120, 140)
    y = np.zeros(ROWS, int)
    y[known] = -1
    assert fresh("DeepSAD").get_params()["eta"] == 1
    weak, strong = (relative_score(table, y, known, eta=eta) for eta in (0.01, 10))
    assert strong > 2 * weak


def test_scoring_needs_no_training_row(name, table):
    """A detector keeps a score of each row, and 16 rows to explain by; X may change later."""
    few, many = fresh(name).fit(table[:70]), fresh(name)
    rows = table.copy()
    many.fit(rows)
    score = many.anomaly_score(table)
    rows[:] = np.nan
    np.testing.assert_array_equal(many.anomaly_score(table), score)
    scores = 8 * (len(table) - 70)
    assert abs(len(pickle.dumps(many)) - len(pickle.dumps(few))) < scores + 100


def test_scoring_batches_is_faster_than_scoring_single_rows(name, fitted, table):
    x = np.tile(table, (25, 1))
    fitted.anomaly_score(x)
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        fitted.anomaly_score(x)
        seconds.append(time.perf_counter() - start)
    assert len(x) / min(seconds) > 2000


def test_no_fitted_attribute_is_the_detector_itself(fitted):
    assert not any(value is fitted for value in vars(fitted).values())


def test_fit_predict_gives_labels(name, fitted, table):
    labels = fresh(name).fit_predict(table)
    assert set(labels.tolist()) == {-1, 1}
    np.testing.assert_array_equal(labels, fitted.predict(table))


def test_contamination_is_accepted_and_only_sets_the_threshold(name, fitted, table):
    score = fitted.anomaly_score(table)
    for contamination in (0.05, 0.3):
        detector = fresh(name, contamination=contamination).fit(table)
        np.testing.assert_array_equal(detector.anomaly_score(table), score)
        # Of the training rows alone: neither test rows nor their labels are ever seen.
        assert detector.threshold_ == np.quantile(score, 1 - contamination)
