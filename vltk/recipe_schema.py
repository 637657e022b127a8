"""The schema of a recipe: what a stage may say, with types, bounds and defaults; parts bring their own."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Tag,
    model_validator,
)
from pydantic_core import PydanticCustomError

from vltk.parts import Choice, EachFrom, From
from vltk.strict import Strict, short, suggest

Fraction = Annotated[float, Field(ge=0, le=1)]
Share = Annotated[float, Field(gt=0, lt=1)]
Magnitude = Annotated[float, Field(ge=0, le=10)]


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(child) for key, child in value.items() if child is not None}
    return value


def _spaced(value: Any) -> Any:
    """YAML reads `{stage:1}` as a key without a value, which `_without_nulls` would take away."""
    for key, child in value.items() if isinstance(value, dict) else ():
        if child is None and ":" in str(key):
            name, _, rest = str(key).partition(":")
            raise PydanticCustomError("complete", f"'{key}' lacks a space behind its colon: write {name}: {rest}")
        _spaced(child)
    return value


class ImageOptions(Strict):
    """How a training image is cut; evaluation squashes it to `size` x `size`."""

    size: PositiveInt = 224
    crop: tuple[Fraction, Fraction] = (0.9, 1.0)  # share of the area that is kept
    ratio: tuple[PositiveFloat, PositiveFloat] = (0.75, 4 / 3)  # width over height of the cut
    flip: bool = False
    color: NonNegativeFloat = 0.0  # strength of the colour jitter
    randaugment: tuple[PositiveInt, Magnitude] | None = None  # how many operations, as BLIP [2, 5]; null: none
    crops: PositiveInt | None = None  # each sample has so many fixed crops and flips; null: a new one every time


class TokenizerOptions(Strict):
    """`vocab`: a vocab.txt, tokenizer.json, or folder with one (also below the data folder), or a model of the hub."""

    vocab: str
    max_length: PositiveInt = 77


def _said(value: Any) -> str:
    return "by weight" if isinstance(value, dict) else "by size"


Sources = Annotated[  # data sets in proportion to their size: [a, b]; or to weights: {a: 2, b: 1}
    Annotated[list[str], Field(min_length=1), Tag("by size")]
    | Annotated[dict[str, PositiveFloat], BeforeValidator(_without_nulls), Field(min_length=1), Tag("by weight")],
    Discriminator(_said),
]


class Stream(Strict):
    """Data sets that are trained on together, with the losses taken on them."""

    data: Sources
    batch_size: PositiveInt  # samples of one step over all devices
    weight: PositiveFloat = 1.0  # its share of the steps, against the other streams
    objectives: Annotated[dict[str, Choice], EachFrom("objectives", least=1)]
    max_length: PositiveInt | None = None  # of the text, where it differs from the tokenizer's

    @property
    def group(self) -> int:
        """Samples of a step that no split may cut: those `among` which its objectives compare, at most all of them.

        1 where there are no groups, and of a recipe that was only glanced at, which knows no options of parts.
        """
        return min(max(getattr(choice, "among", 1) for choice in self.objectives.values()), self.batch_size)


class Optimizer(Strict):
    """AdamW with warm-up and a schedule."""

    lr: NonNegativeFloat = 1e-3  # FLAVA section 4.3
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)  # FLAVA gives none; those of the TorchMultimodal example
    eps: PositiveFloat = 1e-8
    weight_decay: NonNegativeFloat = 0.1  # FLAVA section 4.3
    final_weight_decay: NonNegativeFloat | None = None  # where it ends, as half a cosine; null: it stays
    warmup: NonNegativeInt = 0  # steps
    schedule: Literal["cosine", "linear", "constant", "exponential"] = "cosine"
    final_lr: NonNegativeFloat = 0.0
    lr_steps: PositiveInt | None = None  # in which the rate falls to final_lr, where that is not the whole stage
    clip: PositiveFloat | None = 1.0  # largest gradient norm

    @model_validator(mode="after")
    def _exponential_ends_above_zero(self) -> Optimizer:
        if self.schedule == "exponential" and not self.final_lr:
            raise PydanticCustomError(
                "complete", "schedule: exponential falls by a factor to final_lr, which is 0 here"
            )
        return self


class Evaluate(Strict):
    """What is measured during training and at its end."""

    every: PositiveInt | None = None  # steps
    tasks: Annotated[dict[str, Choice], EachFrom("eval/protocols")] = {}
    best: str | None = None  # "TASK METRIC", as "dev text_to_image R@1": which weights are kept

    @model_validator(mode="after")
    def _best_is_a_task(self) -> Evaluate:
        if self.best is not None and self.best.partition(" ")[0] not in self.tasks:
            message = f"best should be 'TASK METRIC', given {short(self.best)}"
            raise PydanticCustomError("complete", message + suggest(self.best.partition(" ")[0], self.tasks))
        return self


class Checkpoints(Strict):
    """When training can be resumed from."""

    every: PositiveInt = 1000  # steps
    keep: PositiveInt = 2
    keep_every: PositiveInt | None = None  # steps; these stay for good, beside the newest `keep`
    asynchronous: bool = True  # written beside training; false: each step waits until its checkpoint is on disk


class Loader(Strict):
    """How samples are read; the result depends on `window` alone."""

    threads: PositiveInt = 2
    prefetch: PositiveInt = 4  # steps
    max_bad_rate: Fraction = 0.001  # share of undecodable samples above which the run stops
    window: PositiveInt | None = None  # shards that are mixed at a time; null: all if local and small, else 16
    data_change: bool = False  # go on although a data set was changed since the run began
    codes: Literal["use", "make", "never"] = "use"  # those kept beside the data (vltk data codes); make: what is absent


class Faults(Strict):
    """What a run puts up with. By default nothing: in a short run a loss that is no number is the recipe's mistake."""

    skip: NonNegativeInt = 0  # steps in any 1000 that are left out as a loss or gradient is no number
    rollbacks: NonNegativeInt = 0  # then so often back to the last good checkpoint, on with other draws
    spike: PositiveFloat | None = 6.0  # standard deviations above the usual loss at which a step is noted
    hang: PositiveFloat = 600.0  # seconds that a step may take where several processes wait for one another


class Stage(Strict):
    """One training run of a recipe."""

    kind: Literal["train"] = "train"
    description: str | None = None
    seed: NonNegativeInt = 0
    model: Annotated[Choice, From("models/families", "models/codebooks")]
    tokenizer: TokenizerOptions | None = None
    image: ImageOptions = ImageOptions()
    init: dict[str, str] = {}  # part of the model: an earlier stage, or the path of a run
    frozen: dict[str, str] = {}  # helper: an earlier stage, or the path of a run
    steps: PositiveInt
    streams: Annotated[dict[str, Stream], Field(min_length=1)]
    optimizer: Optimizer = Optimizer()
    average: Share | None = None  # decay of averaged weights, which then are evaluated and end the run
    precision: Literal["fp32", "bf16", "fp16"] = "bf16"  # of the computation; weights are fp32
    micro_batch: PositiveInt | None = None  # most samples per device and forward; accumulation follows
    checkpoint_activations: bool = False  # keep only the inputs of blocks for backward, and compute the rest again
    evaluate: Evaluate = Evaluate()
    checkpoint: Checkpoints = Checkpoints()
    log_every: PositiveInt = 10  # steps
    loader: Loader = Loader()
    faults: Faults = Faults()
    deepspeed: Annotated[dict[str, Any] | None, BeforeValidator(_without_nulls), BeforeValidator(_spaced)] = None
