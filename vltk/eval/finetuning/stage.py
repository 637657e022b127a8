"""The recipe of a fine-tuning: a stage whose model is the encoders of a run under a new head."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vltk.errors import VltkError
from vltk.eval.finetuning.plan import Plan
from vltk.eval.finetuning.target import Target
from vltk.log import say
from vltk.parts import Choice, choose
from vltk.recipe import Stage

if TYPE_CHECKING:
    from vltk.run import Trained

PARTS = {"image": "models/encoders", "text": "models/encoders", "fusion": "models/fusion"}
MIXED = "med"  # encodes and writes, beside an image
DEV = "dev"  # what chooses the weights, in results.jsonl of a fine-tuning
WHOLE_IMAGE = {"crop": (1.0, 1.0), "ratio": (1e-3, 1e3)}  # no cut of another shape fits, so it is squashed whole


def require_encoders(trained: Trained, encoders: tuple[str, ...]) -> None:
    """Raises VltkError where the run lacks one of the encoders, or what its text encoder needs."""
    model = trained.stage.model
    absent = [name for name in encoders if not isinstance(getattr(model, name, None), Choice)]
    if absent:
        have = ", ".join(name for name in PARTS if isinstance(getattr(model, name, None), Choice)) or "none"
        raise VltkError(
            f"the run {trained.name} has no {' and no '.join(absent)} encoder, which this task trains; it has: {have}"
        )
    if "text" in encoders and model.text.part == MIXED:  # type: ignore[attr-defined]
        raise VltkError(f"the text encoder of {trained.name} is BLIP's, which no task can fine-tune in this version")
    if trained.tokenizer is None:
        raise VltkError(f"the run {trained.name} has no tokenizer: it cannot read the texts of this task")


def compose(trained: Trained, plan: Plan, target: Target, seed: int, random_weights: bool) -> Stage:
    """The stage; `init` names the run that it starts from, unless it is to start at random weights.

    Raises RecipeError where options do not fit together.
    """
    encoders = _encoders(trained, plan)
    said: dict[str, Any] = {
        "description": f"{trained.name} fine-tuned on {plan.train}",
        "seed": seed,
        "model": {"part": "finetuned", **encoders, "outputs": target.outputs, **plan.head},
        "tokenizer": {"vocab": _vocabulary(trained), "max_length": text_length(trained, plan.max_length)},
        "init": {} if random_weights else dict.fromkeys(encoders, source_name(trained)),
        "steps": plan.steps,
        "streams": {"task": {"data": [plan.train], "batch_size": plan.batch_size, "objectives": target.objective}},
        "optimizer": {"lr": plan.lr, "warmup": plan.warmup, **plan.optimizer},
        "precision": trained.stage.precision,
        "micro_batch": plan.micro_batch,
        "checkpoint": {"every": plan.every},
        "log_every": max(1, plan.steps // 100),
    }
    if "image" in encoders:
        said["image"] = {"size": encoders["image"].image_size, **WHOLE_IMAGE}
    if plan.select is not None:
        judge = {"part": "finetuned", "data": next(iter(plan.test), plan.train), "label": plan.label}
        said["evaluate"] = {"every": plan.every, "tasks": {DEV: judge}, "best": f"{DEV} {plan.select}"}
    return Stage.model_validate(said)


def text_length(trained: Trained, wanted: int) -> int:
    """The most tokens of a text: `wanted`, or as many as the text encoder has positions for, which is said aloud."""
    model: Any = trained.stage.model
    room: int = model.text.max_length
    if room < wanted:
        say(f"{trained.name}: texts are cut to {room} tokens, for which it has positions; the task reads {wanted}")
    return min(room, wanted)


def source_name(trained: Trained) -> str:
    """The run and the step of its weights, as `vltk eval` takes them."""
    return f"{trained.name}@{trained.step}"


def _encoders(trained: Trained, plan: Plan) -> dict[str, Any]:
    """Those of the run, with the dropout of the plan; for images of another size with a table of positions for it."""
    model = trained.stage.model
    names = plan.reads
    found = {name: getattr(model, name, None) for name in names}
    changed: dict[str, dict[str, Any]] = {name: {"dropout": plan.encoder_dropout} for name in names}
    if "image" in found and plan.image_size is not None:
        changed["image"]["image_size"] = plan.image_size
    return {name: _with(PARTS[name], one, changed[name]) for name, one in found.items() if isinstance(one, Choice)}


def _with(folder: str, choice: Choice, options: dict[str, Any]) -> Choice:
    own = choice.model_dump(exclude={"part"})
    return choose(folder, choice.part, **own | {key: value for key, value in options.items() if key in own})


def _vocabulary(trained: Trained) -> str:
    """The run's own words for it; its tokenizer lies in the folder of the fine-tuning."""
    stage = trained.stage
    return stage.tokenizer.vocab if stage.tokenizer else trained.name
