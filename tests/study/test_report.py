"""Reports of planted tables: conclusions, warnings, notes, and errors."""

import importlib
import re

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from study_tables import table

from jaxad import study
from jaxad.study import runs

pytest.importorskip("baycomp")


def one(found, *parts):
    """The only sentence with all parts."""
    (sentence,) = [s for s in found.sentences if all(part in s for part in parts)]
    return sentence


def none(found, part):
    return not [s for s in found.sentences if part in s]


def test_better_by_two_points_is_found(rng):
    gains = 0.02 + 0.01 * rng.normal(size=20)
    found = study.report(table({"plain": 0, "mine": gains}, sets=20), "plain")
    line = found.differences.loc["mine"]
    assert line["conclusion"] == "better"
    assert line["low"] < 0.02 < line["high"]
    np.testing.assert_allclose(line["mean"], gains.mean())
    np.testing.assert_allclose(line["median"], np.median(gains))
    np.testing.assert_allclose(line["wilcoxon_p"], stats.wilcoxon(gains).pvalue)
    np.testing.assert_allclose(line["t_p"], stats.ttest_1samp(gains, 0).pvalue)
    np.testing.assert_allclose(line["spread"], gains.std(ddof=1))
    assert one(found, "`mine` is better than `plain`: +").count("20 sets") == 1
    assert none(found, "Warning")


def test_worse_is_found_and_the_baseline_ranks_first(rng):
    gains = -0.03 + 0.01 * rng.normal(size=20)
    found = study.report(table({"plain": 0, "mine": gains}, sets=20), "plain")
    assert found.differences.loc["mine", "conclusion"] == "worse"
    assert list(found.contenders.index) == ["plain", "mine"]
    assert one(found, "best average rank by AUROC").startswith("`plain` has")


def test_equal_within_a_point_is_found(rng):
    gains = 0.002 * rng.normal(size=20)
    found = study.report(table({"plain": 0, "same": gains}, sets=20), "plain")
    line = found.differences.loc["same"]
    assert line["conclusion"] == "equal"
    assert line["equal"] > 0.95
    assert one(found, "`same` equals `plain` within 1 point")
    wider = study.report(table({"plain": 0, "same": 10 * gains}, sets=20), "plain", rope=0.05)
    assert one(wider, "`same` equals `plain` within 5 points")


def test_an_identical_contender_ties_everywhere():
    found = study.report(table({"plain": 0, "copy": 0}), "plain")
    line = found.differences.loc["copy"]
    assert (line["wins"], line["ties"], line["losses"]) == (0, 12, 0)
    assert (line["wilcoxon_p"], line["conclusion"]) == (1, "equal")
    assert np.isnan(line["t_p"])
    assert one(found, "share the best average rank").startswith("`copy` and `plain` share")


def test_a_wide_spread_carries_no_claim_and_says_how_many_sets_would(rng):
    gains = 0.005 + 0.05 * rng.normal(size=10)
    found = study.report(table({"plain": 0, "mine": gains}, sets=10), "plain")
    line = found.differences.loc["mine"]
    assert line["conclusion"] == "open"
    effect = max(abs(gains.mean()), 0.01)
    z = stats.norm.isf(0.025) + stats.norm.isf(0.2)
    expected = np.ceil(np.pi / 3 * (z * gains.std(ddof=1) / effect) ** 2)
    assert line["sets_needed"] == expected
    sentence = one(found, "do not carry a claim about `mine`")
    assert f"about {expected:.0f} sets, {expected - 10:.0f} more" in sentence


def test_few_sets_carry_no_claim_however_large_the_difference():
    found = study.report(table({"plain": 0, "mine": 0.2}, sets=5), "plain")
    line = found.differences.loc["mine"]
    assert line["better"] > 0.95  # the Bayesian test alone would claim it
    assert line["conclusion"] == "open"
    assert one(found, "Warning", "fewer than 6 sets cannot reach p<0.05 by Wilcoxon's test")


def test_few_sets_carry_no_claim_of_equality():
    found = study.report(table({"plain": 0, "copy": 0}, sets=5), "plain")
    assert found.differences.loc["copy", "conclusion"] == "open"


