"""Tables as LaTeX floats, for pdflatex and lualatex alike.

A table of more than five columns spans both columns of a page (``table*``), in a smaller font; whatever is then still
wider than the text is scaled down to it, so that nothing ever stands in the margin. Rows stay one line high: a table of
five metrics and seven runs fits on a page only so.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence

from analysis.render.text import NUMBERS, blocks, left, plain, shown
from analysis.table import Cell, Table

_WIDE = 5
# Longer cells (in characters) become paragraphs of this width, or they would scale the whole table to nothing.
_LONG, _PARAGRAPH = 40, "14em"
# LaTeX numbers tables itself.
_NUMBERED = re.compile(r"^(Table|Figure) \d+[.:]\s+")

_SPECIAL = {
    "\\": "\\textbackslash{}",
    "~": "\\textasciitilde{}",
    "^": "\\textasciicircum{}",
    "<": "\\textless{}",
    ">": "\\textgreater{}",
    "|": "\\textbar{}",
    "`": "\\textasciigrave{}",
    '"': "{\\char34}",  # babel makes this one a shorthand in Finnish
    **{character: "\\" + character for character in "%&_#${}"},
}
_GREEK_NAMES = (
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau upsilon phi chi psi "
    "omega"
)
_GREEK = dict(zip("αβγδεζηθικλμνξπρστυφχψω", _GREEK_NAMES.split(" "), strict=True))
_MATH = {
    "−": "-", "±": "\\pm", "≈": "\\approx", "×": "\\times", "·": "\\cdot", "≤": "\\leq", "≥": "\\geq", "≠": "\\neq",
    "→": "\\rightarrow", "←": "\\leftarrow", "∞": "\\infty", "Δ": "\\Delta", "Σ": "\\Sigma", "Ω": "\\Omega",
    "µ": "\\mu", "√": "\\surd", "∼": "\\sim", "÷": "\\div", "¬": "\\neg",
    **{letter: "\\" + name for letter, name in _GREEK.items()},
}  # fmt: skip
_TEXT = {
    "\u00a0": "\\nobreakspace{}", "\u202f": "\\,", "\u2009": "\\,", "\u2011": "-{}",
    "–": "\\textendash{}", "—": "\\textemdash{}",
    "‘": "\\textquoteleft{}", "’": "\\textquoteright{}", "“": "\\textquotedblleft{}", "”": "\\textquotedblright{}",
    "…": "\\ldots{}", "•": "\\textbullet{}", "°": "\\textdegree{}", "†": "\\textdagger{}", "‡": "\\textdaggerdbl{}",
    "§": "\\S{}", "¶": "\\P{}", "©": "\\textcopyright{}", "®": "\\textregistered{}", "™": "\\texttrademark{}",
    "¢": "\\textcent{}", "£": "\\textsterling{}", "¥": "\\textyen{}", "€": "\\texteuro{}", "¦": "\\textbrokenbar{}",
    "¡": "\\textexclamdown{}", "¿": "\\textquestiondown{}", "ª": "\\textordfeminine{}", "º": "\\textordmasculine{}",
    "½": "\\textonehalf{}", "¼": "\\textonequarter{}", "¾": "\\textthreequarters{}", "\u200b": "{}", "\ufeff": "",
    "\u200e": "", "\u200f": "", "\u061c": "", "\u00ad": "\\-",
}  # fmt: skip
# Latin letters that the T1 encoding has, hence pdflatex: Finnish, Sámi, and most of Europe.
_LATIN = frozenset(
    "ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÐÑÒÓÔÕÖØÙÚÛÜÝÞßàáâãäåæçèéêëìíîïðñòóôõöøùúûüýþÿ"
    "ĂăĄąĆćČčĎďĐđĘęĚěĞğĹĺĽľŁłŃńŇňŊŋŐőŔŕŘřŚśŞşŠšŤťŮůŰűŸŹźŻżŽžŒœıİĀāĒēĪīŌōŪū"
)
# Two of these in a row would become one other character: -- a dash.
_LIGATURE = re.compile(r"(?<=-)(?=-)|(?<=,)(?=,)|(?<=')(?=')")
_MINUS = re.compile(r"(?<![\w)\]])-(?=\d)")
# Where a command or a long word may go on in the next line.
_BREAK = re.compile(r"(?<=[/=,._])(?=[^\s])")


def text(table: Table) -> str:
    """The table as a float, its notes below it, and the runs behind it as comments above."""
    columns = len(table.headings)
    wide = columns > _WIDE
    float_ = "table*" if wide else "table"
    lefts = left(table)
    spec = "".join("l" if at_left else "r" for at_left in lefts)
    out = ["% Needs \\usepackage{booktabs,graphicx}; with pdflatex also \\usepackage[T1]{fontenc}.", *_comments(table)]
    out += [f"\\begin{{{float_}}}[tp]", "\\centering", f"\\caption{{{escape(_NUMBERED.sub('', table.title))}}}"]
    out += [f"\\label{{tab:{re.sub('[^A-Za-z0-9-]+', '-', table.name)}}}", "\\par\\smallskip"]
    out += ["\\footnotesize\\setlength{\\tabcolsep}{3.5pt}" if wide else "\\small\\setlength{\\tabcolsep}{6pt}"]
    out += ["\\resizebox{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}{!}{%"]
    out += [f"\\begin{{tabular}}{{@{{}}{spec}@{{}}}}", "\\toprule", _row(table.headings, lefts)]
    for panel in table.panels:
        out.append("\\midrule")
        if panel.title:
            out.append(f"\\multicolumn{{{columns}}}{{@{{}}l}}{{\\textit{{{escape(panel.title)}}}}} \\\\")
        out += [_row([_content(cell) for cell in row], lefts) for row in panel.rows]
    out += ["\\bottomrule", "\\end{tabular}%", "}"]
    if table.notes:
        out += ["\\par\\smallskip", "\\begin{minipage}{\\linewidth}", "\\footnotesize\\raggedright"]
        out += [_note(command, note) for command, note in blocks(table.notes)]
        out.append("\\end{minipage}")
    return "\n".join([*out, f"\\end{{{float_}}}", ""])


def escape(given: str) -> str:
    """Any text so that LaTeX shows it as it is; a character no engine's usual font has is named: [U+05D0]."""
    cleaned = unicodedata.normalize("NFC", plain(given))
    result = "".join(map(_character, _LIGATURE.sub("\u200b", cleaned))).strip(" ")
    # At the start of a row these two would be arguments to the end of the row before.
    return "{}" + result if result.startswith(("[", "*")) else result


