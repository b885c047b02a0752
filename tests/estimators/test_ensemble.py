"""Ensembles: combining scores, training, files and failures."""

import subprocess
import sys

import flax.linen as nn
import jax
import numpy as np
import pytest
from scipy import stats
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

import jaxad
from jaxad import persistence, training
from jaxad.estimators import ensemble, fitting, prepare

SMALL = {"hidden": (8,), "latent_dim": 3, "epochs": 3, "batch_size": 64}
SMALL |= {"n_members": 3, "random_state": 0}
# What all share is tested on these; the other two are ensembles in `test_estimators_sklearn`.
DETECTORS = {
    "DeepSVDD": jaxad.DeepSVDD(pretrain_epochs=2, **SMALL),
    "DAGMM": jaxad.DAGMM(n_components=2, **SMALL),
    "AutoEncoder": jaxad.AutoEncoder(**SMALL),
}


def new_detector(name, **options):
    return clone(DETECTORS[name]).set_params(**options)


@pytest.fixture(scope="module")
def table():
    x = np.random.default_rng(0).normal(size=(200, 5))
    x[:, 1] += x[:, 0]
    return x.astype(np.float32)


@pytest.fixture(scope="module")
def ensembles(table):
    return {name: new_detector(name).fit(table) for name in DETECTORS}


@pytest.fixture(params=list(DETECTORS))
def name(request):
    return request.param


@pytest.fixture
def fitted(name, ensembles):
    return ensembles[name]


@pytest.fixture
def by_rank(ensembles):
    return ensembles["DAGMM"]


# The rules


@pytest.fixture
def scores(rng):
    """Scores of members with different units, and ties."""
    calibration = rng.gamma(2, size=(3, 400)) * [[1], [100], [1e-3]] + [[0], [-50], [7]]
    calibration[:, :30] = calibration[:, 30:60]
    return calibration, calibration[:, rng.permutation(400)[:50]]


def test_mean_and_z_by_hand(scores):
    calibration, some = scores
    found = ensemble.combine(ensemble.fit_combination("mean", calibration), some)
    np.testing.assert_allclose(found, some.mean(0), rtol=1e-12)
    z = [(s - c.mean()) / c.std() for c, s in zip(calibration, some, strict=True)]
    units = ensemble.fit_combination("z", calibration)
    np.testing.assert_allclose(ensemble.combine(units, some), np.mean(z, 0), rtol=1e-9)
    np.testing.assert_allclose(ensemble.spread(units, some), np.std(z, 0), rtol=1e-9)


def test_ranks_are_the_shares_of_rows_below(scores):
    """Ties count half, as in scipy's ranks."""
    calibration, _ = scores
    ranks = (stats.rankdata(calibration, axis=1) - 0.5) / 400
    table = ensemble.fit_combination("rank", calibration)
    np.testing.assert_allclose(ensemble.combine(table, calibration), ranks.mean(0), rtol=1e-12)
    np.testing.assert_allclose(ensemble.spread(table, calibration), ranks.std(0), atol=1e-12)


def test_the_table_of_ranks_is_small_and_accurate(rng):
    calibration = rng.gamma(2, size=(2, 30_000))
    table = ensemble.fit_combination("rank", calibration)
    assert table["knots"].shape == table["levels"].shape == (2, 1024)
    ranks = (stats.rankdata(calibration, axis=1) - 0.5) / 30_000
    found = np.stack(ensemble.in_units(table, calibration))
    np.testing.assert_allclose(found, ranks, atol=1 / 1023)


def test_ranks_rise_strictly_beyond_all_rows(scores):
    calibration, _ = scores
    table = ensemble.fit_combination("rank", calibration)
    unit = calibration.std(1)[:, None]
    steps = np.concatenate([np.linspace(1e-6, 1, 50), np.geomspace(2, 1e30, 50)])
    above = ensemble.combine(table, calibration.max(1)[:, None] + steps * unit)
    below = ensemble.combine(table, calibration.min(1)[:, None] - steps * unit)
    assert (np.diff(above) > 0).all()
    assert (np.diff(below) < 0).all()
    assert below[0] < ensemble.combine(table, calibration).min()
    assert above[0] > ensemble.combine(table, calibration).max()