def test_many_contenders_need_more_sets():
    variants = {"plain": 0} | {f"v{i}": 0.1 + 0.01 * i for i in range(5)}
    found = study.report(table(variants, sets=6), "plain")
    assert (found.differences["conclusion"] == "open").all()
    assert one(found, "as 5 contenders are tested together, fewer than 8 sets", "there are 6")
    enough = study.report(table(variants, sets=8), "plain")
    assert (enough.differences["conclusion"] == "better").all()


def test_p_values_are_corrected_for_the_contenders_compared(rng):
    variants = {"plain": 0} | {f"v{i}": 0.01 * rng.normal(size=12) for i in range(4)}
    found = study.report(table(variants), "plain").differences
    np.testing.assert_allclose(found["p"], study.statistics.holm(found["wilcoxon_p"]))


def test_heavy_tails_are_no_claim_and_warned_of(rng):
    gains = np.r_[0.01 + 0.005 * rng.random(29), -0.55]
    found = study.report(table({"plain": 0, "heavy": gains}, sets=30), "plain")
    line = found.differences.loc["heavy"]
    assert line["mean"] < 0 < line["median"]
    assert line["p"] < 0.05
    assert line["conclusion"] == "open"
    assert one(found, "heavy tails", "`set29`", "-55.0")


def test_an_outlier_forbids_the_claim_of_equality(rng):
    gains = np.r_[0.001 * rng.normal(size=29), -0.5]
    found = study.report(table({"plain": 0, "same": gains}, sets=30), "plain")
    assert found.differences.loc["same", "equal"] > 0.95
    assert found.differences.loc["same", "conclusion"] == "open"


def test_seeds_are_averaged_within_a_set_first(rng):
    whole = table({"plain": 0, "mine": 0.02}, noise=0.03, seeds=4)
    means = whole.groupby(["variant", "set"])["auroc"].mean()
    found = study.report(whole, "plain")
    np.testing.assert_allclose(
        found.by_set("mine")["difference"], means["mine"] - means["plain"], atol=1e-12
    )
    assert found.differences.loc["mine", "sets"] == 12
    interval = study.statistics.mean_interval(means["mine"])
    line = found.contenders.loc["mine"]
    np.testing.assert_allclose(line[["auroc", "auroc_low", "auroc_high"]].tolist(), interval)


def test_missing_sets_are_compared_on_the_common_ones(rng):
    whole = table({"plain": 0, "mine": 0.02, "third": 0.01})
    gone = (whole["variant"] == "mine") & whole["set"].isin(["set00", "set01"])
    found = study.report(whole[~gone], "plain")
    assert found.differences["sets"].to_dict() == {"mine": 10, "third": 12}
    assert one(found, "`mine` lacks 2 of 12 sets (`set00`, `set01`)")
    assert one(found, "ranks are of the 10 sets of 12")
    assert found.ranking.sets == 10


def test_a_missing_seed_is_left_out_of_both():
    whole = table({"plain": 0, "mine": 0.02}, noise=0.05)
    unscored = (whole["variant"] == "mine") & (whole["set"] == "set03") & (whole["seed"] == 1)
    whole.loc[unscored, list(runs.METRICS)] = np.nan
    found = study.report(whole, "plain")
    chosen = whole[(whole["set"] == "set03") & (whole["seed"] != 1)]
    expected = chosen.groupby("variant")["auroc"].mean()
    difference = found.by_set("mine").loc["set03", "difference"]
    np.testing.assert_allclose(difference, expected["mine"] - expected["plain"])
    assert one(found, "1 run of `mine` or `plain`")


def test_one_seed_is_warned_of():
    assert one(study.report(table({"plain": 0, "mine": 0.1}, seeds=1), "plain"), "one seed")


def test_different_splits_are_warned_of():
    whole = table({"plain": 0, "mine": 0.1})
    whole.loc[(whole["variant"] == "mine") & (whole["set"] == "set02"), "split"] = "other"
    assert one(study.report(whole, "plain"), "different splits", "`set02`")


