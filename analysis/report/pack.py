"""Embedding: data as compressed base64, which no text can break out of; the page's frame; its security policy."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from string import Template
from typing import Any

from analysis.render.html import escape
from analysis.report.answers import Block
from analysis.table import Table

# In this order: each uses only what stands above it, and the last one starts the page.
SCRIPTS = (
    "text.js", "data.js", "state.js", "plan.js", "curves.js", "chart.js", "runs.js", "filter.js", "answers.js",
    "list.js", "detail.js", "keys.js", "main.js",
)  # fmt: skip
_SURROGATE = re.compile("[\ud800-\udfff]")


def packed(value: Any) -> bytes:
    """A value as JSON, gzipped, base64; the same value gives the same bytes."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    # UTF-8 has no lone surrogates; JSON can name them.
    text = _SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    return base64.b64encode(gzip.compress(text.encode("utf-8"), 9, mtime=0))


def data_block(name: str, base64_data: bytes) -> bytes:
    """A block of data that browsers neither show nor run."""
    return b'<script type="application/octet-stream" id="data-%s">%s</script>\n' % (name.encode("ascii"), base64_data)


def chunks(runs: int, blocks: Sequence[Block], cut_after: int | None) -> tuple[list[bytes], int]:
    """The blocks of answers as the page's data blocks, and how many answers of the runs were cut."""
    packs, cut = [], 0
    for number, block in enumerate(blocks):
        long = {
            place: len(text)
            for place, text in enumerate(block.texts)
            if cut_after is not None and len(text) > cut_after
        }
        cut += sum(prompt["answer"][run] in long for prompt in block.prompts for run in range(runs))
        texts = [text[:cut_after] for text in block.texts]
        packs.append(data_block(str(number), packed({"texts": texts, "prompts": block.prompts, "cut": long})))
    return packs, cut


def script() -> str:
    """The page's program: its files one after the other, in one scope of their own."""
    parts = [_file(name) for name in SCRIPTS]
    return '\n"use strict";\n(() => {\n' + "\n".join(parts) + "})();\n"


def frame(
    page: Mapping[str, Any], tables: Sequence[tuple[Table, str]], figures: Sequence[tuple[str, str]]
) -> tuple[bytes, bytes, bytes]:
    """The document before its index, between index and answers, and after them."""
    code, style = script(), "\n" + _file("page.css") + _file("views.css")
    values = {
        "policy": policy(code, style),
        "style": style,
        "script": code,
        "store": escape(page["store"]),
        "made": escape(page["made"]),
        "version": escape(page["version"]),
        "runs": f"{len(page['runs'])} run{'s' * (len(page['runs']) != 1)}",
        "contents": _contents([table.title for table, _ in tables], [title for title, _ in figures]),
        "tables": "\n".join(_table(place, *table, figures) for place, table in enumerate(tables)),
        "figures": "\n".join(
            _figure(place, title, svg)
            for place, (title, svg) in enumerate(figures)
            if title not in {table.title for table, _ in tables}
        ),
    }
    # Split before anything is put in: what is put in cannot look like a mark.
    before, between, after = re.split("<!--(?:index|answers)-->\n", _file("page.html"))
    return _filled(before, values), _filled(between, values), _filled(after, values)


def policy(code: str, style: str) -> str:
    """The Content-Security-Policy: this script, this style, pictures from within; nothing from anywhere else."""
    return (
        f"default-src 'none'; script-src '{_hash(code)}'; style-src '{_hash(style)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )


def _filled(part: str, values: Mapping[str, str]) -> bytes:
    return Template(part).substitute(values).encode("utf-8", errors="xmlcharrefreplace")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")


def _contents(tables: Sequence[str], figures: Sequence[str]) -> str:
    links = [
        f'<li><a href="#tables?at={kind}{place}">{escape(title)}{word}</a></li>'
        for kind, word, titles in (("t", "", tables), ("f", " (figure)", figures))
        for place, title in enumerate(titles)
        if kind == "t" or title not in tables
    ]
    return f'<ul class="contents">{"".join(links)}</ul>' if links else "<p>No tables were asked for.</p>"


def _table(place: int, table: Table, html: str, figures: Sequence[tuple[str, str]]) -> str:
    """A table with the figures of the same title below it."""
    drawn = [_figure(number, title, svg) for number, (title, svg) in enumerate(figures) if title == table.title]
    return "\n".join([f'<div id="part-t{place}">{html}</div>', *drawn])


def _figure(place: int, title: str, svg: str) -> str:
    # As a picture: what an SVG holds cannot run there, and cannot reach the page.
    data = base64.b64encode(svg.encode("utf-8", errors="replace")).decode("ascii")
    return (
        f'<figure id="part-f{place}"><img src="data:image/svg+xml;base64,{data}" alt="{escape(title)}">'
        f"<figcaption>{escape(title)}</figcaption></figure>"
    )


def _file(name: str) -> str:
    return (files("analysis.report") / "page" / name).read_text(encoding="utf-8")
