"""Statistics of comparisons: published examples, scipy, simulation, and coverage of intervals."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from jaxad.study import statistics as compared

# Demšar (JMLR 2006), table 6: AUROC of C4.5, C4.5+m, C4.5+cf and C4.5+m+cf on 14 sets. On "voting"
# the last two are ranked 2 and 3 by digits that are not printed.
DEMSAR = np.array(
    [
        [0.763, 0.768, 0.771, 0.798],
        [0.599, 0.591, 0.590, 0.569],
        [0.954, 0.971, 0.968, 0.967],
        [0.628, 0.661, 0.654, 0.657],
        [0.882, 0.888, 0.886, 0.898],
        [0.936, 0.931, 0.916, 0.931],
        [0.661, 0.668, 0.609, 0.685],
        [0.583, 0.583, 0.563, 0.625],
        [0.775, 0.838, 0.866, 0.875],
        [1.000, 1.000, 1.000, 1.000],
        [0.940, 0.962, 0.965, 0.962],
        [0.619, 0.666, 0.614, 0.669],
        [0.972, 0.981, 0.9751, 0.975],
        [0.957, 0.978, 0.946, 0.970],
    ]
)


def test_ranks_of_demsars_example():
    np.testing.assert_allclose(
        compared.average_ranks(DEMSAR), [3.143, 2.000, 2.893, 1.964], atol=5e-4
    )
    found = compared.ranking(pd.DataFrame(DEMSAR, columns=["C", "C+m", "C+cf", "C+m+cf"]))
    assert list(found.ranks.index) == ["C+m+cf", "C+m", "C+cf", "C"]
    assert found.critical_difference == pytest.approx(1.25, abs=5e-3)
    assert found.sets == 14


def test_wilcoxons_test_of_demsars_example():
    """Section 3.1.3: T = 12 with zeros split is significant, as T = 21 would still be."""
    difference = compared.differences(DEMSAR[:, 1], DEMSAR[:, 0])
    assert compared.wilcoxon(difference) == pytest.approx(enumerated(difference))
    assert compared.wilcoxon(difference) < 0.05
    ranks = np.arange(1.0, 15)
    reached, missed = (np.where(np.isin(ranks, lost), -ranks, ranks) for lost in ([8, 13], [9, 13]))
    assert compared.wilcoxon(reached) <= 0.05 < compared.wilcoxon(missed)


def test_holms_procedure_of_demsars_example():
    """Section 3.2.2: z of 2.416, 2.342 and 0.512 against C4.5."""
    p = 2 * stats.norm.sf([0.512, 2.342, 2.416])
    np.testing.assert_allclose(p, [0.607, 0.019, 0.016], atol=2e-3)
    np.testing.assert_allclose(compared.holm(p), [p[0], 3 * p[2], 3 * p[2]])


def test_corrected_p_values_are_holms():
    """By the definition: the i-th smallest of m is multiplied by m - i + 1, and none falls."""
    p = np.array([0.03, 0.005, 0.2, 0.011, np.nan, 0.6])
    expected = [0.09, 0.025, 0.4, 0.044, np.nan, 0.6]
    np.testing.assert_allclose(compared.holm(p), expected)


def test_paired_differences_are_those_of_a_t_test(rng):
    first, second = rng.normal(size=(2, 12))
    found = compared.paired([*first, np.nan], [*second, 0.0])
    expected = stats.ttest_rel(first, second)
    np.testing.assert_allclose(found.p, expected.pvalue)
    np.testing.assert_allclose(found.mean / found.error, expected.statistic)
    np.testing.assert_allclose(found.median, np.median(first - second))
    assert found.sets == found.wins + found.losses == 12
    assert np.isnan(compared.paired([1.0, 2.0], [0.0, 1.0]).p)


def test_differences_that_are_equal_but_for_rounding_tie():
    assert compared.paired([0.3, 0.7], [0.1 + 0.2, 0.7]).ties == 2
    difference = compared.differences([0.52, 0.43, 0.64], [0.5, 0.41, 0.66])
    assert len(set(np.abs(difference))) == 1


def enumerated(difference):
    """The exact p-value of the signed-rank test: all signs alike likely, ranks of zeros left out.

    Splitting ranks of zeros adds the same to both sums, so it does not change the distribution.
    """
    ranks = stats.rankdata(np.abs(difference))[difference != 0]
    signs = np.array(np.meshgrid(*[[-1, 1]] * len(ranks))).reshape(len(ranks), -1)
    sums = ranks @ signs
    observed = ranks @ np.sign(difference[difference != 0])
    return (np.abs(sums) >= abs(observed) - 1e-9).mean()


@pytest.mark.parametrize(
    "difference",
    [
        [0.01, 0.02, 0.03, -0.04, 0.05, 0.06],  # no ties
        [0.01, 0.01, 0.02, -0.01, 0.02, 0.03, 0.03],
        [0.0, 0.0, 0.01, 0.02, 0.03, 0.04, -0.01],  # zeros
        [0.01] * 6,
    ],
)
def test_wilcoxons_p_is_exact_with_ties_and_zeros(difference):
    difference = np.array(difference)
    assert compared.wilcoxon(difference) == pytest.approx(enumerated(difference), rel=1e-6)


@pytest.mark.parametrize("sets", [7, 25, 49])
def test_wilcoxons_p_is_scipys_without_ties(rng, sets):
    difference = rng.normal(0.3, 1, sets)
    expected = stats.wilcoxon(difference, method="exact").pvalue
    np.testing.assert_allclose(compared.wilcoxon(difference), expected)


def test_wilcoxons_test_without_differences():
    assert compared.wilcoxon(np.zeros(8)) == 1
    assert np.isnan(compared.wilcoxon([]))


@pytest.mark.parametrize(("level", "tests"), [(0.05, 1), (0.05, 4), (0.01, 1), (0.0625, 1)])
def test_the_fewest_sets_are_where_wilcoxons_test_can_reach_the_level(level, tests):
    fewest = compared.fewest_sets(level, tests)
    won = np.arange(1.0, fewest + 1)
    assert tests * compared.wilcoxon(won) <= level < tests * compared.wilcoxon(won[:-1])


def test_that_many_sets_show_the_effect(rng):
    """Simulated: Wilcoxon's test finds a difference of one point about four times in five."""
    sets = compared.sets_to_show(0.01, 0.02)
    draws = rng.normal(0.01, 0.02, (400, sets))
    found = np.mean([compared.wilcoxon(draw) <= 0.05 for draw in draws])
    assert 0.72 < found < 0.88  # standard error 0.02


