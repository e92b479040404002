"""Tables as HTML: a fragment to put anywhere, the runs behind it, and a page around them that stands alone."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping
from urllib.parse import quote

from analysis.render.text import blocks, left, plain, settings, shown
from analysis.table import Cell, Origin, Table

STYLE = """\
:root { color-scheme: light dark; --ink: #1a1a1a; --paper: #fff; --faint: #595959; --rule: #767676; --band: #f2f2f2;
  --link: #0b4f8a; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8e8e8; --paper: #16181b; --faint: #a8a8a8; --rule: #8a8a8a; --band: #23262b; --link: #8ec5ff; } }
body { margin: 2rem auto; padding: 0 1rem; max-width: 75rem; color: var(--ink); background: var(--paper);
  font: 1rem/1.45 system-ui, "Segoe UI", Roboto, "Liberation Sans", Arial, sans-serif; }
a { color: var(--link); }
.kirjo { margin: 0 0 2.5rem; }
.kirjo .scroll { overflow-x: auto; }
.kirjo table { border-collapse: collapse; border-top: 2px solid; border-bottom: 2px solid; font-size: .9rem;
  font-variant-numeric: tabular-nums; }
.kirjo caption { text-align: left; font-weight: 600; padding-bottom: .4rem; }
.kirjo th, .kirjo td { padding: .2rem .6rem; text-align: right; vertical-align: top; white-space: nowrap; }
.kirjo th { font-weight: 400; overflow-wrap: anywhere; }
.kirjo thead th { font-weight: 600; border-bottom: 1px solid var(--rule); vertical-align: bottom; white-space: normal; }
.kirjo .left, .kirjo tbody th { text-align: left; white-space: normal; min-width: 8rem; }
.kirjo tbody th[scope=rowgroup] { font-weight: 600; background: var(--band); border-top: 1px solid var(--rule); }
.kirjo td a { color: inherit; text-decoration: underline dotted var(--rule); }
.kirjo sup { line-height: 0; }
.kirjo .published, .kirjo .empty { color: var(--faint); }
.kirjo .missing { font-style: italic; }
.kirjo .notes, .runs { font-size: .85rem; max-width: 65rem; }
pre, code { font-family: ui-monospace, "DejaVu Sans Mono", Consolas, monospace; font-size: .95em; }
pre { overflow-x: auto; margin: .3rem 0; padding: .3rem .6rem; background: var(--band); }
.runs :target { outline: 2px solid var(--link); outline-offset: .3rem; }
.runs dt { margin-top: .3rem; color: var(--faint); }
.runs dd { margin: 0 0 0 1rem; overflow-wrap: anywhere; }
@media print {
  :root { --ink: #000; --paper: #fff; --faint: #444; --rule: #666; --band: #eee; --link: #000; }
  body { margin: 0; max-width: none; font-size: 9pt; }
  .kirjo .scroll { overflow: visible; }
  .kirjo table { font-size: 7pt; line-height: 1.25; }
  .kirjo th, .kirjo td { padding: .1rem .3rem; }
  .kirjo .left, .kirjo tbody th { min-width: 6em; }
  .kirjo td a { text-decoration: none; }
  .kirjo tr, .runs section { break-inside: avoid; }
  pre { white-space: pre-wrap; overflow-wrap: anywhere; }
  a { text-decoration: none; } }
"""


def fragment(table: Table) -> str:
    """The table with its notes; its cells link to ``#run-<id>``, which ``runs`` gives."""
    lefts = left(table)
    out = ['<div class="kirjo">', '<div class="scroll">', "<table>", f"<caption>{escape(table.title)}</caption>"]
    out += ["<thead>", "<tr>"]
    for heading, at_left in zip(table.headings, lefts, strict=True):
        # An empty heading is no heading: a reader's aid would announce it.
        tag, scope = ("th", ' scope="col"') if heading else ("td", "")
        out.append(f"<{tag}{scope}{_class('left' if at_left else '')}>{escape(heading)}</{tag}>")
    out += ["</tr>", "</thead>"]
    for panel in table.panels:
        out.append("<tbody>")
        if panel.title:
            out.append(f'<tr><th scope="rowgroup" colspan="{len(table.headings)}">{escape(panel.title)}</th></tr>')
        for row in panel.rows:
            out += ["<tr>", f'<th scope="row">{_content(row[0])}</th>']
            out += [_data(cell, at_left) for cell, at_left in zip(row[1:], lefts[1:], strict=True)]
            out.append("</tr>")
        out.append("</tbody>")
    out += ["</table>", "</div>"]
    if table.notes:
        out.append('<div class="notes">')
        for command, note in blocks(table.notes):
            out.append(f"<pre><code>{escape(note)}</code></pre>" if command else f"<p>{escape(note)}</p>")
        out.append("</div>")
    return "\n".join([*out, "</div>", ""])


def runs(origins: Iterable[Origin]) -> str:
    """What the links of the cells lead to: command, settings, fingerprints and versions of each run, each run once.

    Settings that all the runs have in common are told once, at the end.
    """
    out = ['<div class="runs">', "<h2>Runs</h2>"]
    unique = {origin.run: origin for origin in origins}
    common, own = settings(unique.values())
    for origin in unique.values():
        out += [f'<section id="{_anchor(origin.run)}">', f"<h3>{escape(origin.name)}</h3>"]
        out.append(f"<pre><code>{escape(origin.command)}</code></pre>")
        out += ["<dl>", f"<dt>run</dt><dd>{escape(origin.run)}</dd>"]
        out += _named("settings", own[origin.run])
        out += _named("fingerprints", origin.fingerprints)
        out += _named("versions", origin.versions)
        out += ["</dl>", "</section>"]
    if common:
        out += ["<section>", "<h3>All runs</h3>", "<dl>", *_named("settings", common), "</dl>", "</section>"]
    return "\n".join([*out, "</div>", ""])


def _named(title: str, named: Mapping[str, object]) -> list[str]:
    values = "<br>".join(f"{escape(name)} <code>{escape(str(value))}</code>" for name, value in named.items())
    return [f"<dt>{title}</dt><dd>{values}</dd>"] if named else []


def page(content: str, title: str = "Results") -> str:
    """A whole document around fragments: no scripts, nothing from the network, for light, dark and paper."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; "
        'img-src data:">\n'
        f"<title>{escape(title)}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n{content}</main>\n"
        "</body>\n</html>\n"
    )


def escape(given: str) -> str:
    """Any text so that HTML shows it as it is, between tags or in a quoted attribute."""
    return html.escape(plain(given), quote=True)


def _data(cell: Cell, at_left: bool) -> str:
    return f"<td{_class(cell.kind, 'left' if at_left else '')}>{_content(cell)}</td>"


def _content(cell: Cell) -> str:
    """The cell's text as a link to its run; further runs (other seeds) as small numbers after it."""
    content = escape(shown(cell))
    if not cell.runs or not content:
        return content
    first, *others = [f'<a href="#{_anchor(run)}"' for run in cell.runs]
    more = "".join(f' {link} title="run {place}">{place}</a>' for place, link in enumerate(others, start=2))
    return f"{first}>{content}</a>" + (f"<sup>{more}</sup>" if more else "")


def _anchor(run: str) -> str:
    return "run-" + quote(plain(run), safe="")


def _class(*names: str) -> str:
    joined = " ".join(name for name in names if name)
    return f' class="{joined}"' if joined else ""
