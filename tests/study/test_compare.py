"""Comparisons: figures of every contender, programs, files, and what is wrong with variants."""

import importlib
import json

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from cases import ENCODER, fresh
from flax import struct
from sklearn.base import clone
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import LocalOutlierFactor

import jaxad
from jaxad import data, networks, objectives, study, training
from jaxad.study import populations
from jaxad.study.sets import task

OPTIONS = {"hidden": (8,), "epochs": 2, "n_members": 1}


def table_of(features, rows=120, seed=0, shift=2.0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, features))
    x[: rows // 4] += shift * rng.choice([-1, 1], size=(rows // 4, features))
    return x.astype(np.float32), np.arange(rows) < rows // 4


SETS = {"narrow": table_of(3), "wide": table_of(5, seed=1)}
SPLIT = {"setting": "one_class_random"}


def compared(variants, sets=SETS, seeds=2, **options):
    return study.compare(variants, sets, seeds, **SPLIT | options)


def alone(detector, name, seed, known=0, sets=SETS):
    """The AUROC of a detector that is fitted to one task by itself."""
    found = task(name, sets[name], seed, "one_class_random", known)
    rows, label = found.train, None
    if known and len(found.known):
        rows = np.r_[rows, found.known]
        label = np.r_[np.zeros(len(found.train), int), np.full(len(found.known), -1)]
    detector.set_params(random_state=seed).fit(rows, label)
    return roc_auc_score(found.is_anomaly, detector.anomaly_score(found.test))


# Figures


@pytest.mark.slow
@pytest.mark.parametrize("together", [False, True])
def test_each_row_is_the_detector_fitted_alone(together):
    svdd = jaxad.DeepSVDD(latent_dim=4, **OPTIONS)
    found = compared({"svdd": svdd}, together=together)
    assert found["set"].tolist() == ["narrow", "narrow", "wide", "wide"]
    for row in found.to_dict("records"):
        expected = alone(clone(svdd), row["set"], row["seed"])
        assert row["auroc"] == pytest.approx(expected, abs=1e-5 if together else 1e-6)
        assert (row["variant"], row["numbers"], row["note"]) == ("svdd", "{}", "")
    assert found["features"].tolist() == [3, 3, 5, 5]
    assert (found["train_rows"] == 45).all()
    assert (found["test_rows"] == 75).all()
    assert (found["anomalies"] == 30).all()
    assert found["split"].nunique() == 4
    assert (found["fit_seconds"] > 0).all()
    assert np.isfinite(found["loss"]).all()


@pytest.mark.full
def test_ensembles_and_known_anomalies_are_as_alone():
    dagmm = fresh("DAGMM", n_members=3, epochs=2)
    sad = jaxad.DeepSAD(latent_dim=4, **OPTIONS)
    variants, sets = {"dagmm": dagmm, "sad": sad}, {"wide": SETS["wide"]}
    found = compared(variants, sets, 1, known_anomalies=6, together=False)
    assert (found["anomalies"] == 24).all()
    for row in found.to_dict("records"):
        one = {"dagmm": dagmm, "sad": sad}[row["variant"]]
        if row["variant"] == "dagmm":
            part = task(row["set"], SETS[row["set"]], 0, "one_class_random", 6)
            detector = clone(one).set_params(random_state=0).fit(part.train)
            expected = roc_auc_score(part.is_anomaly, detector.anomaly_score(part.test))
            assert detector._rule() == "rank"
            assert row["auroc"] == pytest.approx(expected, abs=2e-3)  # a pair or two in rounding
        else:
            expected = alone(clone(one), row["set"], 0, known=6)
            assert row["auroc"] == pytest.approx(expected, abs=1e-6)


def test_known_anomalies_are_given_to_objectives_that_read_labels():
    """An autoencoder would learn them as normal rows."""
    variants = {"semi": detector_of(Semi), "plain": detector_of(Broken, epochs=1)}
    sets = {"wide": SETS["wide"]}
    found = compared(variants, sets, 1, known_anomalies=6, together=False).set_index("variant")
    expected = alone(detector_of(Semi), "wide", 0, known=6)
    assert found.loc["semi", "auroc"] == pytest.approx(expected, abs=1e-6)
    part = task("wide", SETS["wide"], 0, "one_class_random", 6)
    one = detector_of(Broken, epochs=1).set_params(random_state=0).fit(part.train)
    expected = roc_auc_score(part.is_anomaly, one.anomaly_score(part.test))
    assert found.loc["plain", "auroc"] == pytest.approx(expected, abs=1e-6)


def test_levels_of_noise_are_members_here_too():
    noisy = jaxad.AutoEncoder(noise=(0.1, 0.5), **OPTIONS | {"n_members": "auto"})
    (row,) = compared({"ae": noisy}, {"wide": SETS["wide"]}, 1, together=False).to_dict("records")
    assert row["auroc"] == pytest.approx(alone(clone(noisy), "wide", 0), abs=1e-6)


def test_the_metrics_by_hand():
    score, marks = np.float64([4, 3, 2, 1]), np.array([True, False, True, False])
    found = importlib.import_module("jaxad.study.compare").measured(score, marks)
    assert found["auroc"] == 0.75
    assert found["average_precision"] == pytest.approx((1 + 2 / 3) / 2)
    assert found["adjusted_average_precision"] == pytest.approx((5 / 6 - 0.5) / 0.5)
    assert found["partial_auroc"] == roc_auc_score(marks, score, max_fpr=0.05)


class Distance:
    """Neither jaxad's nor scikit-learn's: the distance to the mean."""

    def fit(self, X, y=None):
        self.mean = X.mean(0)
        return self

    def anomaly_score(self, X):
        return np.linalg.norm(X - self.mean, axis=1)


def test_detectors_of_others_and_functions_that_make_them():
    seen = []

    def made(task, seed):
        seen.append((task.name, seed, len(task.train)))
        return Distance()

    neighbours = LocalOutlierFactor(n_neighbors=5, novelty=True)
    found = compared({"made": made, "given": Distance(), "lof": neighbours})
    by_name = dict(list(found.groupby("variant")))
    np.testing.assert_array_equal(by_name["made"]["auroc"], by_name["given"]["auroc"])
    assert (found["note"] == "").all()
    assert {("narrow", 0, 45), ("wide", 1, 45)} <= set(seen)
    for row in by_name["lof"].to_dict("records"):
        part = task(row["set"], SETS[row["set"]], row["seed"], "one_class_random", 0)
        lof = LocalOutlierFactor(n_neighbors=5, novelty=True).fit(part.train)
        assert row["auroc"] == roc_auc_score(part.is_anomaly, -lof.score_samples(part.test))


def test_sets_with_a_split_of_their_own():
    x, marks = SETS["wide"]
    given = study.Set(x[60:], x[:60], marks[:60])
    found = study.compare(
        {"d": Distance()},
        {"own": given, "data": data.Dataset(x, data.Card("n", 120, (5,)), marks)},
        2,
        setting="one_class_random",
    )
    own = found[found["set"] == "own"]
    expected = roc_auc_score(marks[:60], Distance().fit(x[60:]).anomaly_score(x[:60]))
    np.testing.assert_allclose(own["auroc"], expected)
    assert study.compare({"d": Distance()}, {"own": given}, 1)["auroc"][0] == own["auroc"].iloc[0]


# Numbers and programs


def pseudo_huber(distance, *, delta):
    return delta**2 * (jnp.sqrt(1 + distance / delta**2) - 1)


@pytest.mark.slow
def test_grids_and_lists_of_numbers():
    own = jaxad.DeepSVDD(loss=pseudo_huber, latent_dim=4, **OPTIONS)
    numbers = {"own": {"loss_numbers__delta": [0.1, 1.0]}, "plain": [{"epochs": 0}, {"nu": 0.5}]}
    variants = {"own": own, "plain": jaxad.DeepSVDD(latent_dim=4, **OPTIONS)}
    found = compared(variants, seeds=1, numbers=numbers)
    texts = found["numbers"].unique().tolist()
    assert list(map(json.loads, texts)) == [
        *({"loss_numbers__delta": 0.1}, {"loss_numbers__delta": 1.0}, {"epochs": 0}, {"nu": 0.5})
    ]
    assert len(found) == 8
    for row in found[found["variant"] == "own"].to_dict("records"):
        one = clone(own).set_params(**json.loads(row["numbers"]))
        assert row["auroc"] == pytest.approx(alone(one, row["set"], 0), abs=1e-5)


def train_programs(monkeypatch):
    """Counts the programs that train, as they are made."""
    from jaxad.training import sets

    found, call = [], sets.train_sets

    def counted(objectives, recipes, keys, rows, initial, **options):
        shapes = str(jax.tree.map(jnp.shape, (rows.x, initial))), options["length"]
        found.append((jax.tree.structure((objectives[0], recipes[0])), shapes))
        return call(objectives, recipes, keys, rows, initial, **options)

    monkeypatch.setattr(sets, "train_sets", counted)
    return found


def test_programs_are_at_most_one_for_each_variant_and_shape(monkeypatch):
    found = train_programs(monkeypatch)
    sets = {f"s{d}": table_of(d, seed=d) for d in (2, 3, 4, 5, 6, 7, 8)}  # two widths: 4 and 8
    own = jaxad.DeepSVDD(loss=pseudo_huber, latent_dim=4, **OPTIONS)
    variants = {"own": own, "svdd": jaxad.DeepSVDD(latent_dim=4, **OPTIONS)}
    numbers = {"own": {"loss_numbers__delta": [0.1, 1.0], "epochs": [0, 2, 3]}}
    table = compared(variants, sets, 2, numbers=numbers)
    assert len(table) == 7 * 7 * 2
    assert len(set(found)) == 4  # two variants, two widths
    again = compared(variants, sets, 2, numbers=numbers)
    assert again.attrs["compilations"] <= 4  # the probes, which nothing keeps
    pd.testing.assert_series_equal(again["auroc"], table["auroc"])


def test_threads_change_nothing():
    variants = {"svdd": jaxad.DeepSVDD(latent_dim=4, **OPTIONS), "d": lambda task, seed: Distance()}
    tables = [compared(variants, threads=threads) for threads in (1, 2)]
    columns = tables[0].columns.drop("fit_seconds")
    pd.testing.assert_frame_equal(tables[0][columns], tables[1][columns])


# Files


def test_a_study_is_resumed(tmp_path, monkeypatch):
    variants = {"d": Distance(), "svdd": jaxad.DeepSVDD(latent_dim=4, **OPTIONS)}
    whole = compared(variants, folder=tmp_path)
    path = tmp_path / "rows.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    assert len(lines) == len(whole) == 8
    path.write_text("".join(lines[:5]) + lines[5][:40])  # killed while writing
    fits = []
    monkeypatch.setattr(Distance, "fit", lambda *_: fits.append(1))
    resumed = compared(variants, folder=tmp_path)
    assert not fits
    columns = whole.columns.drop("fit_seconds")
    pd.testing.assert_frame_equal(resumed[columns], whole[columns], rtol=1e-6)
    assert sum(_is_json(line) for line in path.read_text().splitlines()) == 8
    third = compared(variants, folder=tmp_path)
    pd.testing.assert_frame_equal(third, resumed)
    assert third.attrs["compilations"] == 0


def _is_json(line):
    try:
        json.loads(line)
    except json.JSONDecodeError:
        return False
    return True


def test_more_seeds_sets_and_numbers_are_added_to_a_folder(tmp_path):
    one = compared({"d": Distance()}, {"narrow": SETS["narrow"]}, 1, folder=tmp_path)
    more = compared({"d": Distance(), "e": Distance()}, seeds=2, folder=tmp_path)
    assert len(more) == 8
    assert more["fit_seconds"][0] == one["fit_seconds"][0]


def test_missing_figures_survive_a_file(tmp_path):
    class Broken(Distance):
        def fit(self, X, y=None):
            raise RuntimeError("no; memory")

    first = compared({"b": Broken()}, seeds=1, folder=tmp_path)
    second = compared({"b": Broken()}, seeds=1, folder=tmp_path)
    pd.testing.assert_frame_equal(first, second)
    assert second["auroc"].isna().all()
    assert (second["note"] == "failed: no, memory").all()


def own_with(source):
    names = {"jnp": jnp, "__name__": __name__}
    exec(f"def own(distance):\n    return {source}", names)
    return jaxad.DeepSVDD(loss=names["own"], latent_dim=4, **OPTIONS)


def function_with(number):
    return lambda task, seed: LocalOutlierFactor(n_neighbors=number, novelty=True)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (jaxad.DeepSVDD(**OPTIONS), jaxad.DeepSVDD(**OPTIONS | {"epochs": 1})),
        (own_with("2 * distance"), own_with("3 * distance")),
        (own_with("jnp.sqrt(distance + 1)"), own_with("jnp.log(distance + 1)")),
        (own_with("(lambda d: d + 1)(distance)"), own_with("(lambda d: d + 2)(distance)")),
        (function_with(5), function_with(6)),
        (Distance(), LocalOutlierFactor(novelty=True)),
    ],
    ids=["epochs", "constant", "name", "inner function", "closure", "class"],
)
def test_another_configuration_in_the_folder_is_refused(before, after, tmp_path):
    sets = {"narrow": SETS["narrow"]}
    first = compared({"v": before}, sets, 1, folder=tmp_path)
    pd.testing.assert_frame_equal(compared({"v": before}, sets, 1, folder=tmp_path), first)
    content = (tmp_path / "rows.jsonl").read_bytes()
    with (
        training.Stopwatch() as watch,
        pytest.raises(
            ValueError, match="rows of another study: the config of 'v' was .* Give another folder"
        ),
    ):
        compared({"v": after}, sets, 1, folder=tmp_path)
    assert watch.compilations == 0
    assert (tmp_path / "rows.jsonl").read_bytes() == content


