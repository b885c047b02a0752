"""Fleets after the fit: update, recalibrate, drop, groups of few rows, and labels."""

import copy
import dataclasses

import numpy as np
import pandas as pd
import pytest
from cases import fresh
from fleets import COLUMNS, fitted, made, same, small

import jaxad
from jaxad.fleet.survey import split

FRAME = made()


@pytest.fixture(scope="module")
def base():
    """A fitted fleet that no test changes."""
    return fitted()


@pytest.fixture
def fleet(base):
    return copy.deepcopy(base)


def state(fleet):
    return fleet.score(FRAME), fleet.groups_


def unchanged(fleet, before):
    return all(same(one, other) for one, other in zip(state(fleet), before, strict=True))


def test_update_trains_the_groups_that_occur_and_no_other(fleet):
    before, groups = fleet.score(FRAME), fleet.groups_
    new = made(seed=4).query("machine in ['m0', 'm2', 'm3']")
    assert fleet.update(new, epochs=2) is fleet
    after, found = fleet.score(FRAME), fleet.groups_
    assert found.updates.tolist() == [1, 0, 1, 0, 0, 0]
    assert (found.rows - groups.rows).tolist() == [60, 0, 300, 20, 0, 0]
    changed = FRAME.machine.isin(["m0", "m2"])
    assert same(after.score[~changed], before.score[~changed])
    assert (after.score[changed] != before.score[changed]).all()
    assert len(fleet["m2"].history_["loss"]) == 2
    rest = ["m1", "m3", "m4", "m5"]
    same_columns = ["loss", "source", "note", "updates"]
    assert same(found.loc[rest, same_columns], groups.loc[rest, same_columns])


def test_update_goes_on_from_weights_and_keeps_the_scaler(fleet):
    before = fleet["m2"]
    fleet.update(FRAME, epochs=10)
    after = fleet["m2"]
    assert same(before.scaler_.shift, after.scaler_.shift)
    assert same(before.scaler_.scale, after.scaler_.scale)
    assert same(before.stats_["centre"], after.stats_["centre"])
    losses = before.history_["loss"], after.history_["loss"]
    assert losses[1][0] < losses[0][0]
    assert losses[1][-1] < losses[0][-1]


def test_an_update_depends_on_its_own_rows_alone(base):
    new = made(seed=4)
    alone = new[new.machine == "m1"]
    one, other = copy.deepcopy(base).update(new), copy.deepcopy(base).update(alone)
    rows = FRAME[FRAME.machine == "m1"][COLUMNS]
    assert same(one["m1"].anomaly_score(rows), other["m1"].anomaly_score(rows))
    again = copy.deepcopy(base).update(new.iloc[::1])
    assert unchanged(again, state(one))
    twice = copy.deepcopy(base).update(alone).update(alone)
    assert twice.groups_.updates["m1"] == 2
    assert (twice["m1"].anomaly_score(rows) != other["m1"].anomaly_score(rows)).all()


def test_new_groups_of_an_update_get_models_if_they_have_enough_rows(fleet):
    new = made((80, 10), seed=4, names="new")
    assert set(fleet.score(new).source) == {"global"}
    fleet.update(new)
    found = fleet.groups_
    assert found.source[["new0", "new1"]].tolist() == ["own", "global"]
    assert found.updates["new0"] == 0
    assert found.note["new1"] == "fewer than min_rows=50 rows"
    assert fleet.score(new).groupby("machine").source.first().tolist() == ["own", "global"]
    assert unchanged_scores(fleet, FRAME, fitted())
    small_group = made(seed=5).query("machine == 'm3'")
    more = pd.concat([small_group] * 3)
    assert fleet.update(more).groups_.source["m3"] == "own"


def unchanged_scores(fleet, frame, other):
    """The scores are those of the other fleet; thresholds may move with the pool."""
    return same(fleet.score(frame).score.to_numpy(), other.score(frame).score.to_numpy())


def test_update_of_too_few_rows_changes_no_model(fleet):
    few = made(seed=4).groupby("machine").head(20)
    scores = fleet.score(FRAME)
    fleet.update(few)
    assert same(fleet.score(FRAME), scores)
    assert fleet.groups_.recent_rows.tolist() == [20, 20, 20, 20, 1, 20]


