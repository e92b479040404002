"""The LaTeX of tables is compiled by the engines that are installed."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from analysis.render import render
from tests.rendered import nasty_table, paper_table

DOCUMENT = r"""\documentclass[a4paper,%s]{article}
\usepackage{iftex}
\ifpdftex\usepackage[T1]{fontenc}\usepackage{times}\fi
\usepackage{booktabs,graphicx}
\begin{document}
Text.
%s
\end{document}
"""


@pytest.mark.latex
@pytest.mark.parametrize("engine", ["pdflatex", "lualatex"])
@pytest.mark.parametrize("columns", ["onecolumn", "twocolumn"])
@pytest.mark.parametrize("table", [paper_table(), nasty_table()], ids=["paper", "nasty"])
def test_a_table_compiles_and_stays_within_the_margins(table, columns, engine, tmp_path):
    if not shutil.which(engine):
        pytest.skip(f"{engine} is not installed; on Debian: texlive-latex-recommended texlive-fonts-recommended")
    if engine == "lualatex" and subprocess.run(["kpsewhich", "luaotfload.sty"], capture_output=True).returncode:
        pytest.skip("lualatex has no font loader; on Debian: texlive-luatex")
    (tmp_path / "table.tex").write_text(DOCUMENT % (columns, render(table, "latex")), encoding="utf-8")
    command = [engine, "-halt-on-error", "-interaction=nonstopmode", "-no-shell-escape", "table.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", timeout=300)
    assert done.returncode == 0, done.stdout[-3000:]
    assert (tmp_path / "table.pdf").read_bytes().startswith(b"%PDF")
    wide = [float(points) for points in re.findall(r"Overfull \\hbox \((\d+\.\d+)pt", done.stdout)]
    assert max(wide, default=0) < 1