def test_the_same_configuration_made_anew_is_the_same(tmp_path):
    sets = {"narrow": SETS["narrow"]}
    for _ in range(2):
        made = {"a": own_with("2 * distance"), "b": function_with(5), "c": Distance()}
        compared(made, sets, 1, folder=tmp_path)
    assert len((tmp_path / "rows.jsonl").read_text().splitlines()) == 3


def test_other_rows_in_the_folder_are_refused(tmp_path):
    compared({"d": Distance()}, {"a": table_of(3)}, 1, folder=tmp_path)
    with pytest.raises(ValueError, match="the split of 'a' was"):
        compared({"d": Distance()}, {"a": table_of(3, seed=9)}, 1, folder=tmp_path)


# What is wrong with a variant


@pytest.mark.slow
def test_a_task_that_fails_leaves_a_note_and_the_others_go_on():
    x, marks = table_of(2)
    broken = x.copy()
    broken[-1] = broken[-2] = np.nan

    def made(task, seed):
        if task.name == "thin":
            raise RuntimeError("too thin for me")
        return Distance()

    wide = study.Set(SETS["wide"][0][60:], SETS["wide"][0][:60], SETS["wide"][1][:60])
    bad = study.Set(broken[60:], x[:60], marks[:60])
    sets = {"thin": study.Set(x[60:], x[:60], marks[:60]), "bad": bad, "wide": wide}
    variants = {
        "dagmm": fresh("DAGMM", latent_dim=3, epochs=1),
        "made": made,
        "lof": LocalOutlierFactor(novelty=True),
    }
    found = study.compare(variants, sets, 1).set_index(["variant", "set"])
    notes = found["note"]
    assert "latent_dim=3 is more than the 2 features" in notes["dagmm", "thin"]
    assert "NaN" in notes["dagmm", "bad"]
    assert "NaN" in notes["lof", "bad"]
    assert notes["made", "thin"] == "failed: too thin for me"
    assert (notes.xs("wide", level="set") == "").all()
    lost = notes != ""
    assert found.loc[lost, "auroc"].isna().all()
    assert found.loc[~lost, "auroc"].between(0, 1).all()
    assert notes["made", "bad"] == "failed: 60 of 60 scores are not finite"
    assert notes[lost].str.startswith("failed: ").all()