def test_drift_is_seen_in_the_groups_frame(fleet):
    new = made((400, 400), seed=4)
    new.loc[new.machine == "m1", COLUMNS] += 20
    expected = fleet.score(new).groupby("machine").is_anomaly.mean()
    found = fleet.update(new).groups_
    assert found.recent_rows[:2].tolist() == [400, 400]
    assert found.recent_alarm_rate[:2].tolist() == expected.tolist()
    assert found.drift_p_value["m1"] < 0.01 < found.drift_p_value["m0"]
    assert found.recent_alarm_rate[2:].isna().all()
    assert found.drift_p_value[2:].isna().all()
    assert found.recent_rows[2:].tolist() == [0, 0, 0, 0]
    quiet = fleet.score(FRAME[FRAME.machine == "m2"]).score.nsmallest(5).index
    found = fleet.update(FRAME.loc[quiet]).groups_
    assert (found.recent_alarm_rate["m2"], found.drift_p_value["m2"]) == (0, 1)


def test_recalibrate_needs_no_training(fleet, base):
    before = fleet.score(FRAME)
    assert fleet.recalibrate(false_alarm_rate=0.25) is fleet
    after = fleet.score(FRAME)
    assert fleet.false_alarm_rate == 0.25
    assert same(after.score, before.score)
    assert same(after.is_anomaly.to_numpy(), after.p_value.to_numpy() <= 0.25)
    assert after.is_anomaly.mean() > before.is_anomaly.mean() + 0.05
    own = fleet.groups_.threshold[FRAME.machine].to_numpy()
    assert same(after.is_anomaly.to_numpy(), after.score.to_numpy() > own)
    assert unchanged(fleet.recalibrate(false_alarm_rate=0.1), state(base))


def test_recalibrate_takes_new_normal_rows(fleet):
    new = made((0, 0, 1000), seed=4)
    new[COLUMNS] *= np.float32(1.5)  # the machine has become louder
    before = fleet.score(new).is_anomaly.mean()
    fleet.recalibrate(new)
    assert before > 0.2
    assert fleet.score(new).is_anomaly.mean() == pytest.approx(0.1, abs=0.002)
    found = fleet.groups_
    assert found.threshold_from["m2"] == "own"
    assert found.recent_rows["m2"] == 1000
    assert found.recent_alarm_rate["m2"] == before
    assert found.rows["m2"] == 300


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "recalibrate needs normal rows, a false_alarm_rate, or both"),
        ({"false_alarm_rate": 0}, r"false_alarm_rate=0 .*\(0, 1\)"),
        ({"false_alarm_rate": 1.5}, r"false_alarm_rate=1.5 .*\(0, 1\)"),
        ({"frame": FRAME[COLUMNS], "false_alarm_rate": 0.5}, "no column 'machine'"),
    ],
)
def test_bad_recalibration_changes_nothing(options, message, fleet, base):
    with pytest.raises(ValueError, match=message):
        fleet.recalibrate(**options)
    assert fleet.false_alarm_rate == 0.1
    assert unchanged(fleet, state(base))


def broken(*arguments):
    raise RuntimeError("broken on purpose")


@pytest.mark.parametrize(
    "change",
    [
        lambda fleet: fleet.fit(made(seed=7)),
        lambda fleet: fleet.update(made((400, 400), seed=7)),
        lambda fleet: fleet.recalibrate(made(seed=7), false_alarm_rate=0.2),
        lambda fleet: fleet.drop(["m0"]),
    ],
)
def test_a_change_that_breaks_at_its_end_changes_nothing(fleet, base, monkeypatch, change):
    monkeypatch.setattr("jaxad.fleet.fleet.calibrate", broken)
    with pytest.raises(RuntimeError, match="on purpose"):
        change(fleet)
    assert fleet.false_alarm_rate == 0.1
    assert unchanged(fleet, state(base))


def test_identifiers_of_another_type_are_told(fleet):
    with pytest.warns(RuntimeWarning, match=r"such as 7, are of another type .* such as 'm0'"):
        fleet.score(FRAME.assign(machine=7))