def test_beyond_all_rows_a_rank_grows_with_the_members_own_spread(scores):
    calibration, _ = scores
    table, spread = ensemble.fit_combination("rank", calibration), calibration.std(1)
    far = np.stack([calibration.max(1) + 3 * spread, calibration.min(1) - 3 * spread], 1)
    top, bottom = table["levels"][:, -1], table["levels"][:, 0]
    expected = np.stack([top + np.log(4), bottom - np.log(4)], 1)
    np.testing.assert_allclose(ensemble.in_units(table, far), expected, rtol=1e-9)


@pytest.mark.parametrize("rule", ensemble.RULES)
def test_a_member_with_constant_scores_changes_no_order(rule, scores):
    calibration, some = scores
    with_constant = [np.concatenate([s, np.full_like(s[:1], 4.0)]) for s in (calibration, some)]
    combined, without = (
        ensemble.combine(ensemble.fit_combination(rule, c), s)
        for c, s in (with_constant, (calibration, some))
    )
    assert np.isfinite(combined).all()
    np.testing.assert_array_equal(stats.rankdata(combined), stats.rankdata(without))


@pytest.mark.parametrize("rule", ensemble.RULES)
def test_a_combined_score_does_not_depend_on_other_rows(rule, rng):
    calibration, some = rng.normal(size=(2, 11, 300))
    how = ensemble.fit_combination(rule, calibration)
    together = ensemble.combine(how, some), ensemble.spread(how, some)
    for row in range(0, 300, 37):
        alone = some[:, row : row + 1]
        assert ensemble.combine(how, alone) == together[0][row]
        assert ensemble.spread(how, alone) == together[1][row]


# The detectors


def test_the_first_member_is_the_single_model(name, fitted, table):
    single = new_detector(name, n_members=1).fit(table)
    assert (single.n_members_, fitted.n_members_) == (1, 3)
    for alone, all_ in zip(*map(jax.tree.leaves, (single.params_, fitted.params_)), strict=True):
        assert all_.shape == (3, *alone.shape)
    score = single.anomaly_score(table)
    tolerance = {"rtol": 1e-3, "atol": 1e-4 * np.abs(score).max()}
    members = fitted.member_scores(table)
    np.testing.assert_allclose(members[0], score, **tolerance)
    np.testing.assert_array_equal(single.member_scores(table), score[None])
    assert all(
        np.abs(a - b).max() > 1e-3 * np.ptp(a) for a, b in zip(members, members[1:], strict=False)
    )
    np.testing.assert_allclose(fitted.history_["loss"][0], single.history_["loss"], rtol=1e-3)
    if name == "DeepSVDD":
        np.testing.assert_allclose(
            fitted.pretrain_history_["loss"][0], single.pretrain_history_["loss"], rtol=1e-3
        )


def test_fitted_attributes_cover_all_members(name, fitted, table):
    score, members = fitted.anomaly_score(table), fitted.member_scores(table)
    rule = "rank" if name == "DAGMM" else "mean"
    how = ensemble.fit_combination(rule, members)
    np.testing.assert_array_equal(score, ensemble.combine(how, members))
    np.testing.assert_array_equal(fitted.score_spread(table), ensemble.spread(how, members))
    assert fitted.threshold_ == np.quantile(score, 0.9)
    latent = fitted.transform(table)
    assert latent.shape == (200, len(fitted.get_feature_names_out()))
    second = jax.tree.map(lambda leaf: leaf[1], (fitted.params_, fitted.stats_))
    own = training.apply_rows("transform", fitted.objective_, *second, fitted.scaler_(table))
    np.testing.assert_array_equal(np.split(latent, 3, axis=1)[1], own)


def test_an_ensemble_averages_reconstructions(ensembles, table):
    detector = ensembles["AutoEncoder"]
    expected = detector.anomaly_score(table)
    np.testing.assert_allclose(detector.explain(table).sum(1), expected, rtol=1e-4)
    error = np.square(detector.scaler_(detector.reconstruct(table)) - detector.scaler_(table))
    assert (error.mean(1) <= expected + 1e-5).all()  # the mean is nearer than members are