def test_friedmans_test_is_scipys_and_needs_three_detectors(rng):
    figures = rng.normal(size=(12, 4)) + [0, 0, 1, 2]
    expected = stats.friedmanchisquare(*figures.T).pvalue
    np.testing.assert_allclose(compared.friedman(figures), expected)
    assert expected < 0.05
    assert np.isnan(compared.friedman(figures[:, :2]))
    assert np.isnan(compared.friedman(np.ones((12, 4))))


@pytest.mark.parametrize(
    ("detectors", "sets", "q"), [(2, 10, 1.960), (4, 14, 2.569), (7, 20, 2.949), (10, 30, 3.164)]
)
def test_the_critical_difference_is_nemenyis(detectors, sets, q):
    """q from table 5 of Demšar (JMLR 2006)."""
    expected = q * np.sqrt(detectors * (detectors + 1) / (6 * sets))
    np.testing.assert_allclose(compared.critical_difference(detectors, sets), expected, rtol=5e-4)


def test_cliques_are_all_largest_groups_without_a_difference(rng):
    """Against a search through all subsets."""
    for _ in range(20):
        p = rng.uniform(size=(6, 6)) * 0.12
        p = np.minimum(p, p.T)
        subsets = [
            tuple(i for i in range(6) if mask >> i & 1)
            for mask in range(64)
            if mask.bit_count() > 1
        ]
        alike = [s for s in subsets if all(p[i, j] > 0.05 for i in s for j in s if i != j)]
        largest = [s for s in alike if not any(set(s) < set(other) for other in alike)]
        assert compared.cliques(p) == sorted(largest)


def test_cliques_of_many_equal_contenders_take_no_time():
    assert compared.cliques(np.ones((60, 60))) == [tuple(range(60))]


def test_pairs_are_tested_by_wilcoxon_and_corrected_for_all_pairs(rng):
    figures = rng.normal(size=(15, 3)) + [0, 0, 1]
    p = compared.pairwise(figures)
    pairs = [(0, 1), (0, 2), (1, 2)]
    alone = [stats.wilcoxon(figures[:, i], figures[:, j]).pvalue for i, j in pairs]
    np.testing.assert_allclose([p[pair] for pair in pairs], compared.holm(alone))
    np.testing.assert_allclose(p, p.T)