def test_detectors_without_labels_leave_known_anomalies_out():
    frame = FRAME.assign(label=0)
    bad = (frame.machine == "m2") & (np.random.default_rng(0).random(len(frame)) < 0.3)
    frame.loc[bad, "label"] = -1
    frame.loc[bad, COLUMNS] += np.float32(8)
    scored = small("DeepSVDD", label="label").fit(frame).score(frame)
    assert scored.is_anomaly[bad].mean() > 0.9


def test_a_group_whose_normal_rows_are_all_held_out_gets_no_model():
    frame = FRAME.assign(label=0)
    normal = frame[frame.machine == "m2"].index[0]
    frame.loc[(frame.machine == "m2") & (frame.index != normal), "label"] = -1
    with pytest.warns(RuntimeWarning):
        fleet = small("DeepSVDD", label="label").fit(frame)
    assert fleet.groups_.source["m2"] == "global" or fleet["m2"].n_steps_ > 0


def test_only_recalibrate_changes_the_rate_of_a_fitted_fleet(fleet, base):
    fleet.set_params(false_alarm_rate=0.3)
    assert same(fleet.score(FRAME), base.score(FRAME))
    assert fleet.recalibrate(false_alarm_rate=0.3).score(FRAME).is_anomaly.mean() > 0.1


def test_rows_of_groups_without_a_model_recalibrate_the_global_one(fleet):
    new = made((400, 400), seed=6, names="new")
    fleet.recalibrate(new, false_alarm_rate=0.1)
    scored = fleet.score(new)
    assert (scored.source == "global").all()
    assert scored.is_anomaly.mean() == pytest.approx(0.1, abs=0.01)
    before = fleet.global_.threshold_
    fleet.recalibrate(new[:3])  # too few for the rate
    assert fleet.global_.threshold_ == before


def test_bad_epochs_are_named(fleet):
    with pytest.raises(ValueError, match="epochs=0"):
        fleet.update(FRAME, epochs=0)