def test_one_set_says_nothing():
    found = study.report(table({"plain": 0, "mine": 0.1}, sets=1), "plain")
    line = found.differences.loc["mine"]
    assert line["conclusion"] == "open"
    assert np.isnan([line["low"], line["spread"], line["t_p"]]).all()
    assert "One set shows no spread" in one(found, "do not carry a claim")
    assert str(found)


@pytest.mark.parametrize("variant", ["mine", "plain"])
def test_a_contender_without_any_figure(variant):
    whole = table({"plain": 0, "mine": 0.1, "third": 0.1})
    whole.loc[whole["variant"] == variant, list(runs.METRICS)] = np.nan
    found = study.report(whole, "plain")
    assert one(found, "Nothing can be said of `mine`")
    assert one(found, f"`{variant}` has no figure on any set")
    assert np.isnan(found.contenders.loc[variant, "rank"])
    assert len(found.ranking.ranks) == 2
    assert str(found)
    assert found.markdown()


def test_a_table_without_any_figure():
    found = study.report(table({"plain": 0, "mine": 0.1}, auroc=np.nan), "plain")
    assert found.ranking is None
    assert found.differences.loc["mine", "sets"] == 0
    assert one(found, "there are no ranks")
    assert str(found)


def test_a_baseline_alone():
    found = study.report(table({"plain": 0}), "plain")
    assert found.differences.empty
    assert found.contenders.loc["plain", "rank"] == 1
    assert str(found)
    assert found.markdown()


@pytest.mark.parametrize(
    ("note", "sentence"),
    [
        ("no gradient", "`bad` learns nothing on 3 of 12 sets: its loss has no gradient"),
        ("collapsed", "`bad` collapsed on 3 of 12 sets"),
        (
            "not finite: step 12",
            "Training of `bad` met steps that are not finite on 3 of 12 sets; first: step 12 "
            "(`set00`, seed 0).",
        ),
        ("not finite", "Training of `bad` met steps that are not finite on 3 of 12 sets."),
        ("depends on test labels", "Scores of `bad` change when the test labels do"),
        ("depends on other rows", "The score of a row by `bad` changes with the rows scored"),
        ("failed: no; memory", "`bad` failed on 3 of 12 sets; first: no; memory (`set00`, seed 0)"),
        ("odd", "`bad` has the note 'odd' on 3 of 12 sets."),
    ],
)
def test_every_note_has_a_sentence(note, sentence):
    whole = table({"plain": 0, "bad": 0.1})
    where = (whole["variant"] == "bad") & (whole["set"] < "set03")
    whole.loc[where, "note"] = note
    assert one(study.report(whole, "plain"), sentence)
    assert one(
        study.report(whole.assign(note=whole["note"].replace("", np.nan)), "plain"), sentence
    )


def test_every_code_has_a_sentence():
    from jaxad.study import sentences

    assert set(sentences._OF_NOTES) == set(runs.CODES)


def test_a_note_on_all_sets_names_no_number():
    whole = table({"plain": 0, "bad": 0.1})
    whole.loc[whole["variant"] == "bad", "note"] = "no gradient;collapsed"
    found = study.report(whole, "plain")
    assert one(found, "`bad` learns nothing: its loss has no gradient with respect to")
    assert one(found, "`bad` collapsed: ")


@pytest.mark.parametrize("note", ["depends on test labels", "depends on other rows"])
def test_contenders_whose_figures_are_no_results_are_excluded(note):
    whole = table({"plain": 0, "mine": 0.05, "peek": 0.3})
    whole.loc[(whole["variant"] == "peek") & (whole["set"] == "set04"), "note"] = note
    found = study.report(whole, "plain")
    assert list(found.differences.index) == ["mine"]
    assert list(found.ranking.ranks.index) == ["mine", "plain"]
    assert found.contenders.loc["peek", "excluded"] == note
    assert found.contenders.index[-1] == "peek"
    assert one(found, "best average rank").startswith("`mine` has")
    assert one(found, "`peek`", "its figures are not results", "excluded")
    with pytest.raises(ValueError, match=f"baseline='peek' {note}.*choose another baseline"):
        study.report(whole, "peek")