def test_a_planted_ranking_has_its_cliques(rng):
    level = rng.uniform(0.5, 0.8, (30, 1))
    noise = 0.002 * rng.normal(size=(30, 4))
    names = ["low", "also low", "high", "also high"]
    found = compared.ranking(pd.DataFrame(level + noise + [0, 0, 0.1, 0.1], columns=names))
    assert sorted(map(sorted, found.cliques)) == [["also high", "high"], ["also low", "low"]]


def test_a_ranking_needs_a_shared_set():
    with pytest.raises(ValueError, match="no set has a figure of every contender"):
        compared.ranking(pd.DataFrame({"a": [np.nan, 1.0], "b": [1.0, np.nan]}))


def direct_posterior(difference, rope, samples, rng):
    """Benavoli et al. (2017), section 4.2, without baycomp: a prior of 1/2 on a difference of 0."""
    values = np.r_[0.0, difference]
    weights = rng.dirichlet(np.r_[0.5, np.ones(len(difference))], samples)
    sums = values[:, None] + values
    above = np.einsum("si,ij,sj->s", weights, (sums > 2 * rope).astype(float), weights)
    below = np.einsum("si,ij,sj->s", weights, (sums < -2 * rope).astype(float), weights)
    winner = np.argmax([above, 1 - above - below, below], axis=0)
    return np.bincount(winner, minlength=3) / samples


@pytest.mark.parametrize("mean", [0.0, 0.012, -0.02])
def test_the_bayesian_test_is_a_direct_dirichlet_simulation(rng, mean):
    pytest.importorskip("baycomp")
    difference = rng.normal(mean, 0.02, 15)
    expected = direct_posterior(difference, 0.01, 20_000, rng)
    found = compared.signed_rank_posterior(difference)
    np.testing.assert_allclose(found, expected, atol=0.025)  # five standard errors
    assert found == compared.signed_rank_posterior(difference)
    assert found == compared.signed_rank_posterior(-difference)[::-1]


def test_without_baycomp_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "baycomp", None)
    with pytest.raises(ImportError, match=r"pip install 'jaxad\[study\]'"):
        compared.signed_rank_posterior([0.1, 0.2])


def test_baycomp_is_imported_when_it_is_used():
    code = "import sys; from jaxad import study; assert 'baycomp' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


DRAWS = {
    "normal": lambda rng, n: rng.normal(0.02, 0.03, n),
    "heavy tails": lambda rng, n: 0.02 + 0.02 * rng.standard_t(2.5, n),
}


@pytest.mark.parametrize("kind", DRAWS)
@pytest.mark.parametrize("sets", [8, 30])
def test_intervals_cover_the_true_mean(kind, sets):
    rng, runs = np.random.default_rng(1), 500
    covered = {"t": 0, "bootstrap": 0}
    for _ in range(runs):
        values = DRAWS[kind](rng, sets)
        for name, found in (
            ("t", compared.mean_interval(values)),
            ("bootstrap", compared.bootstrap_interval(values, resamples=999)),
        ):
            covered[name] += found.low <= 0.02 <= found.high
            assert found.low <= found.mean <= found.high
    for count in covered.values():
        assert 0.92 < count / runs < 0.99  # standard error 0.01


def test_the_t_interval_is_scipys(rng):
    values = rng.normal(size=9)
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.9)
    found = compared.mean_interval([*values, np.nan], 0.1)
    np.testing.assert_allclose(found[1:], expected)


@pytest.mark.parametrize("interval", [compared.mean_interval, compared.bootstrap_interval])
def test_intervals_of_few_or_equal_values(interval):
    assert np.isnan(interval([])).all()
    assert interval([0.3])[0] == 0.3
    assert np.isnan(interval([0.3])[1:]).all()
    np.testing.assert_allclose(interval([0.25] * 5), 0.25)


def test_a_pair_at_the_level_differs():
    assert compared.cliques(np.array([[1.0, 0.05], [0.05, 1.0]])) == []
    assert compared.cliques(np.array([[1.0, 0.0501], [0.0501, 1.0]])) == [(0, 1)]
