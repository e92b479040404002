"""prefetch=true: fetch and pin what a plan needs from the network, so that its jobs need none."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from experiment.errors import KirjoError
from experiment.plan import Plan, Step
from experiment.resources import Launcher, unset_options
from experiment.scoring import punkt
from experiment.sources import hub
from experiment.sources.source import Source, is_commit

# Where a stage's sources stand in the config.
_OPTION = {
    "pretrain": "pretrain.texts",
    "mix": "data_mix.sft",
    "translate": "data_mix.sft",
    "pair": "data_mix.preference",
    "generate": "benchmark.prompts",
    "score": "benchmark.prompts",
}
_OFFLINE = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE")


@dataclass(frozen=True)
class Need:
    """A hub repository that steps read. ``option`` names it in the config; ``source`` the rows of a data set."""

    kind: hub.Kind
    name: str
    revision: str | None
    option: str
    source: Source | None = None


def prefetch(plan: Plan, states: Mapping[str, str], launcher: Launcher) -> int:
    """Fetch all that the missing steps need, tell what lies where and what to set; the exit code.

    Args:
        states: which steps are missing, by key.
        launcher: what it sets for its jobs says where these will look.

    Raises:
        KirjoError: something cannot be had. All else was fetched and stays (but without network nothing more is tried).
    """
    if unset := unset_options(launcher):
        raise KirjoError("\n".join(unset))
    _use_jobs_folders(launcher.environment)
    missing = [step for key, step in plan.steps.items() if states[key] in ("missing", "running")]
    pins: list[str] = []
    work: list[Callable[[], bool]] = [_fetching(need, pins) for need in dict.fromkeys(_needs(missing))]
    work += [_fetching_punkt(source, folder) for source, folder in dict.fromkeys(_scored(missing))]
    fetched, failed = 0, list[str]()
    for fetch in work:
        try:
            fetched += fetch()
        except hub.NoNetwork:
            raise
        except KirjoError as error:
            failed.append(str(error))
    if failed:
        raise KirjoError("not all could be fetched; what was fetched stays:\n  " + "\n  ".join(failed))
    _tell(len(work), fetched, pins)
    return 0


def _use_jobs_folders(environment: Mapping[str, str]) -> None:
    """Must come before the hub's client is imported: it reads its environment once."""
    offline = [name for name in _OFFLINE if os.environ.get(name, "").upper() in ("1", "ON", "YES", "TRUE")]
    if offline:
        raise KirjoError(
            f"{offline[0]}={os.environ[offline[0]]} is set here, but prefetch=true needs the network: unset it"
        )
    for name, value in environment.items():
        if name.startswith("HF_") and name not in _OFFLINE:
            os.environ[name] = value


def _needs(steps: list[Step]) -> Iterator[Need]:
    for step in steps:
        base = step.settings.get("base", {})
        if "hub" in base:
            yield Need("model", base["hub"], base["revision"], "model")
        for role, source in _sources(step):
            if source.hub and not source.path:
                yield Need("dataset", source.hub, source.revision, _option(step, role, source), source)


def _option(step: Step, role: str, source: Source) -> str:
    if role.startswith("shots."):
        _, name, language = role.split(".")
        place = "quality.template" if step.settings["kind"] == "lines" else "translate"
        return f"{place}.shots.{name}.examples.{language}"
    if step.stage == "quality" or step.settings.get("kind") == "lines":
        return f"quality.tests.{step.label.split('.')[0]}.lines.{source.language}"
    return f"{_OPTION[step.stage]}.{role if step.stage == 'pretrain' else source.language}"


def _sources(step: Step) -> Iterator[tuple[str, Source]]:
    for role, document in step.execution.get("sources", {}).items():
        yield role, TypeAdapter(Source).validate_python(document)


def _scored(steps: list[Step]) -> Iterator[tuple[Source, str | None]]:
    for step in steps:
        if step.stage == "score":
            for _, source in _sources(step):
                if punkt.needs_punkt(source):
                    yield source, step.execution.get("nltk_data")


def _fetching(need: Need, pins: list[str]) -> Callable[[], bool]:
    def fetch() -> bool:
        commit = need.revision
        if commit is None or not is_commit(commit):
            commit = hub.current_commit(need.kind, need.name, need.revision)
            pins.append(f"{need.option}.revision={commit}")
        if need.source is None:
            found = hub.fetch_model(need.name, commit)
        else:
            found = hub.fetch_rows(dataclasses.replace(need.source, revision=commit))
        how = f"fetched, {found.files} files" if found.files else "there already"
        subset = f", {need.source.subset}" if need.source and need.source.subset else ""
        print(f"{need.kind} {need.name}{subset} at {commit}: {how}\n  {hub.as_size(found.size)} in {found.folder}")
        return bool(found.files)

    return fetch


def _fetching_punkt(source: Source, nltk_data: str | None) -> Callable[[], bool]:
    def fetch() -> bool:
        there = not punkt.unmet(source, nltk_data)
        given = [item for item in os.environ.get("NLTK_DATA", "").split(os.pathsep) if item]
        folder = Path(nltk_data or (given[0] if given else "~/nltk_data")).expanduser()
        if not there:
            _download_punkt(folder)
            if still := punkt.unmet(source, str(folder)):
                raise KirjoError(f"NLTK's punkt_tab was fetched to {folder}, but: {still[0]}")
        where = next(item for item in punkt.nltk_folders(str(folder)) if punkt.has_punkt(item))
        print(f"NLTK punkt_tab ({source.language}): {'there already' if there else 'fetched'}\n  {where}")
        return not there

    return fetch


def _download_punkt(folder: Path) -> None:
    from nltk.downloader import Downloader

    try:
        folder.mkdir(parents=True, exist_ok=True)
        Downloader().download("punkt_tab", download_dir=str(folder), quiet=True, raise_on_error=True)
    except (OSError, ValueError) as error:
        raise KirjoError(
            f"cannot fetch NLTK's punkt_tab to {folder} ({str(error).splitlines()[0]}): it comes from "
            "raw.githubusercontent.com; where that is open run python -m nltk.downloader punkt_tab, and copy "
            "nltk_data/tokenizers/punkt_tab here"
        ) from None


def _tell(wanted: int, fetched: int, pins: list[str]) -> None:
    if not wanted:
        print("nothing to fetch: what is still to run reads nothing from the network")
        return
    print(f"\nall that the plan needs is here: {fetched} fetched, {wanted - fetched} there already")
    if pins:
        print("the plan names no commit for these; add to the command:")
        print("".join(f"  {pin}\n" for pin in dict.fromkeys(pins)), end="")
    kept = {name: os.environ[name] for name in ("HF_HOME", "HF_HUB_CACHE", "HF_DATASETS_CACHE") if name in os.environ}
    if "NLTK_DATA" in os.environ:
        kept["NLTK_DATA"] = os.environ["NLTK_DATA"]
    if kept:
        print("jobs find it with:")
        print("".join(f"  {name}={value}\n" for name, value in kept.items()), end="")
