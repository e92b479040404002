"""The plan, for people."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from experiment.plan import Plan
from experiment.stages import STAGES

if TYPE_CHECKING:
    from experiment.cost.estimate import Costs


def counted(number: int, thing: str) -> str:
    """``1 step``, ``2 steps``."""
    return f"{number} {thing}" + "s" * (number != 1)


def show_plan(
    plan: Plan, states: dict[str, str], store: Path, costs: Costs | None = None, jobs: int | None = None
) -> None:
    """Print the steps by stage, the runs, what they cost (in ``jobs`` of a cluster), and what is still to be set."""
    console = Console(soft_wrap=True)
    console.print(_steps_table(plan, states))
    console.print(_runs_table(plan, states))
    counts = Counter(states.values())
    asked = sum(len(run.steps) for run in plan.runs)
    console.print(
        f"{counted(len(plan.steps), 'distinct step')} for {counted(len(plan.runs), 'run')} ({asked} without sharing); "
        f"{counts['done']} in {store}, {counts['missing']} to run"
        + (f", {counts['running']} running" if counts["running"] else "")
        + (f", {counts['unneeded']} not needed again" if counts["unneeded"] else ""),
        highlight=False,
    )
    if costs is not None:
        from experiment.cost.display import show_costs  # what only counts words (status) is spared the import

        show_costs(console, plan, costs, jobs)
    unmet = dict.fromkeys(
        line for key, step in plan.steps.items() if states[key] in ("missing", "running") for line in step.unmet
    )
    if unmet:
        console.print("\nTo be set before this can run:", style="bold")
        for line in unmet:
            console.print(f"  {line}", highlight=False, markup=False)


def _steps_table(plan: Plan, states: dict[str, str]) -> Table:
    table = Table("stage", title="Steps", title_justify="left")
    for heading in ("distinct", "done", "running", "to run", "asked for by runs"):
        table.add_column(heading, justify="right")
    for stage in STAGES:
        keys = [key for key, step in plan.steps.items() if step.stage == stage]
        if keys:
            found = Counter(states[key] for key in keys)
            uses = sum(len(plan.users(key)) for key in keys)
            cells = (len(keys), found["done"], found["running"], found["missing"], uses)
            table.add_row(stage, *map(str, cells))
    return table


def _runs_table(plan: Plan, states: dict[str, str]) -> Table:
    table = Table("run", title="Runs", title_justify="left")
    table.add_column("steps", justify="right")
    table.add_column("to run", justify="right")
    for run in plan.runs:
        to_run = sum(states[key] in ("missing", "running") for key in run.steps.values())
        table.add_row(run.name, str(len(run.steps)), str(to_run))
    return table
