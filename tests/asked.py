"""Ask the analysis for something, as a user would on its command line, in this process."""

from __future__ import annotations

from typing import Any

from analysis.__main__ import main


def ask(capsys: Any, *arguments: str) -> tuple[int, str, str]:
    """The exit code and what was printed; a traceback is a failure whatever it says."""
    code = 0
    try:
        main(arguments)
    except SystemExit as stop:
        code = int(stop.code or 0)
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    return code, out, err