def test_an_ensembles_score_does_not_depend_on_other_rows(by_rank, table):
    score = by_rank.anomaly_score(table)
    np.testing.assert_array_equal(by_rank.anomaly_score(table[7:8]), score[7:8])
    beside = by_rank.anomaly_score(np.concatenate([table[:5], np.full_like(table[:1], 1e6)]))
    np.testing.assert_array_equal(beside[:5], score[:5])


def test_far_anomalies_do_not_tie_by_rank(by_rank, table):
    direction = np.random.default_rng(1).normal(size=5)
    far = table.mean(0) + np.linspace(20, 200, 50)[:, None] * direction * table.std(0)
    assert len(np.unique(by_rank.anomaly_score(far))) == 50
    members = by_rank.member_scores(table)
    energies = members.max(1)[:, None] + np.linspace(20, 200, 50) ** 2
    combined = ensemble.combine(by_rank.combination_, energies)
    assert (np.diff(combined) > 0).all()
    assert combined[0] > by_rank.anomaly_score(table).max()


def test_held_out_rows_calibrate_the_combination(table):
    detector = new_detector("AutoEncoder", validation_fraction=0.3, combine="z", patience=2).fit(
        table
    )
    plan = prepare.plan(new_detector("AutoEncoder", validation_fraction=0.3), table, None)
    held_out = detector.member_scores(table[plan.held_out])
    np.testing.assert_allclose(detector.combination_["shift"], held_out.mean(1), rtol=1e-5)
    assert detector.threshold_ == np.quantile(detector.anomaly_score(table[plan.held_out]), 0.9)
    assert len(detector.best_epoch_) == len(detector.n_steps_) == 3


def test_a_saved_ensemble_loads(by_rank, table, tmp_path):
    path, rows, out = tmp_path / "d", tmp_path / "x.npy", tmp_path / "s.npy"
    by_rank.save(path)
    np.save(rows, table)
    code = (
        "import jaxad, numpy as np, sys; path, rows, out = sys.argv[1:]; x = np.load(rows); "
        "d = jaxad.load(path); np.save(out, [d.anomaly_score(x), d.score_spread(x)])"
    )
    subprocess.run([sys.executable, "-c", code, path, rows, out], check=True)
    expected = [by_rank.anomaly_score(table), by_rank.score_spread(table)]
    np.testing.assert_array_equal(np.load(out), expected)
    loaded = jaxad.load(path)
    assert (loaded.n_members_, loaded.n_steps_) == (3, by_rank.n_steps_)
    assert loaded.get_params() == by_rank.get_params()


def test_files_without_ensembles_load_as_single_models(table, tmp_path):
    detector = new_detector("AutoEncoder", n_members=1).fit(table)
    detector.save(tmp_path / "new")
    arrays, metadata = persistence.read(tmp_path / "new")
    del arrays["combination"], metadata["facts"]["n_members_"]
    del metadata["parameters"]["n_members"], metadata["parameters"]["combine"]
    persistence.write(tmp_path / "old", arrays, metadata)
    old = jaxad.load(tmp_path / "old")
    np.testing.assert_array_equal(old.anomaly_score(table), detector.anomaly_score(table))


def test_five_by_default_for_tables_and_one_for_images(table):
    detector = new_detector("AutoEncoder", n_members="auto", epochs=0).fit(table)
    assert detector.n_members_ == len(detector.member_scores(table)) == 5
    images = prepare.plan(jaxad.AutoEncoder(network="conv"), np.ones((9, 8, 8)), None)
    assert images.run.size == 1
    assert jaxad.DAGMM.paper("thyroid").n_members == 1


def test_a_single_model_has_no_spread(table):
    with pytest.raises(NotFittedError):
        new_detector("DeepSVDD").score_spread(table)
    with pytest.raises(ValueError, match="n_members=5"):
        new_detector("AutoEncoder", n_members=1, epochs=0).fit(table).score_spread(table)


# Members that fail


