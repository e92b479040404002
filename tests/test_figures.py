from __future__ import annotations

import hashlib
import math
import os
import re
import struct
import subprocess
import sys
import warnings
from pathlib import Path
from xml.etree import ElementTree

import pytest

from analysis.figures import Points, Series, betas_figure, categories_figure, mixes_figure, save
from analysis.plotting import DOUBLE, FORMATS, SINGLE, STYLES
from analysis.statistics import Estimate
from experiment.errors import KirjoError

matplotlib = pytest.importorskip("matplotlib", reason="matplotlib is not installed: pip install 'kirjo[figures]'")


def share(value: float, half: float = 0.05) -> Estimate:
    return Estimate(value, max(0.0, value - half), min(1.0, value + half), 1, None)


SIZES = {
    "startend": 65,
    "change_case": 89,
    "combination": 61,
    "detectable_content": 51,
    "detectable_format": 155,
    "keywords": 160,
    "length_constraints": 142,
    "punctuation": 60,
}


def categories(width=DOUBLE):
    english = [(name, n, share(n / 200)) for name, n in SIZES.items()]
    finnish = [(name, n, None if name == "punctuation" else share(n / 250)) for name, n in SIZES.items()]
    return categories_figure([Series("English", english), Series("Finnish", finnish)], "By category", width)


def betas():
    english = Points("English", [(0.1, share(0.42)), (0.01, share(0.41)), (0.05, share(0.43))])
    finnish = Points("Finnish", [(0.01, share(0.31)), (0.05, None), (0.1, share(0.33))])
    published = {"English": (0.05, 44.69), "Finnish": (0.05, 37.8)}
    return betas_figure([english, finnish], 0.05, "highest mean accuracy of both languages", published, "Over beta")


def mixes():
    finnish = Points("Finnish", [(mix, share(0.3 + mix / 2000)) for mix in (0, 10, 20, 40, 60, 80, 100)])
    language = Points("Finnish", [(0, share(0.47)), (10, None), (100, share(0.96))])
    return mixes_figure([finnish], {"Finnish": {0: 31.41, 100: 34.48}}, [language], {"Finnish": {0: 47.45}}, "Over mix")


FIGURES = {
    "categories": categories,
    "narrow": lambda: categories(SINGLE),
    "betas": betas,
    "mixes": mixes,
}


def texts(figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(matplotlib.text.Text) if text.get_text()]


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        yield


# Files


@pytest.mark.parametrize("name", FIGURES)
def test_the_files_are_valid_and_of_the_asked_size(name, tmp_path):
    figure = FIGURES[name]()
    paths = save(figure, tmp_path / "new" / name)
    assert [path.name for path in paths] == [f"{name}.pdf", f"{name}.svg", f"{name}.png"]
    pdf, svg, png = (path.read_bytes() for path in paths)
    width, height = figure.get_size_inches()
    assert width in (SINGLE, DOUBLE)
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    assert struct.unpack(">II", png[16:24]) == pytest.approx((300 * width, 300 * height), abs=1)  # whole pixels
    assert pdf.startswith(b"%PDF")
    assert b"/FontFile2" in pdf
    assert b"/Type3" not in pdf
    box = [float(number) for number in re.search(rb"/MediaBox \[([^\]]*)\]", pdf)[1].split()]
    assert box[2:] == pytest.approx([72 * width, 72 * height], abs=0.1)
    root = ElementTree.fromstring(svg)
    shown = {"".join(element.itertext()).strip() for element in root.iter("{http://www.w3.org/2000/svg}text")}
    expected = {"categories": {"English", "n=160"}, "betas": {"chosen: 0.05"}, "mixes": {"accuracy, %"}}
    assert expected.get(name, set()) <= shown
    assert re.search(rb"font-family: 'DejaVu Sans', sans-serif", svg)


def test_a_path_with_an_ending_gives_that_file(tmp_path):
    assert save(betas(), tmp_path / "a.b.svg") == [tmp_path / "a.b.svg"]
    assert save(betas(), str(tmp_path / "v1.5"), ["png"]) == [tmp_path / "v1.5.png"]


def test_what_cannot_be_saved_is_said(tmp_path):
    with pytest.raises(KirjoError, match="no figure format 'gif'; there are: pdf, svg, png"):
        save(betas(), tmp_path / "a", ["gif"])
    (tmp_path / "file").write_text("")
    with pytest.raises(KirjoError, match="cannot be written to"):
        save(betas(), tmp_path / "file" / "a.svg")


def digests(folder: Path) -> str:
    found = [path for name, figure in FIGURES.items() for path in save(figure(), folder / name)]
    return " ".join(hashlib.sha256(path.read_bytes()).hexdigest() for path in found)


def test_the_bytes_are_the_same_in_another_process(tmp_path):
    code = "import pathlib, sys; from tests.test_figures import digests; print(digests(pathlib.Path(sys.argv[1])))"
    environment = {**os.environ, "PYTHONHASHSEED": "77", "TZ": "Asia/Tokyo", "SOURCE_DATE_EPOCH": ""}
    del environment["SOURCE_DATE_EPOCH"]
    root = Path(__file__).parents[1]
    command = [sys.executable, "-c", code, str(tmp_path / "other")]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == digests(tmp_path)


def test_a_users_matplotlib_settings_change_nothing(tmp_path):
    before = digests(tmp_path / "a")
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "black", "text.usetex": True}):
        assert digests(tmp_path / "b") == before
        assert matplotlib.rcParams["font.size"] == 30


def test_pyplot_is_not_needed():
    code = "import sys; from tests.test_figures import betas; betas(); assert 'matplotlib.pyplot' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1], check=True)


