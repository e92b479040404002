"""The published tables from their counts, and what is said of their differences."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from scipy import stats
from statsmodels.stats.proportion import proportions_ztest

from analysis import published
from analysis.published import Count
from analysis.published.__main__ import printed
from analysis.published.contrasts import COLUMNS, contrasts, pairs

DOC = Path(__file__).parent.parent / "docs" / "what-can-be-told.md"

# As printed in arXiv 2503.09407, Tables 1 and 2: English, Finnish, response language.
PRINTED = {
    "table1": {
        "en-fi-0pct": ("36.39", "31.41", "47.45"),
        "en-fi-10pct": ("39.97", "32.69", "90.00"),
        "en-fi-20pct": ("37.67", "28.60", "93.52"),
        "en-fi-40pct": ("39.20", "30.90", "96.27"),
        "en-fi-60pct": ("39.20", "32.95", "94.90"),
        "en-fi-80pct": ("38.56", "33.84", "96.27"),
        "en-fi-100pct": ("39.97", "34.48", "95.68"),
    },
    "table2": {
        "baseline": ("39.97", "34.48", "95.68"),
        "prompt masking": ("39.84", "32.56", "96.27"),
        "NEFTune": ("38.05", "32.69", "96.47"),
        "DPO-en": ("43.55", "36.65", "94.70"),
        "DPO-fi": ("41.76", "36.01", "95.49"),
        "DPO-both": ("44.69", "37.80", "95.49"),
    },
}


@pytest.mark.parametrize("table", published.TABLES)
def test_the_counts_give_the_tables_as_printed(table):
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in printed(table) if line.startswith("| ")]
    assert {row[0]: tuple(row[1:4]) for row in lines[1:]} == PRINTED[table]


@pytest.mark.parametrize("table", published.TABLES)
def test_no_other_count_would_be_printed_so(table):
    for row in published.rows(table).values():
        for count in (row.en, row.fi, row.response_language):
            alike = [k for k in range(count.total + 1) if Count(k, count.total).truncated == count.truncated]
            assert alike == [count.correct]


def test_some_percents_are_cut_and_not_rounded():
    values = [row.response_language for table in published.TABLES for row in published.rows(table).values()]
    assert any(count.truncated != count.rounded for count in values)


def test_the_source_says_where():
    origin = published.where_from("table2")
    assert (origin.table, origin.page) == ("Table 2", "?")
    assert "2503.09407" in origin.url
    assert "2503.09407" in published.source()


def test_rows_are_compared_with_the_first_and_mixes_with_their_neighbours():
    assert pairs("table1")[5:8] == [(100, 0), (20, 10), (40, 20)]
    assert pairs("table2")[-1] == ("dpo_both", "sft")


@pytest.mark.parametrize("column", COLUMNS)
def test_the_unpaired_p_is_that_of_statsmodels(column):
    for contrast in contrasts("table2", column):
        one, other = getattr(contrast.row, column), getattr(contrast.against, column)
        expected = proportions_ztest([one.correct, other.correct], [one.total, other.total])[1]
        assert contrast.difference.p == pytest.approx(expected)


def test_the_largest_discordance_is_the_last_that_mcnemars_test_bears():
    contrast = contrasts("table2", "en")[-1]
    gap = contrast.row.en.correct - contrast.against.en.correct
    assert contrast.alone is not None
    discordant = round(contrast.alone * 783)
    wins = (discordant + gap) // 2
    assert stats.binomtest(wins, 2 * wins - gap).pvalue < 0.05
    assert stats.binomtest(wins + 1, 2 * wins + 2 - gap).pvalue > 0.05
    assert contrast.together is not None
    assert contrast.together < contrast.alone < contrast.most


def test_a_difference_of_less_than_six_answers_is_told_by_no_test():
    small = [one for one in contrasts("table1", "en") if abs(one.row.en.correct - one.against.en.correct) < 6]
    assert small
    assert all(one.alone is None and one.together is None for one in small)


@pytest.mark.parametrize(
    "command", [["analysis.published"], ["analysis.published", "contrasts"], ["benchmarks.detectable"]]
)
def test_the_page_shows_what_the_commands_print(command):
    done = subprocess.run(
        [sys.executable, "-m", *command], capture_output=True, text=True, check=True, cwd=DOC.parent.parent
    )
    page = DOC.read_text(encoding="utf-8")
    lines = [line for line in done.stdout.splitlines() if line.startswith("|")]
    assert len(lines) > 10
    assert [line for line in lines if line not in page] == []
