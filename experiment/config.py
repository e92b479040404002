"""The composed config as frozen dataclasses: checked once at the door, typed ever after.

A field marked ``NOT_HASHED`` says where or how a step runs and never enters a fingerprint. A hashed field
that has a default is left out of the fingerprint while it has that default, so a new setting whose default
changes nothing leaves every old fingerprint as it was. A default is therefore part of the store's format:
it is never edited; a change of behaviour bumps the stage's version instead.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import field
from fractions import Fraction
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    TypeAdapter,
    ValidationError,
)
from pydantic.dataclasses import dataclass

from experiment.cleaning.settings import Clean
from experiment.combinations import check_all
from experiment.door import DOOR, NOT_HASHED
from experiment.engines.settings import EngineName, Engines
from experiment.errors import KirjoError
from experiment.quality.settings import Quality
from experiment.resources import ByStage, Launcher, Parallel
from experiment.sources.source import Source
from experiment.translation.settings import Translate


def _percent(value: Any) -> int | float:
    """Read a mix share: ``40``, ``"40"`` and ``"40pct"`` are the same; 0 to 100."""
    text = str(value).strip().removesuffix("pct").removesuffix("%").strip()
    try:
        share = Fraction(text) if "/" not in text and not isinstance(value, bool) else None
    except (ValueError, ZeroDivisionError):
        share = None
    if share is None:
        raise ValueError("expected a number from 0 to 100, such as 40 or 40pct")
    if not 0 <= share <= 100:
        raise ValueError("expected a share from 0 to 100 percent of the target-language rows")
    return int(share) if share.denominator == 1 else float(share)


def _plan_mode(value: Any) -> Any:
    return {"true": True, "false": False}.get(str(value).lower(), value)


def _positive_beta(value: float) -> float:
    if value <= 0:
        raise ValueError("expected a number above 0: beta weighs the KL term of the DPO loss")
    return value


Percent = Annotated[int | float, BeforeValidator(_percent)]
PlanMode = Annotated[Literal[True, False, "json"], BeforeValidator(_plan_mode)]
Beta = Annotated[float, AfterValidator(_positive_beta)]
Share = Annotated[float, Field(ge=0, le=1)]
Decay = Annotated[float, Field(ge=0, lt=1)]


@dataclass(frozen=True, kw_only=True, config=DOOR)
class Training:
    """What every training stage sets; lengths in tokens, rates per optimizer step."""

    global_batch: PositiveInt
    learning_rate: PositiveFloat
    schedule: Literal["cosine", "linear", "constant"]
    warmup_ratio: Annotated[float, Field(ge=0, lt=1)]  # the trainer reads 1 as one step
    epochs: PositiveFloat
    max_length: PositiveInt
    precision: Literal["float32", "bf16"]
    weight_decay: NonNegativeFloat = 0.0
    adam_beta1: Decay = 0.9
    adam_beta2: Decay = 0.999
    max_grad_norm: PositiveFloat = 1.0
    micro_batch: PositiveInt = field(default=1, metadata=NOT_HASHED)
    gradient_checkpointing: bool = field(default=False, metadata=NOT_HASHED)
    checkpoint_every: PositiveInt = field(default=100, metadata=NOT_HASHED)


@dataclass(frozen=True, kw_only=True, config=DOOR)
class Sft(Training):
    """Supervised fine-tuning."""

    packing: bool = False


@dataclass(frozen=True, kw_only=True, config=DOOR)
class Dpo(Training):
    """Direct preference optimization; ``max_length`` holds prompt and reply together."""

    beta: Beta
    max_prompt_length: PositiveInt
    loss: Literal["sigmoid"] = "sigmoid"


@dataclass(frozen=True, kw_only=True, config=DOOR)
class Architecture:
    """A BLOOM model to be made from random weights."""

    hidden_size: PositiveInt
    n_layer: PositiveInt
    n_head: PositiveInt
    vocab_size: PositiveInt


@dataclass(frozen=True, kw_only=True, config=DOOR)
class Pretrain(Training):
    """Pretraining from random weights on ``texts`` (one source per language), packed to ``max_length``."""

    texts: dict[str, Source]
    architecture: Architecture


@dataclass(frozen=True, kw_only=True, config=DOOR)
class Model:
    """The base model: from the hub at a pinned revision, from a local folder, or pretrained by the plan."""

    name: str
    start: Literal["hub", "folder", "pretrain"]
    architecture: str
    hub: str | None = None
    revision: str | None = None
    path: str | None = None
    # Of a BLOOM model on the hub, for estimates before its config.json is in the cache.
    dimensions: Architecture | None = field(default=None, metadata=NOT_HASHED)
    threads: dict[str, PositiveInt] = field(default_factory=dict, metadata=NOT_HASHED)
    resources: ByStage = field(default_factory=dict, metadata=NOT_HASHED)


@dataclass(frozen=True, kw_only=True, config=DOOR)
class DataMix:
    """Where SFT conversations and preference data come from, by language.

    ``target``: the target language's from their own ``source``, or translated from the source language's and cleaned.
    """

    name: str
    source_language: str
    target_language: str
    sft: dict[str, Source]
    preference: dict[str, Source]
    pairs: Literal["best_worst", "all"] = "best_worst"
    target: Literal["source", "translate"] = "source"
    path: str | None = field(default=None, metadata=NOT_HASHED)


@dataclass(frozen=True, kw_only=True, config=DOOR)
class Method:
    """How the base model is post-trained: the SFT variant, and the languages of the preference data, if any.

    ``train`` false: it is not; only the data are made.
    """

    name: str
    loss_on: Literal["all", "assistant"]
    neftune_alpha: PositiveFloat | None
    preference: tuple[str, ...]
    train: bool = True


@dataclass(frozen=True, kw_only=True, config=DOOR)
class Benchmark:
    """Prompts with their rules, by language, and how far an answer may go."""

    name: str
    languages: tuple[str, ...]
    prompts: dict[str, Source]
    max_new_tokens: PositiveInt
    exclude_instructions: tuple[str, ...]
    unasked_instructions: Literal["keep", "drop"] = "keep"
    nltk_data: str | None = field(default=None, metadata=NOT_HASHED)


@dataclass(frozen=True, kw_only=True, config=DOOR)
class Generate:
    """How answers are generated; nothing of it changes what is asked for."""

    engine: EngineName = field(default="transformers", metadata=NOT_HASHED)
    batch_size: PositiveInt = field(default=32, metadata=NOT_HASHED)
    shard_rows: PositiveInt = field(default=512, metadata=NOT_HASHED)


@dataclass(frozen=True, kw_only=True, config=DOOR)
class Preflight:
    """When the checks on the real training batches refuse instead of warn; shares from 0 to 1."""

    max_truncated: Share = field(default=0.5, metadata=NOT_HASHED)


@dataclass(frozen=True, kw_only=True, config=DOOR)
class Tracking:
    """Where curves and results are logged besides the artifacts; ``answers`` is how many rows of answers go there."""

    name: Literal["none", "wandb"]
    mode: Literal["offline", "online"] = "offline"
    project: str = "kirjo"
    entity: str | None = None
    answers: NonNegativeInt = 50


@dataclass(frozen=True, kw_only=True, config=DOOR)
class Sweep:
    """The grids of an experiment file: each maps an override to a comma-separated list of values."""

    grids: tuple[dict[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True, config=DOOR)
class Config:
    """One run, fully composed."""

    data_mix: DataMix
    model: Model
    method: Method
    benchmark: Benchmark
    sft: Sft
    dpo: Dpo
    translate: Translate
    clean: Clean
    quality: Quality
    generate: Generate
    engine: Engines
    preflight: Preflight
    parallel: Parallel
    launcher: Launcher
    tracking: Tracking
    mix: Percent
    seed: NonNegativeInt
    store: str
    plan: PlanMode
    prefetch: bool
    sweep: Sweep
    pretrain: Pretrain | None = None

    def __post_init__(self) -> None:
        """Refuse combinations that no step could carry out."""
        check_all(self)


_CONFIG: TypeAdapter[Config] = TypeAdapter(Config)


def typed(raw: Mapping[str, Any]) -> Config:
    """Turn a composed, resolved config into the frozen dataclasses.

    Raises:
        KirjoError: a name, type, range or combination is wrong; all faults are listed.
    """
    try:
        return _CONFIG.validate_python(dict(raw))
    except ValidationError as error:
        raise KirjoError("\n".join(_fault(fault) for fault in error.errors())) from None


def _fault(fault: Any) -> str:
    where = ".".join(str(part) for part in fault["loc"])
    message = str(fault["msg"]).removeprefix("Value error, ")
    if fault["type"] == "unexpected_keyword_argument":
        message = "no such option"
    elif fault["type"] in ("missing", "missing_argument", "missing_keyword_only_argument"):
        message = "is required but not set"
    came = fault.get("input")
    hide = not where or isinstance(came, dict | list) or "no such" in message or "looks like a secret" in message
    shown = "" if hide else f" (came: {came!r})"
    return f"{where}: {message}{shown}" if where else message


def identity(value: Any) -> Any:
    """What of ``value`` decides a step's result, as plain JSON values (see the module's docstring)."""
    if isinstance(value, Source):
        return value.identity()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        kept = {}
        for item in dataclasses.fields(value):
            current = getattr(value, item.name)
            if item.metadata.get("hashed", True) and not _is_default(item, current):
                kept[item.name] = identity(current)
        return kept
    if isinstance(value, Mapping):
        return {key: identity(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [identity(item) for item in value]
    return value


def _is_default(item: dataclasses.Field[Any], current: Any) -> bool:
    if item.default is not dataclasses.MISSING:
        return bool(current == item.default)
    if item.default_factory is not dataclasses.MISSING:
        return bool(current == item.default_factory())
    return False


def execution(value: Any) -> dict[str, Any]:
    """The settings of ``value`` that say how it runs: the complement of :func:`identity`, one level deep."""
    return {
        item.name: getattr(value, item.name)
        for item in dataclasses.fields(value)
        if not item.metadata.get("hashed", True)
    }