def test_variants_are_told_apart_by_their_numbers():
    whole = table({"plain": 0, "mine": 0.05})
    whole.loc[whole["variant"] == "mine", "numbers"] = '{"share": 0.1, "decay": 0.9}'
    other = whole[whole["variant"] == "mine"].assign(numbers='{"share": 0.2}')
    found = study.report(pd.concat([whole, other]), "mine (share=0.2)")
    assert set(found.contenders.index) == {
        *("plain", "mine (decay=0.9, share=0.1)", "mine (share=0.2)")
    }


def test_another_metric_decides():
    whole = table({"plain": 0, "mine": 0.05})
    whole["average_precision"] = 1 - whole["auroc"]
    found = study.report(whole, "plain", "average_precision")
    assert found.differences.loc["mine", "conclusion"] == "worse"
    assert one(found, "points of AP on average")


def test_a_report_is_the_same_each_time(rng):
    whole = table({"plain": 0, "mine": 0.02 * rng.normal(size=12)}, noise=0.01)
    first, second = study.report(whole, "plain"), study.report(whole.sample(frac=1), "plain")
    assert first.text() == second.text()


def test_text_and_markdown_hold_every_contender_and_sentence():
    whole = table({"plain": 0, "a|b": 0.05})
    found = study.report(whole, "plain")
    rows = found.markdown().split("\n\n")
    assert rows[0].splitlines() == [f"- {sentence}" for sentence in found.sentences]
    for part in rows[1:]:
        cells = {len(re.findall(r"(?<!\\)\|", line)) for line in part.splitlines()}
        assert len(cells) == 1  # as many columns in every line
    assert "| a\\|b | 1.00 |" in rows[1]
    assert found.text() == str(found)
    assert all(f"* {sentence}" in str(found) for sentence in found.sentences)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda t: t.to_dict(), TypeError, "table is a dict: pass a pandas DataFrame"),
        (lambda t: t.drop(columns=["note", "seed"]), ValueError, "no column 'seed', 'note'"),
        (lambda t: t[:0], ValueError, "table has no rows"),
        (lambda t: pd.concat([t, t[:2]]), ValueError, "2 duplicate rows, first 'plain' on 'set00'"),
        (lambda t: t.assign(auroc=80.0), ValueError, "divide percentages by 100"),
        (lambda t: t.assign(numbers="share"), ValueError, "not JSON text of an object"),
        (lambda t: t.assign(numbers=None), ValueError, "not JSON text of an object"),
    ],
)
def test_a_bad_table_is_refused(change, error, message):
    with pytest.raises(error, match=message):
        study.report(change(table({"plain": 0, "mine": 0.1})), "plain")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"baseline": "plane"}, "baseline='plane' is not one of: 'mine', 'plain'"),
        ({"metric": "accuracy"}, "metric='accuracy' is not one of: 'auroc'"),
        ({"rope": 0}, "rope=0 is outside"),
        ({"level": 1}, "level=1 is outside"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        study.report(table({"plain": 0, "mine": 0.1}), **{"baseline": "plain"} | arguments)


def test_by_set_refuses_an_unknown_contender():
    with pytest.raises(ValueError, match="contender='x' is not one of"):
        study.report(table({"plain": 0, "mine": 0.1}), "plain").by_set("x")


def test_chance_is_seldom_claimed_to_be_a_difference(monkeypatch):
    """Of 30 tables with three contenders that differ by chance alone, few lead to a claim."""
    unknown = study.statistics.Posterior(np.nan, np.nan, np.nan)  # slow, and not asked for a claim
    module = importlib.import_module("jaxad.study.report")
    monkeypatch.setattr(module, "signed_rank_posterior", lambda *_: unknown)
    claims = 0
    for seed in range(30):
        rng = np.random.default_rng(seed)
        variants = {"plain": 0} | {f"v{i}": 0.03 * rng.normal(size=15) for i in range(3)}
        found = study.report(table(variants, sets=15, seeds=1), "plain")
        claims += found.differences["conclusion"].isin(["better", "worse"]).any()
    assert claims <= 5  # at most 1.5 are expected; more than 5 have a probability under 0.005