def test_matplotlib_is_imported_only_when_a_figure_is_made():
    code = "import sys, analysis.figures; assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1], check=True)


# What is shown


@pytest.mark.parametrize("name", FIGURES)
def test_every_text_is_of_seven_points_or_more(name):
    figure = FIGURES[name]()
    figure.draw_without_rendering()
    shown = [text for text in figure.findobj(matplotlib.text.Text) if text.get_text() and text.get_visible()]
    assert shown
    assert min(text.get_fontsize() for text in shown) >= 7


@pytest.mark.parametrize("name", FIGURES)
def test_nothing_leaves_the_figure(name):
    figure = FIGURES[name]()
    figure.draw_without_rendering()
    box, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert min(box.x0, box.y0) > -0.01
    assert box.x1 < width + 0.01
    assert box.y1 < height + 0.01


def test_categories_are_in_alphabetical_order_with_their_sizes():
    labels = [text.get_text() for text in categories(SINGLE).axes[0].get_yticklabels()]
    assert labels == [f"{name}\nn={SIZES[name]}" for name in sorted(SIZES)]


def test_a_missing_result_is_named_and_is_no_zero():
    figure = categories()
    assert "missing" in texts(figure)
    assert any(text.endswith("Missing: Finnish punctuation.") for text in texts(figure))
    assert len(figure.axes[0].patches) == 2 * len(SIZES) - 1
    figure = betas()
    assert any("Missing: Finnish beta 0.05." in text for text in texts(figure))
    (line,) = [line for line in figure.axes[0].lines if line.get_label() == "Finnish"]
    assert [math.isnan(y) for y in line.get_ydata()] == [False, True, False]
    assert any("Missing: Finnish mix 10 (Finnish)." in text for text in texts(mixes()))


def test_the_chosen_beta_and_its_rule_are_named():
    shown = texts(betas())
    assert "chosen: 0.05" in shown
    assert any("highest mean accuracy of both" in " ".join(text.split()) for text in shown)


def test_shares_are_in_percent_and_published_values_hollow():
    (line,) = [line for line in betas().axes[0].lines if line.get_label() == "English, published"]
    assert list(line.get_ydata()) == [44.69]
    assert line.get_markerfacecolor() == "white"
    (line,) = [line for line in betas().axes[0].lines if line.get_label() == "English"]
    assert list(line.get_ydata()) == pytest.approx([41, 43, 42])


def test_one_point_is_enough(tmp_path):
    save(categories_figure([Series("English", [("keywords", 160, share(0.4))])]), tmp_path / "a")
    save(betas_figure([Points("English", [(0.05, share(0.4))])], 0.05, "", width=DOUBLE), tmp_path / "b")
    save(mixes_figure([Points("English", [(0, share(0.0, 0.0))])]), tmp_path / "c")
    save(mixes_figure([], language=[Points("Finnish", [(0, share(1.0))])]), tmp_path / "d")
    assert {path.name for path in tmp_path.iterdir()} == {f"{name}.{end}" for name in "abcd" for end in FORMATS}
    (line,) = [
        line
        for line in betas_figure([Points("English", [(0.05, share(0.4))])], 0.05, "").axes[0].lines
        if line.get_label() == "English"
    ]
    assert line.get_xydata().tolist() == [[pytest.approx(0.05), pytest.approx(40)]]


@pytest.mark.parametrize(
    "make",
    [
        lambda: categories_figure([]),
        lambda: categories_figure([Series("English", [("keywords", 160, None)])]),
        lambda: betas_figure([], 0.05, "rule"),
        lambda: mixes_figure([Points("English", [(0, None)])]),
    ],
)
def test_nothing_to_show_is_an_error(make):
    with pytest.raises(KirjoError, match="needs at least one result, but there is none"):
        make()


def test_a_beta_of_zero_is_refused():
    with pytest.raises(KirjoError, match="above 0"):
        betas_figure([Points("English", [(0.0, share(0.4))])], 0.05, "rule")


def test_any_text_can_be_a_label(tmp_path):
    nasty = "$x_1$ & <b> \x00 \x1b é −"
    for path in save(categories_figure([Series(nasty, [(nasty, 1, share(0.5))])], nasty), tmp_path / "a"):
        assert path.stat().st_size
    assert "$x_1$ & <b>" in "".join(ElementTree.parse(tmp_path / "a.svg").getroot().itertext())


# Colours


def luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_every_colour_stands_out_from_the_paper():
    assert min(contrast(style.colour, "#ffffff") for style in STYLES) >= 3


def test_series_are_told_apart_without_colour():
    for field in ("colour", "hatch", "marker", "line"):
        assert len({getattr(style, field) for style in STYLES}) == len(STYLES)
    # The two languages, which stand side by side, differ in lightness also.
    assert contrast(STYLES[0].fill, STYLES[1].fill) >= 3


def test_series_are_told_apart_by_the_colour_blind():
    # Viénot, Brettel and Mollon (1999): what is left of linear RGB without the red or the green cones.
    lost = {"protan": ((0.11238, 0.88762, 0), (0.11238, 0.88762, 0), (0.00401, -0.00401, 1)),
            "deutan": ((0.29275, 0.70725, 0), (0.29275, 0.70725, 0), (-0.02234, 0.02234, 1))}  # fmt: skip
    for matrix in lost.values():
        seen = []
        for style in STYLES:
            linear = [(int(style.colour[place : place + 2], 16) / 255) ** 2.2 for place in (1, 3, 5)]
            seen.append([max(0, sum(a * b for a, b in zip(row, linear, strict=True))) ** (1 / 2.2) for row in matrix])
        assert min(math.dist(a, b) for i, a in enumerate(seen) for b in seen[:i]) > 0.1
