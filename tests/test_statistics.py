"""Intervals, paired comparisons and seeds: rules that hold for all results, and known cases by other libraries."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import astuple

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint, proportions_ztest

from analysis.proportions import Part, holm, quantile, satterthwaite, two_sided, wilson
from analysis.resampling import Column, resample, sign_flips
from analysis.statistics import (
    Difference,
    against_published,
    corrected,
    differences,
    estimates,
    published_difference,
)
from experiment.errors import DataError, KirjoError
from experiment.metrics import Count, Tally

FEW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def tally(correct, total=None, keys=None) -> Tally:
    correct = np.asarray(correct, dtype=np.int64)
    total = np.ones_like(correct) if total is None else np.asarray(total, dtype=np.int64)
    keys = np.arange(len(correct)) if keys is None else np.asarray(keys)
    return Tally(keys.astype(np.int64), correct, total)


def drawn(seed: int, share: float, total) -> Tally:
    return tally(np.random.default_rng(seed).binomial(total, share), total)


TOTAL = np.random.default_rng(0).choice([1, 2, 3], p=[0.6, 0.27, 0.13], size=150)


@st.composite
def tables(draw, cells: int = 2, most_seeds: int = 3):
    """Some cells of one to three seeds over the same prompts."""
    total = draw(st.lists(st.integers(1, 3), min_size=1, max_size=12))
    prompt = st.tuples(*(st.integers(0, most) for most in total))
    return [[tally(draw(prompt), total) for _ in range(draw(st.integers(1, most_seeds)))] for _ in range(cells)]


def shuffled(cell: list[Tally], seed: int) -> list[Tally]:
    order = np.random.default_rng(seed).permutation(len(cell[0].keys))
    return [Tally(one.keys[order], one.correct[order], one.total[order]) for one in cell]


# Rules that hold for all results.


@FEW
@given(tables(cells=3))
def test_an_interval_lies_between_0_and_1_and_holds_the_share(cells):
    for cell, found in zip(cells, estimates(cells), strict=True):
        assert 0 <= found.low <= found.share <= found.high <= 1
        assert found.low < found.high
        assert found.seeds == len(cell)
        assert (found.spread is None) == (len(cell) == 1)
        assert found.share == pytest.approx(np.mean([one.count.share for one in cell]))


@FEW
@given(tables(cells=3), st.integers(0, 99))
def test_order_of_cells_of_prompts_and_of_seeds_is_of_no_account(cells, seed):
    first, second, third = cells
    assert estimates(cells) == estimates(cells[::-1])[::-1]
    assert estimates([first]) == estimates(cells)[:1]
    assert estimates([shuffled(cell, seed) for cell in cells]) == estimates(cells)
    for one, other in zip(estimates([first[::-1]]), estimates([first]), strict=True):
        assert astuple(one)[:4] == pytest.approx(astuple(other)[:4])
    assert differences([second, third], first) == differences([third, second], first)[::-1]
    assert differences([shuffled(second, seed)], first) == differences([second], shuffled(first, seed + 1))


@FEW
@given(tables())
def test_a_difference_is_finite_and_its_interval_holds_it(cells):
    one, other = cells
    for found in (*differences([one], other), against_published(one, other[0].count)):
        assert all(math.isfinite(value) for value in astuple(found))
        assert -1 <= found.low <= found.difference <= found.high <= 1
        assert 0 <= found.p <= found.p_adjusted <= 1


@FEW
@given(tables())
def test_the_other_way_round_only_the_sign_changes(cells):
    one, other = cells
    (there,), (back,) = differences([one], other), differences([other], one)
    assert back.difference == -there.difference
    assert (back.low, back.high, back.p) == pytest.approx((-there.high, -there.low, there.p))
    if len(one) == len(other) == 1:
        assert back.p == there.p


@FEW
@given(tables(cells=1))
def test_wrong_instead_of_right_mirrors_the_interval(cells):
    (cell,) = cells
    mirrored = [Tally(one.keys, one.total - one.correct, one.total) for one in cell]
    (found,), (mirror,) = estimates([cell]), estimates([mirrored])
    assert (mirror.share, mirror.low, mirror.high) == pytest.approx(
        (1 - found.share, 1 - found.high, 1 - found.low), abs=0.01
    )


@FEW
@given(tables(most_seeds=1))
def test_a_prompt_both_answer_alike_changes_no_p(cells):
    (one,), (other,) = cells
    size = len(one.keys)
    longer = [tally(np.append(row.correct, 1), np.append(row.total, 2)) for row in (one, other)]
    (before,), (after,) = differences([[one]], [other]), differences([[longer[0]]], [longer[1]])
    assert after.p == pytest.approx(before.p)
    assert len(longer[0].keys) == size + 1


@settings(FEW, max_examples=25)  # statsmodels takes 0.1 s a call
@given(st.lists(st.floats(0, 1), min_size=1, max_size=15))
def test_holm_keeps_the_order_lowers_nothing_and_is_that_of_statsmodels(values):
    found = holm(values)
    assert found == pytest.approx(list(multipletests(values, method="holm")[1]), abs=1e-15)
    assert all(after >= before for after, before in zip(found, values, strict=True))
    order = np.argsort(values, kind="stable")
    assert np.all(np.diff(np.array(found)[order]) >= 0)


@FEW
@given(st.lists(st.integers(-3, 3), min_size=1, max_size=10))
def test_sign_flips_counts_all_choices_of_signs(numbers):
    numbers = np.array(numbers)
    signs = 1 - 2 * ((np.arange(2 ** len(numbers))[:, None] >> np.arange(len(numbers))) & 1)
    expected = np.mean(np.abs(signs @ numbers) >= abs(numbers.sum()))
    assert sign_flips(numbers) == pytest.approx(expected)


# Known cases, by other libraries.


@pytest.mark.parametrize(("wins", "losses"), [(0, 1), (6, 0), (10, 2), (3, 3), (40, 20), (130, 90), (400, 100)])
def test_with_one_instruction_a_prompt_the_test_is_mcnemars(wins, losses):
    one = np.r_[np.ones(wins), np.zeros(losses), np.ones(20)]
    other = np.r_[np.zeros(wins), np.ones(losses), np.ones(20)]
    (found,) = differences([[tally(one)]], [tally(other)])
    assert found.p == pytest.approx(mcnemar([[20, wins], [losses, 0]], exact=True).pvalue)
    assert found.p == pytest.approx(stats.binomtest(wins, wins + losses).pvalue)


def test_with_several_instructions_the_test_is_scipys_permutation_test():
    total = TOTAL[:14]
    one, other = drawn(1, 0.8, total), drawn(2, 0.4, total)

    def statistic(left, right, axis):
        return np.sum(left - right, axis=axis)

    expected = stats.permutation_test(
        (one.correct, other.correct), statistic, permutation_type="samples", vectorized=True, n_resamples=np.inf
    )
    (found,) = differences([[one]], [other])
    assert found.p == pytest.approx(expected.pvalue)


def ratio(over, under, axis=-1):
    return np.sum(over, axis=axis) / np.sum(under, axis=axis)


@pytest.mark.parametrize("bound", [0, -1])
def test_the_variance_is_that_of_scipys_bootstrap_and_of_the_linearised_ratio(bound):
    over = drawn(1, 0.3, TOTAL).correct + bound * drawn(2, 0.4, TOTAL).correct
    (found,) = resample([Column(over, TOTAL, (TOTAL.sum(), bound * TOTAL.sum()))])
    size = TOTAL.mean()
    over, under = np.append(over, [size, bound * size]), np.append(TOTAL, [size, size])
    assert found.ratio == pytest.approx(ratio(over, under))
    residual = (over - found.ratio * under) / under.sum()
    assert found.variance == pytest.approx(float((residual**2).sum()), rel=0.04)
    by_scipy = stats.bootstrap(
        (over, under), ratio, paired=True, vectorized=True, n_resamples=9999, method="percentile", rng=1
    )
    assert found.variance**0.5 == pytest.approx(by_scipy.standard_error, rel=0.03)
    # ... and what half a normal interval is, half of SciPy's percentile interval is too
    half = (by_scipy.confidence_interval.high - by_scipy.confidence_interval.low) / 2
    assert 1.96 * found.variance**0.5 == pytest.approx(half, rel=0.05)


@pytest.mark.parametrize(("correct", "size"), [(0, 176), (1, 176), (60, 176), (119, 120), (120, 120), (270, 783)])
def test_with_one_instruction_a_prompt_the_interval_is_wilsons(correct, size):
    (found,) = estimates([[tally(np.arange(size) < correct)]])
    low, high = proportion_confint(correct, size, method="wilson")
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.003)
    assert wilson(correct / size, size, quantile(math.inf)) == pytest.approx((low, high))


def test_students_t_is_scipys():
    for freedom in (1, 2.5, 100):
        assert quantile(freedom) == pytest.approx(stats.t.ppf(0.975, freedom))
        assert two_sided(-2.1, freedom) == pytest.approx(2 * stats.t.sf(2.1, freedom))
    assert quantile(math.inf) == pytest.approx(stats.norm.ppf(0.975))


@pytest.mark.parametrize(("one", "other"), [((313, 783), (285, 783)), ((350, 783), (313, 783)), ((2, 176), (9, 120))])
def test_two_published_rows_are_compared_as_statsmodels_does(one, other):
    found = published_difference(Count(*one), Count(*other))
    counts, sizes = zip(one, other, strict=True)
    assert found.p == pytest.approx(proportions_ztest(counts, sizes)[1])
    expected = confint_proportions_2indep(*one, *other, method="newcomb", compare="diff")
    assert (found.low, found.high) == pytest.approx(expected)


def test_against_a_published_row_with_design_effect_1_it_is_the_z_test():
    one = tally(np.arange(510) < 220)
    found = against_published([one], Count(180, 510))
    assert found.p == pytest.approx(proportions_ztest([220, 180], [510, 510])[1], rel=0.1)
    expected = confint_proportions_2indep(220, 510, 180, 510, method="newcomb", compare="diff")
    assert (found.low, found.high) == pytest.approx(expected, abs=0.001)


def test_instructions_that_hang_together_count_as_one():
    alone = tally(np.arange(100) < 30)
    tripled = tally(3 * (np.arange(100) < 30), 3 * np.ones(100))
    (one,), (three,) = estimates([[alone]]), estimates([[tripled]])
    assert (three.low, three.high) == pytest.approx((one.low, one.high))
    once, thrice = against_published([alone], Count(45, 100)), against_published([tripled], Count(135, 300))
    assert astuple(thrice) == pytest.approx(astuple(once))


# Seeds.


def test_the_mean_over_seeds_its_spread_and_an_interval_of_both_sources():
    cell = [tally(np.arange(200) < correct) for correct in (60, 80, 100)]
    (found,) = estimates([cell])
    assert (found.share, found.seeds, found.spread) == (pytest.approx(0.4), 3, pytest.approx(0.1))
    (one,) = estimates([cell[:1]])
    assert one.spread is None
    assert found.high - found.low > one.high - one.low


def test_satterthwaite_is_welch():
    one, other = np.array([0.31, 0.35, 0.36]), np.array([0.41, 0.36, 0.44, 0.47])
    parts = [Part(float(seeds.var(ddof=1)) / len(seeds), len(seeds) - 1) for seeds in (one, other)]
    total = satterthwaite(parts)
    welch = stats.ttest_ind(one, other, equal_var=False)
    assert total.freedom == pytest.approx(welch.df)
    assert two_sided((one.mean() - other.mean()) / total.variance**0.5, total.freedom) == pytest.approx(welch.pvalue)


def test_what_one_seed_shows_seeds_that_differ_take_back():
    good, bad = drawn(1, 0.5, TOTAL), drawn(2, 0.3, TOTAL)
    (single,) = differences([[good]], [bad])
    (several,) = differences([[good, drawn(3, 0.2, TOTAL)]], [bad, drawn(4, 0.4, TOTAL)])
    assert single.p < 0.01
    assert several.p > 0.1
    assert several.low < 0 < several.high


def test_one_seed_is_taken_to_spread_as_the_several_of_the_other():
    several = [drawn(seed, share, TOTAL) for seed, share in ((1, 0.3), (2, 0.5), (3, 0.4))]
    (found,) = differences([several], [drawn(4, 0.4, TOTAL)])
    (three,) = differences([several], [drawn(4, 0.4, TOTAL)] * 3)
    assert found.high - found.low > three.high - three.low


# Edges.


def test_nothing_gives_nothing():
    assert estimates([]) == []
    assert differences([], [tally([1])]) == []
    assert corrected([]) == []


def test_no_prompts_leave_everything_open():
    empty = [tally([])]
    assert astuple(estimates([empty])[0]) == (0, 0, 1, 1, None)
    assert astuple(differences([[tally([])]], empty)[0]) == (0, -1, 1, 1, 1)
    assert against_published(empty, Count(1, 2)).p == 1
    assert published_difference(Count(0, 0), Count(1, 2)).p == 1


@pytest.mark.parametrize("right", [0, 1])
def test_one_prompt_says_next_to_nothing(right):
    (found,) = estimates([[tally([right])]])
    assert found.high - found.low > 0.97
    (apart,) = differences([[tally([right])]], [tally([1 - right])])
    assert apart.p == 1
    assert apart.low < 0 < apart.high


@pytest.mark.parametrize("share", [0, 1])
def test_all_or_none_right_has_an_interval_with_prompts_as_the_unit(share):
    total = np.where(np.arange(120) < 56, 2, 1)
    (found,) = estimates([[tally(share * total, total)]])
    assert found.share == share
    low, high = proportion_confint(120 * share, 120, method="wilson")
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.002)


def test_one_more_right_never_lowers_the_interval():
    total = np.where(np.arange(120) < 56, 2, 1)
    found = estimates([[tally(np.arange(120) >= 120 - right, total)] for right in range(20)])
    assert np.all(np.diff([one.low for one in found]) > 0)
    assert np.all(np.diff([one.high for one in found]) > 0)


def test_two_runs_that_answer_alike_cannot_be_told_apart():
    cell = [drawn(1, 0.4, TOTAL)]
    (found,) = differences([list(cell)], cell)
    assert (found.difference, found.p) == (0, 1)
    assert -0.05 < found.low < 0 < found.high < 0.05
    both = [*cell, *cell]
    assert differences([both], both[:])[0].p == 1


def test_the_baseline_itself_is_no_comparison():
    base, other, third = ([drawn(seed, share, TOTAL)] for seed, share in ((1, 0.3), (2, 0.45), (3, 0.4)))
    itself, *rest = differences([base, other, third], base)
    assert astuple(itself) == (0, 0, 0, 1, 1)
    assert rest == differences([other, third], base)
    assert [one.p_adjusted for one in rest] == pytest.approx(holm([one.p for one in rest]))


def test_what_was_not_measured_on_the_same_prompts_is_refused():
    here, there = tally([1, 0, 1]), tally([1, 0, 1], keys=[0, 1, 7])
    with pytest.raises(DataError, match=r"different prompts \(3 and 3; 2 are only in one of the two, e.g. 2, 7\)"):
        differences([[here]], [there])
    with pytest.raises(DataError, match="two seeds of a cell were measured on different prompts"):
        estimates([[here, there]])
    with pytest.raises(DataError, match=r"count different instructions on 1 prompts, e.g. 1 and 2 on prompt 2"):
        differences([[here]], [tally([1, 0, 1], [1, 1, 2])])
    with pytest.raises(KirjoError, match="one seed at least"):
        estimates([[]])


def test_corrected_is_holm_over_the_list():
    found = [Difference(0.1, 0.0, 0.2, p, p) for p in (0.04, 0.01, 0.03)]
    assert [one.p_adjusted for one in corrected(found)] == pytest.approx([0.06, 0.03, 0.06])


def test_neither_statsmodels_nor_scipy_stats_is_imported():
    code = (
        "import sys, numpy; from analysis.statistics import *; from experiment.metrics import Tally;"
        "one = [Tally(numpy.arange(9), numpy.arange(9) % 2, numpy.ones(9, int))]; differences([list(one)], one);"
        "print([name for name in ('scipy.stats', 'statsmodels', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