def no_gradient(distance):
    return jax.lax.stop_gradient(distance)


class Broken(objectives.BaseObjective):
    """The distance to a point; from its third step on the loss is NaN."""

    forever: bool = struct.field(pytree_node=False, default=True)
    chunk: int = struct.field(pytree_node=False, default=64)

    def init(self, key, x):
        return {"point": jax.random.normal(key, x.shape[1:])}, {"step": jnp.zeros(())}

    def loss(self, params, stats, batch, key):
        values = self.score(params, stats, batch.x)
        if key is None:
            return values, stats
        bad = stats["step"] >= 2
        # A step that is not finite is skipped, with its statistics: the next one is the third, too.
        return jnp.where(bad, jnp.nan, values), {"step": stats["step"] + 1}

    def score(self, params, stats, x):
        return jnp.sum(jnp.square(x - params["point"][None]), -1)


class Once(Broken):
    """NaN in the third epoch only."""

    def loss(self, params, stats, batch, key):
        values = self.score(params, stats, batch.x)
        return jnp.where(batch.epoch == 2, jnp.nan, values), stats


class OfTheBatch(Broken):
    """A score that looks at the other rows."""

    def loss(self, params, stats, batch, key):
        return jnp.sum(jnp.square(batch.x - params["point"][None]), -1), stats

    def score(self, params, stats, x):
        distance = jnp.sum(jnp.square(x - params["point"][None]), -1)
        return distance - jnp.mean(distance)


