"""The report of 20 runs with 1,020 answers each: its size, how long it takes to write, to open and to search.

    python -m benchmarks.report [runs=20] [prompts=510]

The answers are cut from real English where the shared data (KIRJO_SHARED_DATA) are, else from drawn words.
Opening is measured in a headless Chromium on the file itself: from the request until the page can be used, three times.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from analysis.report import write_report
from experiment.store import Store
from tests.browsers import ARGUMENTS, chromium
from tests.reports import many, real_text, words

OPENINGS = 3


def search(page: Page, text: str) -> float:
    """Seconds from typing to the counts (200 ms of which the page waits for more letters)."""
    # One that finds nothing has read everything.
    page.evaluate("() => { window.begun = performance.now() }")
    page.fill("#answers-box [name=q]", text)
    page.wait_for_function("() => /^0 prompts/.test(document.querySelector('#answers-box .status').textContent)")
    return float(page.evaluate("() => performance.now() - window.begun")) / 1000


def main() -> None:
    """Write the report, open it, search in it; print what that took."""
    given = dict(item.split("=", 1) for item in sys.argv[1:])
    text = real_text()
    with tempfile.TemporaryDirectory() as folder:
        store = Store.open(Path(folder) / "store", create=True)
        runs = many(store, text or words(1), int(given.get("runs", 20)), int(given.get("prompts", 510)))
        begun = time.monotonic()
        path = write_report(Path(folder) / "report.html", runs, [], [], store)
        print(f"text: {'real English' if text else 'drawn words'}; {len(runs)} runs")
        print(f"written in {time.monotonic() - begun:.1f} s, {path.stat().st_size / 1e6:.1f} MB")
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium(), args=ARGUMENTS)
            for view in ("tables", "answers"):
                ready = []
                for _ in range(OPENINGS):
                    page = browser.new_page()
                    page.goto(f"{path.as_uri()}#{view}")
                    page.wait_for_selector("html[data-ready]")
                    ready.append(page.evaluate("() => performance.getEntriesByName('interactive')[0].startTime") / 1000)
                    page.close() if view == "tables" or len(ready) < OPENINGS else None
                told = ", ".join(f"{seconds:.2f}" for seconds in ready)
                print(f"usable at #{view} after {statistics.median(ready):.2f} s (median of {told})")
            for title, sought in (("first", "qqxxzz1"), ("second", "qqxxzz2")):
                print(f"{title} search in one language: {search(page, sought):.2f} s")
            changed = page.evaluate(
                "async () => { const begun = performance.now(); const field = document.querySelector("
                "'#answers-box [name=change]'); field.value = 'gained'; const q = document.querySelector("
                "'#answers-box [name=q]'); q.value = ''; field.dispatchEvent(new Event('change')); "
                "await new Promise((done) => addEventListener('hashchange', () => setTimeout(done), {once: true})); "
                "return performance.now() - begun }"
            )
            print(f"filter: {changed:.0f} ms")
            browser.close()


if __name__ == "__main__":
    main()