def test_an_update_that_raises_changes_nothing(fleet, base, monkeypatch):
    bad = made(seed=4).astype(np.float64, errors="ignore")
    bad.loc[len(bad) - 1, "a"] = np.nan
    with pytest.raises(ValueError, match="column 'a' is NaN"):
        fleet.update(bad)
    monkeypatch.setattr(jaxad.fleet.waves.sets, "train_sets", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        fleet.update(made(seed=4))
    assert unchanged(fleet, state(base))


def test_dropped_groups_are_new_ones(fleet, base):
    fleet.drop(g for g in ["m1", "m3"])
    assert list(fleet) == ["m0", "m2", "m4", "m5"]
    assert "m1" not in fleet
    rest = FRAME[~FRAME.machine.isin(["m1", "m3"])]
    assert same(fleet.score(rest).score, base.score(rest).score)
    assert set(fleet.score(FRAME[FRAME.machine == "m1"]).source) == {"global"}
    fleet.update(FRAME[FRAME.machine == "m1"])
    assert unchanged_scores(fleet, FRAME, base)  # trained as in fit
    fleet.drop(list(fleet))
    assert len(fleet) == 0
    assert fleet.groups_.empty
    assert set(fleet.score(FRAME).source) == {"global"}
    with pytest.raises(KeyError, match="not among the 0 of the fleet"):
        fleet["m1"]
    assert list(fleet.update(FRAME).score(FRAME).score) == list(base.score(FRAME).score)


# Groups that fail.


def failing(groups=("m1",), value=1e30):
    """``made()`` where the training of groups meets squares that float32 cannot hold."""
    frame = FRAME.astype(dict.fromkeys(COLUMNS, np.float64))
    for key in groups:
        at = frame.index[frame.machine == key]
        train = split((key,), np.zeros(len(at), np.int32), 0, 0.1).train
        frame.loc[at[train[0]], "a"] = value
    return frame


def test_a_failing_group_is_reported_and_hurts_no_other(monkeypatch):
    frame = FRAME.astype(dict.fromkeys(COLUMNS, np.float64))
    whole = fitted(frame)
    original = jaxad.fleet.waves.sets.train_sets

    def broken(*inputs, **options):
        """Rows of machine m1, which alone has 96 to train on, are blown up."""
        rows = inputs[3]
        x = np.where((rows.count == 96)[:, None, None], np.float32(1e30), 1) * rows.x
        return original(*inputs[:3], dataclasses.replace(rows, x=x), *inputs[4:], **options)

    monkeypatch.setattr(jaxad.fleet.waves.sets, "train_sets", broken)
    told = r"1 of 6 groups, such as 'm1', have no model of their own.* not finite.*learning_rate"
    with pytest.warns(RuntimeWarning, match=told) as warned:
        fleet = small().fit(frame)
    assert {w.filename for w in warned} == {__file__}
    assert "not finite" in fleet.groups_.note["m1"]
    assert fleet.groups_.source["m1"] == "global"
    rest = frame[frame.machine != "m1"]
    assert same(fleet.score(rest).score, whole.score(rest).score)
    assert set(fleet.score(frame[frame.machine == "m1"]).source) == {"global"}
    before = whole.score(frame).score
    with pytest.warns(RuntimeWarning, match="1 of 6 groups, such as 'm1', were not updated") as w:
        whole.update(frame)
    assert w[0].filename == __file__
    kept = (frame.machine == "m1").to_numpy()
    assert same(whole.score(frame).score[kept], before[kept])
    assert whole.groups_.source["m1"] == "own"
    assert whole.groups_.updates[["m0", "m1"]].tolist() == [1, 0]


def test_a_group_with_a_member_that_fails_gets_no_model(monkeypatch):
    train = jaxad.fleet.waves.sets.train_sets

    def failing(*given, **options):
        """The second of two members of the group with 240 rows to train on."""
        result, counts = train(*given, **options), given[3].count
        second = np.arange(len(counts)) % 2 == 1
        return result._replace(failed=result.failed | (second & (counts == 240)))

    monkeypatch.setattr(jaxad.fleet.waves.sets, "train_sets", failing)
    with pytest.warns(RuntimeWarning, match="1 of 6 groups, such as 'm2', have no model of their"):
        fleet = small(settings={"epochs": 1, "n_members": 2}).fit(FRAME)
    assert fleet.groups_.source.tolist() == ["own", "own", "global", "global", "global", "own"]


def test_a_global_model_that_fails_is_an_error():
    with pytest.raises(jaxad.NonFiniteError, match=r"learning_rate=1e\+30"):
        small(settings={"learning_rate": 1e30}).fit(FRAME)


def test_a_row_far_off_in_one_group_leaves_the_global_model():
    frame = FRAME.astype(dict.fromkeys(COLUMNS, np.float64))
    frame.loc[:, COLUMNS] = frame[COLUMNS]
    frame.loc[frame.index[frame.machine == "m2"][:40], "a"] = 1e30
    fleet = fitted(frame)
    scored = fleet.score(frame)
    assert scored.p_value.between(0, 1, inclusive="right").all()
    assert not fleet.groups_.threshold.isna().any()


# Labels.


def labelled():
    """``made()`` with known anomalies far off; all rows of m1 are."""
    frame = FRAME.assign(label=0)
    draw = np.random.default_rng(3).random(len(frame))
    frame.loc[draw < 0.2, "label"] = -1
    frame.loc[draw > 0.9, "label"] = 1
    frame.loc[frame.machine == "m1", "label"] = -1
    frame.loc[frame.label == -1, COLUMNS] += np.float32(30)
    return frame


@pytest.mark.parametrize("detector", ["DeepSAD", "DeepSVDD"])
def test_known_anomalies_never_calibrate(detector):
    frame = labelled()
    with pytest.warns(RuntimeWarning, match=r"1 of 6 groups, such as 'm1', .*known anomal"):
        fleet = small(detector, label="label").fit(frame)
    assert "known anomal" in fleet.groups_.note["m1"]
    held_out = np.concatenate(fleet._models.held_out)
    normal = frame.query("label >= 0 and machine != 'm1'")
    assert np.isin(held_out, fleet.score(normal).score.to_numpy(np.float32)).all()
    for key in ("m0", "m2", "m5"):
        rows = frame[frame.machine == key]
        assert len(fleet._models.held_out[fleet._numbers[key,]]) <= 1 + (rows.label >= 0).sum() / 5
    # The label column may be missing when rows are scored, and takes no part.
    assert same(fleet.score(frame.drop(columns="label")), fleet.score(frame))
    at = frame.index[frame.machine == "m2"]
    label = frame.label[at].to_numpy()
    train = split(("m2",), label, 0, 0.1, detector == "DeepSAD").train
    score = fleet.score(frame).score[at].to_numpy()[train[label[train] >= 0]]
    unit = fleet._models.arrays["unit"][fleet._numbers["m2",]]
    np.testing.assert_allclose(unit, [score.mean(), score.std()], rtol=1e-4)
    recent = fleet.recalibrate(frame).groups_
    held_out = fleet._models.held_out[fleet._numbers["m2",]]
    assert len(held_out) == (label >= 0).sum()
    counts = frame[frame.label >= 0].groupby("machine").size()
    assert recent.recent_rows.to_dict() == {key: counts.get(key, 0) for key in fleet}


def test_deep_sad_learns_from_the_labels_of_a_column():
    frame = labelled().query("machine == 'm2'")
    frame = frame.assign(label=frame.label.where(frame.label < 0, 0))
    settings = {"epochs": 20, "pretrain_epochs": 0}
    with_labels = fitted(frame, fresh("DeepSAD", **settings), label="label")
    without = fitted(frame, fresh("DeepSAD", **settings), columns=COLUMNS)
    scores = [f.score(frame).score.to_numpy() for f in (with_labels, without)]
    gaps = [np.median(s[frame.label == -1]) / np.median(s[frame.label == 0]) for s in scores]
    assert gaps[0] > 3 * gaps[1]


def test_no_rows_have_no_scores(base):
    none = FRAME.iloc[:0]
    for found in (base.score(none), base.score([none])):
        assert found.columns.tolist() == base.score(FRAME[:1]).columns.tolist()
        assert len(found) == 0
    assert len(base.predict(none)) == len(base.explain(none)) == 0
    for method in (base.update, base.recalibrate):
        with pytest.raises(ValueError, match="the frame has no rows"):
            method(none)


def test_recalibrate_keeps_the_rate_of_the_fleet(fleet):
    expected = copy.deepcopy(fleet).recalibrate(FRAME).groups_
    found = fleet.set_params(false_alarm_rate=0.4).recalibrate(FRAME)
    assert found.false_alarm_rate == 0.1
    assert same(found.groups_, expected)


def test_names_of_columns_need_not_be_text(base):
    numbered = FRAME.set_axis(range(len(FRAME.columns)), axis=1)
    found = fitted(numbered, group=len(FRAME.columns) - 1).score(numbered)
    assert same(found.score, base.score(FRAME).score)


def test_a_split_follows_group_seed_and_update_and_labels():
    label = np.zeros(200, np.int32)
    first = split(("a",), label, 0, 0.1)
    assert sorted([*first.train, *first.held_out]) == list(range(200))
    assert 40 <= len(first.held_out) <= 41
    others = split(("b",), label, 0, 0.1), split(("a",), label, 1, 0.1)
    for other in (*others, split(("a",), label, 0, 0.1, update=1)):
        assert len(set(first.held_out) & set(other.held_out)) < 20
    label[:50] = -1
    for anomalies in (False, True):
        parting = split(("a",), label, 0, 0.1, anomalies)
        assert (label[parting.train] < 0).sum() == (50 if anomalies else 0)
        assert (label[parting.held_out] == 0).all()


def test_groups_have_seeds_and_best_epochs_of_their_own():
    options = {"epochs": 6, "patience": 1, "learning_rate": 1e-12}
    fleet = fitted(start="random", settings=options)
    models = fleet._models.arrays["params"]["encoder"]
    kernel = np.asarray(models["Dense_0"]["kernel"])[:, 0]
    assert len(np.unique(kernel.round(6), axis=0)) == len(kernel) == 4
    best = [fleet[key].best_epoch_ for key in ("m0", "m1", "m2", "m5")]
    assert all(0 <= epoch < 6 for epoch in best)