class Constant(Broken):
    """Its network learns to map every row to one point."""

    def init(self, key, x):
        return {"scale": jnp.ones(x.shape[1])}, {}

    def loss(self, params, stats, batch, key):
        return self.score(params, stats, batch.x), stats

    def score(self, params, stats, x):
        scale = jnp.where(jnp.abs(params["scale"]) < 0.5, 0, params["scale"])
        return jnp.sum(jnp.square(x * scale[None]), -1)


class Semi(Broken):
    """Known anomalies are pushed away from the point."""

    def loss(self, params, stats, batch, key):
        score = self.score(params, stats, batch.x)
        return jnp.where(batch.label < 0, 1 / (score + 0.1), score), stats


def detector_of(objective, **options):
    given = {"epochs": 5, "n_members": 1} | options
    return jaxad.ObjectiveDetector(makers[objective], **given)


makers = {
    kind: (lambda shape, kind=kind: kind()) for kind in (Broken, Once, OfTheBatch, Constant, Semi)
}


class Relative(Distance):
    def anomaly_score(self, X):
        score = super().anomaly_score(X)
        return score / score.max()


def random_scores(task, seed):
    class Chance(Distance):
        def anomaly_score(self, X):
            return np.random.default_rng().normal() + super().anomaly_score(X) ** 2

    return Chance()