@pytest.fixture
def failing(monkeypatch):
    """Give some members a rate that makes every step non-finite."""

    def failing(*lost):
        fit = training.fit_population

        def broken(objective, recipe, keys, rows, **options):
            rates = [1e30 if p in lost else recipe.learning_rate for p in range(len(keys))]
            recipe = recipe.replace(learning_rate=np.array(rates))
            return fit(objective, recipe, keys, rows, **options)

        monkeypatch.setattr(training, "fit_population", broken)

    return failing


LONG = {"epochs": 60}


def test_a_member_that_fails_is_left_out(failing, table):
    whole = new_detector("AutoEncoder", **LONG).fit(table).member_scores(table)
    failing(1)
    with pytest.warns(RuntimeWarning, match=r"members \[1\] of 3 are left out.*learning_rate"):
        detector = new_detector("AutoEncoder", **LONG).fit(table)
    assert detector.n_members_ == 2
    np.testing.assert_allclose(detector.member_scores(table), whole[[0, 2]], rtol=1e-3)


def test_one_remaining_member_becomes_a_single_model(failing, table):
    failing(0, 2)
    with pytest.warns(RuntimeWarning, match=r"members \[0, 2\] of 3"):
        detector = new_detector("AutoEncoder", combine="rank", **LONG).fit(table)
    assert detector.n_members_ == 1
    np.testing.assert_array_equal(detector.anomaly_score(table), detector.member_scores(table)[0])


def test_a_member_is_left_out_for_one_score_and_named_by_its_own_ensemble(table, monkeypatch):
    score, seen = fitting._score, []

    def spoilt(plan, result, **places):
        found = score(plan, result, **places)
        seen.append(plan)
        if len(seen) == 2:  # the second detector's
            found[1, 7] = np.nan
        return found

    monkeypatch.setattr(fitting, "_score", spoilt)
    ours = [new_detector("AutoEncoder", epochs=0, random_state=seed) for seed in (0, 1)]
    with pytest.warns(RuntimeWarning, match=r"members \[1\] of 3 are left out"):
        jaxad.fit_many(ours, table)
    assert [detector.n_members_ for detector in ours] == [3, 2]


def test_fit_raises_if_all_members_fail(table):
    detector = new_detector("AutoEncoder", learning_rate=1e30, **LONG)
    with pytest.raises(jaxad.NonFiniteError, match="all 3 members.*learning_rate"):
        detector.fit(table)
    with pytest.warns(RuntimeWarning, match="left unfitted"):
        jaxad.fit_many([detector], table)
    assert not hasattr(detector, "params_")


class Constant(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(3, bias_init=nn.initializers.ones)(0 * x)


def test_members_that_collapse_are_named(table):
    detector = jaxad.DeepSVDD(**(SMALL | {"epochs": 0, "n_members": 2}), network=Constant())
    with pytest.warns(jaxad.CollapseWarning, match=r"members \[0, 1\] of 2: every training row"):
        detector.fit(table)


# Many ensembles


def test_ensembles_and_single_models_in_one_list(table):
    sizes = (3, 1, 2)
    ours = [new_detector("AutoEncoder", n_members=n, learning_rate=10**-n) for n in sizes]
    jaxad.fit_many(ours, table)
    for detector, n in zip(ours, sizes, strict=True):
        alone = new_detector("AutoEncoder", n_members=n, learning_rate=10**-n).fit(table)
        assert detector.n_members_ == n
        score = alone.anomaly_score(table)
        np.testing.assert_allclose(detector.anomaly_score(table), score, rtol=1e-3)
        assert set(vars(detector)) == set(vars(alone))


def test_a_sweep_and_folds_of_ensembles(rng):
    x = rng.normal(size=(120, 4)).astype(np.float32)
    marks = np.arange(120) >= 110
    x[marks] += 4
    found = jaxad.cross_val(
        new_detector("AutoEncoder", n_members=2), x, marks, folds=2, seeds=2, progress=False
    )
    assert [d.n_members_ for d in found.detector] == [2] * 4
    assert found.auroc.min() > 0.9
    loss = [d.history_["loss"][:, -1].mean() for d in found.detector]
    np.testing.assert_allclose(found.loss, loss)
