"""Fleets as users meet them: fit, score, explain, single groups, and bad input."""

import copy

import jax
import jax.numpy as jnp
import joblib
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from flax import struct
from fleets import COLUMNS, fitted, made, same, small
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

import jaxad
from jaxad import objectives, training
from jaxad.fleet import shared, survey, waves
from jaxad.training import runs, scoring, threads


@pytest.fixture(scope="module")
def fleet():
    """A fitted fleet that no test changes."""
    return fitted()


@pytest.fixture(scope="module")
def scored(fleet):
    return fleet.score(made())


def test_many_groups_of_one_row_are_all_scored_by_the_global_model():
    draw = np.random.default_rng(0).normal(size=(10_000, 3))
    frame = pd.DataFrame(draw, columns=list("abc")).assign(machine=np.arange(10_000))
    fleet = small()
    with pytest.warns(RuntimeWarning, match="all 10000 groups have fewer than min_rows=50") as told:
        fleet.fit(frame)
    assert len(told) == 1
    assert set(fleet.groups_.source) == {"global"}
    scored = fleet.score(frame)
    assert set(scored.source) == {"global"}
    assert 0.08 < scored.is_anomaly.mean() < 0.12


def test_with_unseen_raise_new_groups_are_named_and_only_update_takes_them():
    fleet, new = fitted(unseen="raise"), made(seed=1).replace("m1", "new")
    before = fleet.score(made())
    for method in (fleet.score, fleet.predict, fleet.explain, fleet.recalibrate):
        with pytest.raises(ValueError, match=r"1 groups, such as 'new', are not among the 6 that"):
            method(new)
    assert same(before, fleet.score(made()))
    assert set(fleet.update(new).score(new).query("machine == 'new'").source) == {"own"}


FRAME = made()


def with_value(value, column="b", row=7):
    frame = FRAME.astype({column: np.float64})
    frame.loc[row, column] = value
    return frame


BAD = {
    "no group column": ({}, FRAME.drop(columns="machine"), "group: the frame has no column 'mac"),
    "a group column named score": (
        {"group": "score"}, FRAME.rename(columns={"machine": "score"}),
        "the group column 'score' has the name of a column of the result: rename it",
    ),
    "unknown columns": ({"columns": ["a", "z"]}, FRAME, "columns: the frame has no column 'z'; it"),
    "text": ({}, FRAME.assign(city="x"), "'city' of the frame is not numeric.*OneHotEncoder"),
    "categories": (
        {}, FRAME.assign(city=pd.Categorical(FRAME.machine)), "'city'.*not numeric.*OneHotEncoder"
    ),
    "dates": ({}, FRAME.assign(day=pd.Timestamp("2026-01-01")), "'day'.*numbers of your choice"),
    "NaN": (
        {}, with_value(np.nan), r"group 'm\d', row 7, column 'b' is NaN \(1 of .*SimpleImputer"
    ),
    "infinity": ({}, with_value(-np.inf), "row 7, column 'b' is infinity .*replace infinite"),
    "huge values": ({}, with_value(1e300), r"group 'm\d', row 7, column 'b' is 1e\+300.*float32"),
    "no identifier": (
        {}, FRAME.assign(machine=FRAME.machine.where(FRAME.index != 3)), "no identifier in row 3"
    ),
    "one row": ({}, FRAME[:1], "1 rows, of which 1 can train the global model.*give more rows"),
    "no rows": ({}, FRAME[:0], "the frame has no rows"),
    "no detector": ({"detector": 3}, FRAME, r"detector=3 is no jaxad detector.*DeepSVDD\(\)"),
    "a network for images": (
        {"settings": {"network": "conv"}}, FRAME, "detector.network='conv' takes images"
    ),
    "validation": (
        {"settings": {"validation_fraction": 0.1}}, FRAME,
        "detector.validation_fraction=0.1: a fleet holds out rows of each group by itself",
    ),
    "a robust scaler": (
        {"settings": {"scaler": "robust"}}, FRAME, "scaler='robust'.*takes 'standard' or 'none'"
    ),
    "a detector's argument": ({"settings": {"epochs": -1}}, FRAME, "epochs=-1"),
    "rate 0": ({"false_alarm_rate": 0}, FRAME, r"false_alarm_rate=0 .*\(0, 1\)"),
    "rate 1": ({"false_alarm_rate": 1.0}, FRAME, r"false_alarm_rate=1.0 .*\(0, 1\)"),
    "rate of text": ({"false_alarm_rate": "few"}, FRAME, "false_alarm_rate='few'"),
    "min_rows": ({"min_rows": 0}, FRAME, "min_rows=0"),
    "unseen": ({"unseen": "drop"}, FRAME, "unseen='drop'.*'global'"),
    "start": ({"start": "warm"}, FRAME, "start='warm'.*'global'"),
    "threads": ({"threads": 0}, FRAME, "threads=0"),
    "verbose": ({"verbose": 2}, FRAME, "verbose=2"),
    "a seed of text": ({"random_state": "x"}, FRAME, "random_state='x'"),
    "other labels": ({"label": "y"}, FRAME.assign(y=2), r"=2 is not one of \(-1, 0, 1\)"),
    "no labels": ({"label": "y"}, FRAME, "label: the frame has no column 'y'"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_named_before_anything_is_compiled(name):
    options, frame, message = BAD[name]
    fleet = small(**options)
    with training.Stopwatch() as watch, pytest.raises((TypeError, ValueError), match=message):
        fleet.fit(frame)
    assert watch.compilations == 0
    with pytest.raises(NotFittedError):
        fleet.score(FRAME)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (FRAME.drop(columns="c"), "the frame has no column 'c'"),
        (FRAME.assign(z=1.0), "columns that the fleet was not fitted on: 'z'; drop them"),
        (with_value(np.nan), r"group 'm\d', row 7, column 'b' is NaN"),
        (with_value(1e300), r"group 'm\d', row 7, column 'b' is 1e\+300"),
        (FRAME.assign(a="x"), "'a' of the frame is not numeric"),
    ],
)
@pytest.mark.parametrize("method", ["score", "predict", "explain", "update", "recalibrate"])
def test_bad_rows_leave_a_fitted_fleet_as_it_is(method, frame, message, fleet, scored):
    with pytest.raises(ValueError, match=message):
        getattr(fleet, method)(frame)
    assert same(fleet.score(FRAME), scored)