def peeking(task, seed):
    class Peeks(Distance):
        def anomaly_score(self, X):
            same = (X[:, None] == task.test[None]).all(-1) @ task.is_anomaly
            return super().anomaly_score(X) + same

    return Peeks()


BAD = {
    "no gradient": (
        jaxad.DeepSVDD(loss=no_gradient, latent_dim=4, **OPTIONS),
        "no gradient",
        "`bad` learns nothing: its loss has no gradient",
    ),
    "collapsed": (
        detector_of(Constant, learning_rate=0.3, epochs=50),
        "collapsed",
        "`bad` collapsed: its network maps all rows to nearly the same point",
    ),
    "NaN from step 3 on": (
        detector_of(Broken),
        "not finite: 3 of 5 steps",
        "Training of `bad` met steps that are not finite; first: 3 of 5 steps (`narrow`, seed 0).",
    ),
    "NaN for ever": (
        detector_of(Broken, epochs=99),
        "not finite: 50 of 52 steps",
        "Training of `bad` met steps that are not finite; first: 50 of 52 steps",
    ),
    "NaN once": (
        detector_of(Once),
        "not finite: 1 of 5 steps",
        "Training of `bad` met steps that are not finite; first: 1 of 5 steps",
    ),
    "NaN once, alone": (
        detector_of(Once, validation_fraction=0.2),
        "not finite: 1 of 5 steps",
        "Training of `bad` met steps that are not finite; first: 1 of 5 steps",
    ),
    "test labels": (
        peeking,
        "depends on test labels",
        "Scores of `bad` change when the test labels do: it has seen them",
    ),
    "other rows": (
        detector_of(OfTheBatch),
        "depends on other rows",
        "The score of a row by `bad` changes with the rows scored beside it",
    ),
    "other rows, of others": (
        Relative(),
        "depends on other rows",
        "The score of a row by `bad` changes with the rows scored beside it",
    ),
    "chance": (random_scores, "not repeatable", "`bad` gives other scores when it is fitted again"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_variant_is_noted_and_reported(case):
    pytest.importorskip("baycomp")
    bad, note, sentence = BAD[case]
    found = compared({"plain": Distance(), "bad": bad}, seeds=1)
    notes = found.set_index("variant")["note"]
    assert (notes["plain"] == "").all()
    for one in notes["bad"]:
        assert note in one.split(";")
    report = study.report(found, "plain")
    assert [one for one in report.sentences if one.startswith(sentence)], report.sentences


@pytest.mark.slow
def test_a_good_variant_has_no_note():
    variants = {name: fresh(name, epochs=2) for name in ("DeepSVDD", "AutoEncoder", "GOAD")}
    assert (compared(variants, {"wide": SETS["wide"]}, 1)["note"] == "").all()


# Bad input

GOOD = {"variants": {"d": Distance()}, "sets": SETS, "seeds": 1} | SPLIT
WRONG = {
    "unknown variant in numbers": ({"numbers": {"e": {}}}, r"numbers are given for \['e'\]"),
    "unknown argument": (
        {"variants": {"d": fresh("DeepSVDD")}, "numbers": {"d": {"eta": [1]}}},
        r"numbers\['d'\] has 'eta', which is no argument of DeepSVDD",
    ),
    "a seed": (
        {"variants": {"d": fresh("DeepSVDD")}, "numbers": {"d": {"random_state": [1]}}},
        "'random_state', which is no argument",
    ),
    "numbers of another kind": ({"numbers": {"d": 3}}, "is neither a grid .* nor a list"),
    "a value out of range": (
        {
            "variants": {"a": fresh("DeepSVDD"), "d": fresh("DeepSVDD")},
            "numbers": {"d": {"nu": [0.1, 5]}},
        },
        "nu=5",
    ),
    "one class": ({"sets": {"a": (SETS["wide"][0], np.zeros(120, bool))}}, "a"),
    "one class in the test": (
        {"sets": {"a": study.Set(np.ones((9, 2)), np.ones((4, 2)), np.zeros(4, bool))}},
        "a: the test rows are all normal: both kinds are needed",
    ),
    "no setting": ({"setting": None}, "narrow has no split of its own: say how.*setting="),
    "an unknown setting": ({"setting": "by chance"}, "by chance"),
    "sets that are no mapping": ({"sets": [SETS["wide"]]}, "sets is no mapping from names"),
    "no sets": ({"sets": {}}, "sets is no mapping"),
    "a set of another kind": ({"sets": {"a": 3}}, "a=int: give a jaxad.study.Set"),
    "marks of another length": (
        {"sets": {"a": study.Set(np.ones((9, 2)), np.ones((4, 2)), np.ones(3, bool))}},
        "a: is_anomaly has 3 marks for 4 test rows",
    ),
    "other columns": (
        {"sets": {"a": study.Set(np.ones((9, 2)), np.ones((2, 3)), np.array([True, False]))}},
        r"a: training rows of shape \(2,\) and test rows of shape \(3,\)",
    ),
    "no seeds": ({"seeds": 0}, "seeds=0"),
    "no variants": ({"variants": {}}, "variants is no mapping"),
    "a class": ({"variants": {"d": jaxad.DeepSVDD}}, "neither a detector nor a function"),
    "no detector": ({"variants": {"d": 3}}, r"variants\['d'\]=3 is neither a detector"),
}


@pytest.mark.parametrize("case", WRONG)
def test_bad_input_is_refused_before_compiling(case):
    options, message = WRONG[case]
    given = GOOD | options
    with training.Stopwatch() as watch, pytest.raises((ValueError, TypeError), match=message):
        study.compare(given.pop("variants"), given.pop("sets"), given.pop("seeds"), **given)
    assert watch.compilations == 0


def test_a_function_that_makes_no_detector_is_noted():
    found = compared({"odd": lambda task, seed: 3}, seeds=1)
    assert found["note"].str.startswith("failed: variant 'odd' returned int: a function").all()


# Objectives of the user on tables of other widths


def contracted(shape):
    return objectives.tccm(networks.MLP((8, *shape)))


def half_bag(shape):
    return objectives.dean(networks.MLP((8, 1)), bag=shape[0] // 2)


def programs_for(make, columns):
    """Padded width, and the number of programs, of tables with so many columns."""
    detector = jaxad.ObjectiveDetector(make, n_members=1, random_state=0)
    tasks = [task(f"s{d}", table_of(d, seed=d), 0, "one_class_random", 0) for d in columns]
    jobs = [populations.job(i, detector, lambda task=task: task) for i, task in enumerate(tasks)]
    calls = populations.train([job for job in jobs if job is not None])
    members = [ready for call in calls for ready, _ in call.members]
    return [ready.width for ready in members], len({ready.program for ready in members})


def test_objectives_that_a_function_makes_share_programs_where_they_are_the_same():
    assert programs_for(contracted, (5, 6, 8)) == ([8, 8, 8], 1)
    # Bags of 2 in tables of 5 and of 4 in those of 8 are other objectives.
    assert programs_for(half_bag, (5, 8)) == ([5, 8], 2)
    assert programs_for(lambda shape: objectives.icl(ENCODER, ENCODER), (39, 41, 64)) == (
        [64] * 3,
        2,
    )


def test_a_table_that_is_too_narrow_fails_alone():
    def windows(shape):
        return objectives.icl(ENCODER, ENCODER)

    detector = jaxad.ObjectiveDetector(windows, epochs=2, n_members=1)
    table = compared({"icl": detector}, {f"s{d}": table_of(d, seed=d) for d in (2, 4)}, 1)
    notes = table.set_index("set")["note"]
    assert notes["s4"] == ""
    assert "failed: window_size=2 in a table with 2 columns: give 1 to 1" in notes["s2"]
