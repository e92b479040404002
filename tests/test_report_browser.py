"""The report in a real browser, from disk: it works, and nothing in it runs or reaches out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from analysis.render.html import fragment
from analysis.report import write_report
from analysis.table import Cell, Panel, Table
from experiment.results import RunResult, load_results
from experiment.scoring.verdict import Verdict
from experiment.store import Store
from tests.browsers import ARGUMENTS, chromium
from tests.reports import NASTY, many, with_answers, words
from tests.stores import fill, plan, publish, record, verdict

api = pytest.importorskip("playwright.sync_api", reason="needs the package playwright")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(chromium() is None, reason="needs a Chromium on the PATH"),
]
SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="300" height="80"><script>window.top.pwned = 1</script>'
    '<rect width="300" height="80" onload="window.top.pwned = 1"/></svg>'
)
Open = Callable[..., "api.Page"]
STATUS = "#answers-box .status"


@pytest.fixture(scope="module")
def browser() -> Iterator[api.Browser]:
    with api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium(), args=ARGUMENTS)
        yield launched
        launched.close()


@pytest.fixture
def opened(browser) -> Iterator[Open]:
    """Open a report; at the end nothing may have been complained of, asked for elsewhere, or run."""
    pages, wrong = [], []

    def open_page(path: Path, hash: str = "", **options: object) -> api.Page:
        page = browser.new_page(**options)
        page.on("console", lambda message: wrong.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
        page.on("dialog", lambda dialog: (wrong.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("request", lambda request: request.url.startswith(("file:", "data:")) or wrong.append(request.url))
        page.goto(path.as_uri() + hash)
        page.wait_for_selector("html[data-ready=yes]")
        pages.append(page)
        return page

    yield open_page
    for page in pages:
        assert page.evaluate("window.pwned") is None
        assert page.locator("#failure").is_hidden(), page.locator("#failure").inner_text()
        page.close()
    assert wrong == []


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Path, list[RunResult]]:
    """Three runs, one of them not scored; a table, a figure, a learning curve."""
    folder = tmp_path_factory.mktemp("report")
    store = Store.open(folder / "store", create=True)
    for overrides, level, share in ((("mix=0",), 0.3, 0.5), (("mix=100",), 0.6, 0.9)):
        fill(store, plan("method=sft", *overrides), prompts=120, level=level, in_language=share)
    record(store, plan("method=dpo_both"))
    history = [{"step": step, "loss": 5 / step, "learning_rate": 1e-5} for step in range(1, 900)]
    publish(store, plan("method=sft", "mix=0").steps["sft"], "history.jsonl", history)
    runs = load_results(store)
    cells = tuple((Cell(run.name, "label"), Cell("1/2 (50.00)", runs=(run.id,))) for run in runs)
    table = Table("t", "A table", ("run", "n"), (Panel("", cells),))
    return write_report(folder / "report.html", runs, [(table, fragment(table))], [("A figure", SVG)], store), runs


def settled(page: api.Page) -> str:
    """What the status says once nothing is being searched."""
    page.wait_for_function("() => document.documentElement.dataset.shown === location.hash")
    return page.locator(STATUS).inner_text()


def left(page: api.Page) -> int:
    """How many prompts the filters leave."""
    return int(settled(page).split()[0])


def choose(page: api.Page, **values: str) -> int:
    """Set controls; how many prompts are left then."""
    for name, value in values.items():
        page.select_option(f"#answers-box [name={name}]", value)
        settled(page)
    return left(page)


def seek(page: api.Page, text: str) -> int:
    """Search; how many prompts are left then."""
    page.fill("#answers-box [name=q]", text)
    page.wait_for_timeout(250)  # the page waits for more letters
    return left(page)


def shown_key(page: api.Page) -> str:
    return page.locator(".detail h3").first.inner_text().removeprefix("Prompt ")


def pair(runs: list[RunResult]) -> tuple[RunResult, RunResult]:
    first, second = (run for run in runs if run.axes["method"] == "sft")
    return first, second


def test_it_opens_and_every_part_shows(made, opened):
    path, runs = made
    page = opened(path)
    assert page.locator(".kirjo td a").count() == len(runs)
    assert page.locator("figure img").evaluate("image => image.naturalWidth") == 300
    page.get_by_role("link", name="A figure (figure)").click()
    page.wait_for_function("() => scrollY > 0 || document.documentElement.scrollHeight <= innerHeight")
    for name, sign in (
        ("Plan", "distinct steps for 3 runs"),
        ("Learning curves", "optimizer step"),
        ("Runs", "The command that makes it"),
        ("Answers", "left by the filters"),
    ):
        page.get_by_role("navigation").get_by_role("link", name=name).click()
        page.get_by_text(sign).first.wait_for()
        assert page.locator("main > section:visible").count() == 1
    page.get_by_role("navigation").get_by_role("link", name="Tables").click()
    page.locator(".kirjo td a").nth(1).click()
    page.locator(".one h3", has_text=runs[1].name).wait_for()


def test_filters_leave_what_the_verdicts_say(made, opened):
    path, runs = made
    a, b = pair(runs)
    page = opened(path, f"#answers?lang=fi&a={a.id}&b={b.id}")
    mine, others = a.scored("fi"), b.scored("fi")
    prompts = len(mine.keys)

    def count(instructions) -> int:
        return len(set(mine.prompt[instructions]))

    def of(name: str):
        return [place for place, id in enumerate(mine.instruction_ids) if name in (id, id.split(":")[0])]

    assert left(page) == prompts == 120
    assert choose(page, cat="keywords") == count(of("keywords"))
    assert choose(page, cat="punctuation:no_comma") == count(of("punctuation:no_comma"))
    assert choose(page, cat="") == prompts
    for rules in mine.rules:
        gained, lost = (~mine.strict[rules] & others.strict[rules]), (mine.strict[rules] & ~others.strict[rules])
        assert choose(page, rules=rules, change="gained") == count(gained) > 0
        assert f"{gained.sum()} gained" in page.locator("#answers-box .facts").first.inner_text()
        assert choose(page, change="lost") == count(lost) > 0
        assert choose(page, change="either") == count(gained | lost)
        assert choose(page, change="same") == prompts - count(gained | lost)
    choose(page, change="", rules="paper")
    missed = count(~mine.strict["paper"])
    assert choose(page, **{"pass": "a-failed"}) == missed
    assert choose(page, **{"pass": "a-passed"}) == prompts - missed
    assert choose(page, kind="loose") == prompts - count(~mine.loose["paper"])
    choose(page, kind="strict", **{"pass": ""})
    wrong_a, wrong_b = ~mine.in_language(), ~others.in_language()
    assert choose(page, wrong="a") == wrong_a.sum()
    assert choose(page, wrong="either") == (wrong_a | wrong_b).sum()
    choose(page, wrong="")
    ours, theirs = a.scored("fi").languages["langdetect"], a.scored("fi").languages["py3langid"]
    assert choose(page, disagree="a") == sum(x != y for x, y in zip(ours, theirs, strict=True))
    page.get_by_role("button", name="Clear all filters").click()
    assert left(page) == prompts


def test_search_finds_text_in_any_case_and_composition(made, opened):
    path, runs = made
    a, b = pair(runs)
    page = opened(path, f"#answers?lang=fi&a={a.id}&b={b.id}")
    texts = [{row["key"]: row["prompt"] + row["response"] for row in run.responses("fi")} for run in (a, b)]
    for sought, plain in (("BYGGER HUS", "bygger hus"), ("kyla\u0308ssa\u0308", "kylässä"), ("(1003)", "(1003)")):
        expected = sum(any(plain in text[key].lower() for text in texts) for key in texts[0])
        assert seek(page, sought) == expected > 0
    assert page.locator("mark").first.inner_text() == "(1003)"
    assert seek(page, "nothing has this") == 0
    page.get_by_text("No prompt is left").wait_for()


def test_an_address_restores_everything_and_back_goes_back(made, opened):
    path, runs = made
    a, b = pair(runs)
    page = opened(path, f"#answers?lang=fi&a={b.id}&b={a.id}")
    choose(page, change="gained", rules="finnish", wrong="either")
    seek(page, "hus")
    before = settled(page)
    page.locator(".list a").nth(1).click()
    page.wait_for_timeout(100)
    key, hash = shown_key(page), page.evaluate("location.hash")
    other = opened(path, hash)
    assert (settled(other), shown_key(other)) == (before, key)
    values = {field: other.input_value(f"#answers-box [name={field}]") for field in ("a", "b", "change", "rules", "q")}
    assert values == {"a": b.id, "b": a.id, "change": "gained", "rules": "finnish", "q": "hus"}
    page.go_back()
    page.wait_for_timeout(200)
    assert shown_key(page) != key
    page.go_back()
    page.wait_for_timeout(200)
    assert page.input_value("#answers-box [name=wrong]") == ""
    assert page.input_value("#answers-box [name=rules]") == "finnish"


def test_the_keyboard_is_enough(made, opened):
    path, _ = made
    page = opened(path, "#answers?lang=en")
    settled(page)
    first = shown_key(page)
    page.keyboard.press("j")
    page.wait_for_function(f"() => document.querySelector('.detail h3').textContent !== 'Prompt {first}'")
    second = shown_key(page)
    page.keyboard.press("ArrowRight")
    page.wait_for_function(f"() => document.querySelector('.detail h3').textContent !== 'Prompt {second}'")
    page.keyboard.press("k")
    page.keyboard.press("ArrowLeft")
    page.wait_for_function(f"() => document.querySelector('.detail h3').textContent === 'Prompt {first}'")
    page.keyboard.press("/")
    page.keyboard.type("jk?")  # letters now, not keys
    assert page.input_value("#answers-box [name=q]") == "jk?"
    page.fill("#answers-box [name=q]", "")
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    assert page.locator("#help").is_visible()
    page.keyboard.press("Escape")
    assert page.locator("#help").is_hidden()


def test_tab_reaches_everything(made, opened):
    path, _ = made
    page = opened(path, "#answers?lang=en")
    settled(page)
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    reached = set()
    while True:
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement === document.body"):
            break  # past the last
        reached.add(
            page.evaluate("(e => e.name || e.dataset.key && 'prompt' || e.textContent)(document.activeElement)")
        )
        outline = page.evaluate(
            "(e => [getComputedStyle(e).outlineStyle, e.outerHTML.slice(0, 80)])(document.activeElement)"
        )
        assert outline[0] != "none", outline
    fields = {"lang", "a", "b", "cat", "rules", "kind", "change", "pass", "wrong", "disagree", "q"}
    assert fields | {"prompt", "Next", "Later", "Clear all filters"} <= reached
    unlabelled = "fields => fields.filter(field => !field.labels.length).length"
    assert page.locator("select, input").evaluate_all(unlabelled) == 0


def test_what_models_write_stays_text(tmp_path, opened):
    store = Store.open(tmp_path / "store", create=True)
    texts = {key: text for key, text in enumerate(NASTY) if "\ud800" not in text}
    verdicts: list[Verdict] = [verdict(key, 0, True, instruction_id="<b>keywords</b>:x") for key in texts]
    for method in ("sft", "dpo_en"):
        run = dataclasses.replace(
            plan(f"method={method}"), name=f"{method} {NASTY[2]}", overrides=(f"method={method}", f"x={NASTY[3]}")
        )
        with_answers(store, run, texts, verdicts)
    runs = load_results(store)
    path = write_report(tmp_path / "report.html", runs, [], [(NASTY[3], SVG)], store)
    for key, text in texts.items():
        page = opened(path, f"#answers?lang=fi&key={key}")
        assert shown_key(page) == str(key)
        answer = page.locator(".detail .answer").first
        if text.isprintable() and text and all(ord(sign) < 128 for sign in text):
            assert answer.inner_text() == text
        assert answer.evaluate("box => [...box.querySelectorAll('*')].every(e => ['MARK', 'SPAN'].includes(e.tagName))")
        assert page.locator("main img:not(figure img), main script, main b, main svg[onload]").count() == 0
        assert page.locator("a:not([href^='#'])").count() == 0
    for view in ("answers?lang=fi&q=%3Cimg", "runs", "plan", f"runs?run={runs[0].id}&with={runs[1].id}"):
        opened(path, f"#{view}").wait_for_timeout(100)


def test_what_cannot_be_seen_is_shown_by_its_number(tmp_path, opened):
    store = Store.open(tmp_path / "store", create=True)
    with_answers(store, plan("method=sft"), {1: "a\x00b\u202ec\x85d\re\r\nf", 2: "x"}, [verdict(1, 0, True)])
    page = opened(write_report(tmp_path / "r.html", load_results(store), [], [], store), "#answers?key=1&lang=fi")
    assert page.locator(".detail .answer").first.inner_text() == "a⟦U+0000⟧b⟦U+202E⟧c⟦U+0085⟧d⟦U+000D⟧e\nf"
    assert page.locator(".detail .answer").first.get_attribute("dir") == "auto"


def test_a_very_long_answer_waits_behind_a_button(tmp_path, opened):
    store = Store.open(tmp_path / "store", create=True)
    with_answers(store, plan("method=sft"), {1: "sana " * 20_000}, [verdict(1, 0, True)])
    path = write_report(tmp_path / "r.html", load_results(store), [], [], store)
    page = opened(path, "#answers?lang=fi")
    box = page.locator(".detail .answer").first
    assert len(box.inner_text()) <= 10_000
    page.get_by_role("button", name="Show all 100,000 characters").click()
    assert len(box.text_content()) == 100_000


def test_gaps_are_told_and_cut_answers_marked(tmp_path, opened):
    store = Store.open(tmp_path / "store", create=True)
    runs = many(store, words(3), runs=1, prompts=30)
    page = opened(write_report(tmp_path / "r.html", runs, [], [], store, max_megabytes=0.12), "#answers?lang=fi")
    page.get_by_text("answers are cut after").wait_for()
    for _ in range(30):
        if page.get_by_text("whole in").count():
            break
        page.keyboard.press("j")
        page.wait_for_timeout(60)
    key = runs[0].steps["generate.fi"]
    assert page.locator(".detail code").first.inner_text() == f"{store.root}/{key}/responses.jsonl"
    record(store, plan("method=dpo_both"))
    page = opened(write_report(tmp_path / "s.html", load_results(store), [], [], store), "#runs")
    page.get_by_role("link", name="dpo_both").first.click()
    page.get_by_text("en: not scored yet").wait_for()


@pytest.mark.parametrize("view", ["tables", "plan", "curves", "runs", "runs?with={}", "answers?lang=fi"])
def test_a_phone_needs_no_sideways_scrolling(made, opened, view):
    path, runs = made
    page = opened(path, f"#{view.format(runs[1].id)}", viewport={"width": 390, "height": 844}, color_scheme="dark")
    page.wait_for_timeout(200)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    if view.startswith("answers"):
        tops = page.locator(".pair > section").evaluate_all("parts => parts.map(e => e.getBoundingClientRect().top)")
        assert tops[1] > tops[0]


def test_differences_go_both_ways(made, opened):
    path, runs = made
    a, b = pair(runs)
    page = opened(path, f"#runs?run={a.id}&with={b.id}")
    row = page.locator(".differences tr", has_text="mix").first
    assert row.locator("td").all_inner_texts() == [str(a.axes["mix"]), str(b.axes["mix"])]
    page.get_by_role("link", name="swap").click()
    page.locator(".one h3", has_text=b.name).wait_for()
    assert row.locator("td").all_inner_texts() == [str(b.axes["mix"]), str(a.axes["mix"])]


def test_what_a_real_sweep_leaves_fits_and_works(tmp_path, opened):
    store = Store.open(tmp_path / "store", create=True)
    runs = many(store, words(1))
    path = write_report(tmp_path / "report.html", runs, [], [], store)
    assert path.stat().st_size < 30_000_000
    page = opened(path, "#answers?lang=fi")
    assert left(page) == 510
    (row, *_) = runs[0].responses("fi")
    assert seek(page, row["response"][:40]) >= 1