def test_a_seed_is_needed_to_go_on_from_checkpoints(tmp_path):
    with pytest.raises(ValueError, match="random_state=None is another seed in every fit"):
        small(random_state=None).fit(FRAME, checkpoints=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_unknown_groups_are_named(fleet):
    with pytest.raises(KeyError, match="group 'm9' is not among the 6 of the fleet, such as 'm0'"):
        fleet["m9"]
    with pytest.raises(KeyError, match="group 'm9' is not among"):
        copy.deepcopy(fleet).drop(["m1", "m9"])
    with pytest.raises(TypeError, match=r"groups='m1' is text: give a list, \['m1'\]"):
        copy.deepcopy(fleet).drop("m1")


# What a fleet gives, for every detector.

KINDS = {
    "DeepSVDD": {},
    "DeepSVDD, soft": {"objective": "soft-boundary", "warm_up_epochs": 1},
    "DeepSAD": {},
    "DAGMM": {},
    "GOAD": {},
    "AutoEncoder": {},
}
LABELLED = FRAME.assign(label=np.where(FRAME.index % 10 == 0, -1, FRAME.index % 2))


@pytest.fixture(scope="module", params=KINDS)
def kind(request):
    """A fitted fleet of each detector; no test changes it."""
    name = request.param.split(",")[0]
    options = {"label": "label"} if name == "DeepSAD" else {"columns": COLUMNS}
    return fitted(LABELLED, name, settings=KINDS[request.param], **options)


def agrees_with_its_detectors(fleet, frame):
    """The scores of every group are those of its own detector, up to rounding."""
    scored = fleet.score(frame)
    for key, part in frame.groupby("machine"):
        found, rows = scored.loc[part.index], part[list(fleet.columns_)]
        scores = fleet[key].anomaly_score(rows)
        np.testing.assert_allclose(found.score, scores, rtol=2e-4, atol=1e-4 * np.abs(scores).max())
        clear = np.abs(found.score - fleet[key].threshold_) > 1e-3 * np.abs(scores).max()
        flagged = fleet[key].predict(rows) == -1
        assert (flagged == found.is_anomaly.to_numpy())[clear.to_numpy()].all()
    return True


def test_scores_of_every_detector(kind, tmp_path):
    scored = kind.score(LABELLED)
    assert scored.index.equals(LABELLED.index)
    assert scored.columns.tolist() == ["machine", "score", "p_value", "is_anomaly", "source"]
    assert scored.p_value.between(0, 1, inclusive="right").all()
    assert np.isfinite(scored.score).all()
    assert same(scored.is_anomaly.to_numpy(), scored.p_value.to_numpy() <= 0.1 + 1e-12)
    assert same(kind.predict(LABELLED), np.where(scored.is_anomaly, -1, 1))
    own = ~LABELLED.machine.isin(["m3", "m4"])
    assert (scored.source == np.where(own, "own", "global")).all()
    thresholds = kind.groups_.threshold[LABELLED.machine].to_numpy()
    assert same(scored.is_anomaly.to_numpy(), scored.score.to_numpy() > thresholds)
    assert agrees_with_its_detectors(kind, LABELLED)
    kind.save(tmp_path / "fleet")
    assert same(jaxad.load(tmp_path / "fleet").score(LABELLED), scored)


@pytest.mark.full
@pytest.mark.filterwarnings("ignore:the contributions of:RuntimeWarning")  # one row of DAGMM
def test_explanations_of_every_detector(kind):
    found = kind.explain(LABELLED)
    assert found.columns.tolist() == ["machine", *COLUMNS]
    assert found.index.equals(LABELLED.index)
    for key, part in LABELLED.groupby("machine"):
        expected = kind[key].explain(part[COLUMNS]).to_numpy()
        atol = 1e-3 * np.abs(expected).max()
        np.testing.assert_allclose(found.loc[part.index, COLUMNS], expected, rtol=1e-3, atol=atol)
    with pytest.raises(ValueError, match="method='shap'"):
        kind.explain(LABELLED, method="shap")


def test_the_overview_of_groups(fleet, scored):
    found = fleet.groups_
    assert found.index.tolist() == ["m0", "m1", "m2", "m3", "m4", "m5"]
    assert found.index.name == "machine"
    assert found.rows.tolist() == [60, 120, 300, 20, 1, 61]
    assert found.source.tolist() == ["own"] * 3 + ["global"] * 2 + ["own"]
    assert found.note.tolist() == [""] * 3 + ["fewer than min_rows=50 rows"] * 2 + [""]
    assert found.loss.isna().tolist() == [False] * 3 + [True] * 2 + [False]
    assert found.loss["m2"] == pytest.approx(fleet["m2"].history_["loss"][-1])
    assert (found.skipped_steps == 0).all()
    assert set(found.threshold_from) <= {"own", "pooled", "global"}
    for key in ("m0", "m1", "m2", "m5"):
        held_out = fleet._models.held_out[fleet._numbers[key,]]
        assert found.alarm_rate[key] == np.mean(held_out > found.threshold[key])
    found.loc["m0", "rows"] = 0  # a copy
    assert fleet.groups_.rows["m0"] == 60
    assert list(fleet) == found.index.tolist()
    assert len(fleet) == 6
    assert "m5" in fleet
    assert "m6" not in fleet
    assert fleet.columns_ == tuple(COLUMNS)
    assert fleet["m3"].threshold_ == found.threshold["m3"] == fleet.global_.threshold_


@pytest.mark.parametrize("combine", ["mean", "z", "rank"])
def test_ensembles_of_every_rule(combine):
    fleet = fitted(settings={"n_members": 3, "combine": combine})
    assert agrees_with_its_detectors(fleet, FRAME)
    assert fleet["m1"].member_scores(FRAME[COLUMNS]).shape == (3, len(FRAME))
    members = fleet["m1"].member_scores(FRAME[COLUMNS])
    assert np.abs(members[0] - members[1]).max() > 1e-3


def test_pretraining_and_groups_that_start_at_random():
    options = {"settings": {"pretrain_epochs": 3}, "start": "random"}
    fleet, other = fitted(**options), fitted(start="random")
    assert agrees_with_its_detectors(fleet, FRAME)
    assert (fleet.groups_.loss.dropna() != other.groups_.loss.dropna()).all()
    assert (other.groups_.loss.dropna() != fitted().groups_.loss.dropna()).all()


class Subspace(objectives.BaseObjective):
    """A user's own objective: rows far from a place that it learns."""

    chunk: int = struct.field(pytree_node=False, default=1024)

    def init(self, key, x):
        return {"place": jax.random.normal(key, x.shape[1:])}, {}

    def loss(self, params, stats, batch, key):
        return self.score(params, stats, batch.x), stats

    def score(self, params, stats, x):
        return jnp.abs(x - params["place"]).mean(-1)


class OwnDetector(jaxad.Detector):
    """A user's own detector."""

    def _objective(self, shape, count):
        return Subspace()


def test_a_detector_of_the_users(tmp_path):
    fleet = fitted(detector=OwnDetector(epochs=3, learning_rate=0.1))
    assert agrees_with_its_detectors(fleet, FRAME)
    fleet.save(tmp_path / "fleet")
    assert same(jaxad.load(tmp_path / "fleet").score(FRAME), fleet.score(FRAME))


def test_several_group_columns_and_kinds_of_identifiers():
    frame = FRAME.assign(line=np.arange(len(FRAME)) % 2, on=FRAME.machine == "m2")
    fleet = fitted(frame, group=["on", "line", "machine"], min_rows=30)
    assert fleet.groups_.index.names == ["on", "line", "machine"]
    assert len(fleet) == len(frame.groupby(["on", "line", "machine"]))
    key = (True, 1, "m2")
    assert key in fleet
    part = frame[(frame.machine == "m2") & (frame.line == 1)]
    scores = fleet[key].anomaly_score(part[COLUMNS])
    np.testing.assert_allclose(fleet.score(part).score, scores, rtol=1e-4)
    assert fleet.score(part).columns[:3].tolist() == ["on", "line", "machine"]
    whole = fitted(FRAME.assign(machine=FRAME.machine.str[1:].astype(int)))
    assert list(whole) == [0, 1, 2, 3, 4, 5]
    assert np.int64(3) in whole


def test_a_constant_group_and_column_that_begin_to_move():
    frame = made()
    frame.loc[frame.machine == "m1", COLUMNS] = 3
    frame.loc[frame.machine == "m2", "b"] = 7
    fleet = fitted(frame)
    scored = fleet.score(frame)
    assert np.isfinite(scored.score).all()
    assert set(scored.source[frame.machine == "m1"]) == {"own"}
    later = frame[frame.machine == "m2"].copy()
    later["b"] += np.float32(20)
    assert fleet.score(later).is_anomaly.mean() > 0.9
    moved = frame[frame.machine == "m1"].copy()
    moved[COLUMNS] += np.float32(20)
    assert np.isfinite(fleet.score(moved).score).all()
    assert (fleet.score(moved).score > scored.score[moved.index]).all()


# Rows and columns in any order and from any source.


def test_columns_are_found_by_name(fleet, scored):
    assert same(fleet.score(FRAME[["machine", *COLUMNS[::-1]]]).score, scored.score)
    chosen = fitted(FRAME.assign(city="x"), columns=COLUMNS)
    assert same(chosen.score(FRAME.assign(day=pd.Timestamp(0))).score, scored.score)


def test_the_index_is_kept(fleet, scored):
    other = FRAME.set_index(pd.Index(np.arange(len(FRAME))[::-1] * 2, name="time"))
    assert same(fleet.score(other).reset_index(drop=True), scored)
    assert fleet.score(other).index.equals(other.index)


def test_sources_of_every_kind_give_the_same_scores(fleet, scored, tmp_path):
    FRAME.to_parquet(tmp_path / "t.parquet", row_group_size=100)
    stream = lambda: (FRAME[i : i + 90] for i in range(0, len(FRAME), 90))  # noqa: E731
    sources = {
        "polars": pl.from_pandas(FRAME),
        "pyarrow": pa.Table.from_pandas(FRAME),
        "Parquet": tmp_path / "t.parquet",
        "stream": stream,
        "list": list(stream()),
    }
    for name, source in sources.items():
        other = fitted(source)
        for found in (fleet.score(source), other.score(source)):
            plain = found if isinstance(found, pd.DataFrame) else found.to_pandas()
            assert type(found) is {"polars": pl.DataFrame, "pyarrow": pa.Table}.get(
                name, pd.DataFrame
            )
            for column in ("machine", "score", "p_value", "is_anomaly"):
                assert same(plain[column].to_numpy(), scored[column].to_numpy())
            assert plain.source.tolist() == scored.source.tolist()
        assert same(other.groups_, fleet.groups_)
        assert same(fleet.predict(source), fleet.predict(FRAME))


# The same bits.


def same_fleets(one, other, frame=FRAME):
    assert same(one.groups_, other.groups_)
    assert same(one.score(frame), other.score(frame))
    leaves = (jax.tree.leaves(f._models.arrays["params"]) for f in (one, other))
    assert all(same(a, b) for a, b in zip(*leaves, strict=True))
    return True


def test_two_fits_are_the_same_to_the_bit(fleet):
    assert same_fleets(fitted(), fleet)
    assert same_fleets(fitted(threads=1), fleet)
    assert (fitted(random_state=1).score(FRAME).score != fleet.score(FRAME).score).all()


@pytest.mark.parametrize("rows", [1, 100, 400])
def test_waves_of_any_size_give_the_same(rows, fleet, monkeypatch):
    monkeypatch.setattr(survey, "WAVE_BYTES", rows * 4 * len(COLUMNS))
    assert same_fleets(fitted(), fleet)


def test_the_order_of_groups_does_not_matter(fleet):
    parts = [part for _, part in FRAME.groupby("machine")]
    for frame in (pd.concat(parts), pd.concat(parts[::-1])):
        assert same_fleets(fitted(frame), fleet, frame=FRAME)


@pytest.fixture
def cores(monkeypatch):
    """A CPU of three cores that is one device, whatever the machine has."""
    monkeypatch.setattr(joblib, "cpu_count", lambda: 3)
    monkeypatch.delenv(threads.VARIABLE, raising=False)
    for module in (runs, scoring, waves, shared):  # the tests have several devices
        monkeypatch.setattr(module, "default_mesh", lambda *_: None)


def test_the_number_of_threads_does_not_matter(cores):
    frame = made((60,) * 40 + (300,) * 20)
    one, two = (fitted(frame, threads=n, settings={"epochs": 1}) for n in (1, 2))
    assert same_fleets(one, two, frame)
    assert agrees_with_its_detectors(one, frame[frame.machine.isin(["m0", "m50"])])


def test_other_groups_beside_it_do_not_matter(fleet):
    """With what the fleet shares held fixed, a group's model and scores stay the same."""
    common = fleet._common
    frame = pd.concat([FRAME[FRAME.machine == "m1"], made((70, 90), seed=8, names="other")])
    alone = FRAME[FRAME.machine == "m1"]
    for rows in (frame, alone):
        other = small()
        table = other._open(rows, None)
        found = survey.survey(table, 0, 0.1, len(fleet), False)
        other._finish(common, other._fit_part(common, table, found, None))
        one, two = (f._models.take([f._numbers["m1",]]) for f in (fleet, other))
        for name in ("params", "stats", "combination", "scaler", "unit"):
            pairs = zip(*map(jax.tree.leaves, (one.arrays[name], two.arrays[name])), strict=True)
            assert all(same(a, b) for a, b in pairs)
        assert same(one.held_out[0], two.held_out[0])
    sizes = [1, 8, len(FRAME)]
    for size in sizes:
        part = FRAME[:size]
        assert same(fleet.score(part).score, fleet.score(FRAME).score[:size])


@pytest.mark.slow
def test_programs_do_not_grow_with_the_number_of_groups():
    counts = []
    settings = {"hidden": (9, 5), "epochs": 1}  # programs that no other test has compiled
    sizes = np.random.default_rng(0).integers(50, 2001, 60)
    for repeats in (1, 2):
        frame = made([*sizes] * repeats, seed=repeats)
        with training.Stopwatch() as watch:
            fitted(frame, settings=settings).score(frame)
        counts.append(watch.compilations)
    assert 0 < counts[0] <= 12
    assert counts[1] == 0


# Statistics.


def rates(fleet, frame, levels):
    """The share of rows with a p-value of at most each level, and its error over groups."""
    scored = fleet.score(frame)
    below = scored.p_value.to_numpy()[:, None] <= np.array(levels) + 1e-12
    by_group = pd.DataFrame(below.astype(float)).groupby(frame.machine.to_numpy()).mean()
    return by_group.mean(), by_group.std() / np.sqrt(len(by_group))


@pytest.mark.parametrize(
    ("source", "size", "options"),
    [
        ("own", 1000, {"false_alarm_rate": 0.1}),
        ("pooled", 60, {"false_alarm_rate": 0.02}),
        ("global", 40, {"false_alarm_rate": 0.05}),
    ],
)
def test_p_values_are_right_on_average_over_groups(source, size, options):
    groups = 60
    settings = {"epochs": 2}
    if source == "global":
        options = options | {"min_rows": size + 1}
        with pytest.warns(RuntimeWarning, match="all 60 groups have fewer than min_rows=41 rows"):
            fleet = small("AutoEncoder", settings=settings, **options).fit(made((size,) * groups))
    else:
        fleet = fitted(made((size,) * groups), "AutoEncoder", settings=settings, **options)
    assert set(fleet.groups_.threshold_from) == {source}
    fresh_rows = made((size,) * groups, seed=77)
    levels = [options["false_alarm_rate"], 0.2, 0.5]
    found, error = rates(fleet, fresh_rows, levels)
    for level, rate, noise in zip(levels, found, error, strict=True):
        assert rate <= level + 4 * noise + 0.01
        assert rate >= level - 4 * noise - 0.02 - 1 / size
    p_value = fleet.score(fresh_rows).p_value
    assert p_value.between(0, 1, inclusive="right").all()


@pytest.mark.parametrize("combine", ["z", "rank"])
def test_p_values_of_ensembles_are_right_on_average(combine):
    settings = {"epochs": 2, "n_members": 3, "combine": combine}
    options = {"settings": settings, "false_alarm_rate": 0.05}
    fleet = fitted(made((60,) * 100), "AutoEncoder", **options)
    levels = [0.02, 0.05, 0.2]
    for level, rate, noise in zip(
        levels, *rates(fleet, made((60,) * 100, seed=77), levels), strict=True
    ):
        assert abs(rate - level) <= 4 * noise + 0.005


def test_a_group_that_falls_within_the_range_of_all_is_found_by_its_own_model():
    frame = made((300,) * 12, seed=3)
    fleet = fitted(frame, "AutoEncoder", settings={"epochs": 10}, false_alarm_rate=0.05)
    fallen = made((0, 100), seed=5)
    fallen[COLUMNS] *= np.float32(0.2)
    assert fleet.score(fallen).is_anomaly.mean() > 0.9
    assert (fleet.global_.predict(fallen[COLUMNS]) == -1).mean() < 0.5


# scikit-learn.


def test_parameters_clones_and_names(fleet):
    own = small(false_alarm_rate=0.2)
    assert own.get_params(deep=False).keys() == {
        "detector", "group", "columns", "label", "false_alarm_rate", "min_rows", "unseen", "start",
        "random_state", "threads", "verbose",
    }  # fmt: skip
    assert own.get_params()["detector__epochs"] == 3
    own.set_params(detector__epochs=5, min_rows=9)
    assert (own.detector.epochs, own.min_rows) == (5, 9)
    copied = clone(own)
    assert copied.get_params()["detector__epochs"] == 5
    assert copied.detector is not own.detector
    assert "detector=DeepSVDD(" in repr(own)
    assert "group='machine'" in repr(own)
    with pytest.raises(NotFittedError):
        clone(fleet).score(FRAME)
    with pytest.raises(ValueError, match="parameter"):
        own.set_params(groups="x")


def test_the_detector_that_is_given_stays_as_it_is(scored):
    detector = jaxad.DeepSVDD(hidden=(8,), latent_dim=4, epochs=3)
    before = dict(vars(detector))
    first = fitted(detector=detector).score(FRAME)
    assert vars(detector) == before
    assert same(first, scored)


def test_progress_is_shown(capsys):
    fitted(verbose=True)
    assert "4/4" in capsys.readouterr().err
    fitted()
    assert capsys.readouterr().err == ""


def test_rates_that_cannot_be_promised_are_said():
    told = "false_alarm_rate=0.001 cannot be promised for 6 of 6 groups.* takes 999 held-out rows"
    with pytest.warns(RuntimeWarning, match=told):
        fleet = small(false_alarm_rate=0.001).fit(FRAME)
    assert np.isinf(fleet.groups_.threshold).all()
    assert not fleet.score(FRAME).is_anomaly.any()