def _character(character: str) -> str:
    if character in _SPECIAL:
        return _SPECIAL[character]
    if " " <= character <= "~" or character in _LATIN:
        return character
    if character in _MATH:
        return f"\\ensuremath{{{_MATH[character]}}}"
    if character in _TEXT:
        return _TEXT[character]
    small = re.fullmatch(r"<(sub|super)> ([0-9A-F]{4})", unicodedata.decomposition(character))
    if small and (base := chr(int(small[2], 16))).isascii() and base.isalnum():
        return f"\\text{small[1]}script{{{base}}}"
    return f"[U+{ord(character):04X}]\\allowbreak{{}}"


def _content(cell: Cell) -> str:
    # A minus, not a hyphen.
    return _MINUS.sub("−", shown(cell)) if cell.kind in NUMBERS else shown(cell)


def _row(texts: Sequence[str], lefts: Sequence[bool]) -> str:
    return " & ".join(_fitting(text, at_left) for text, at_left in zip(texts, lefts, strict=True)) + " \\\\"


def _fitting(given: str, at_left: bool) -> str:
    if sum(8 if "[U+" in _character(character) else 1 for character in given) <= _LONG:
        return escape(given)
    ragged = "\\raggedright" if at_left else "\\raggedleft"
    return f"\\parbox[t]{{{_PARAGRAPH}}}{{{ragged} {_breakable(given)}\\strut}}"


def _breakable(given: str) -> str:
    return "\\allowbreak{}".join(map(escape, _BREAK.split(given)))


def _note(command: bool, note: str) -> str:
    if command:  # straight quotes, as a shell wants them
        quoted = _breakable(note).replace("'", "\\textquotesingle{}")
        return f"\\texttt{{{quoted}}}\\par"
    return " ".join(_breakable(word) if len(word) > _LONG else escape(word) for word in note.split(" ")) + "\\par"


def _comments(table: Table) -> Iterator[str]:
    """One line for each run. ``plain`` leaves no line end in it, so nothing gets out of the comment."""
    for origin in table.origins:
        fingerprints = " ".join(f"{role}={at}" for role, at in origin.fingerprints.items())
        versions = " ".join(f"{name}={version}" for name, version in origin.versions.items())
        yield plain(f"% run {origin.run} ({origin.name}): {fingerprints}; {versions}; {origin.command}")
