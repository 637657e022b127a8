"""Builds what a stage's recipe names: model, objectives, helpers, streams, engine; and finds where to go on from."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vltk import dist
from vltk.checkpoint import Piece, Saved
from vltk.data.dataset import open_dataset
from vltk.data.enlarged import warn_of_enlarged
from vltk.data.loader import Loader
from vltk.data.mixture import Mixture
from vltk.data.pixels import PixelCache
from vltk.data.stream import Stream as DataStream
from vltk.data.text import Tokenizer, load_tokenizer
from vltk.log import JsonLines, say, warn
from vltk.models.encoded import Encoded
from vltk.models.passes import Plan
from vltk.recipe import Stage
from vltk.run import RunFolder, Source, Trained, load
from vltk.train import best, codes, collapse, faults, optim
from vltk.train.accumulate import set_noise
from vltk.train.engines._state import weights
from vltk.train.faults import Watch
from vltk.train.pretraining import Pretraining, on_device
from vltk.train.saving import newest_good
from vltk.train.start import note, start, untaught
from vltk.train.together import on_all, on_main


@dataclass
class Setup:
    """All that the loop needs of one stage."""

    name: str
    stage: Stage
    folder: RunFolder
    pretraining: Pretraining
    engine: Any
    loader: Loader
    watch: Watch
    tokenizer: Tokenizer | None
    helpers: dict[str, nn.Module]
    open_data: Callable[[str], Any]
    first: int = 0
    seconds: float = 0.0
    best: dict[str, Any] = field(default_factory=dict)
    wanted: Collection[int] = ()  # steps whose checkpoints others start from

    def trained(self, step: int) -> Trained:
        """The model as it stands, for evaluators."""
        model = self.pretraining.evaluated
        return Trained(model, self.tokenizer, self.stage.image, self.stage, self.folder.name, step, self.helpers)


def build(
    name: str,
    stage: Stage,
    folder: RunFolder,
    sources: Mapping[str, Source],
    wanted: Collection[int] = (),
    open_data: Callable[[str], Any] = open_dataset,
) -> Setup:
    """The stage, ready to train from its newest good checkpoint. `sources`: what each value in init and frozen names.

    The recipe has passed `check_stages`. wanted: steps whose checkpoints are written and kept whatever comes after.
    open_data: gives what a stream names, with the surface of `Dataset`.
    """
    tokenizer = load_tokenizer(stage.tokenizer, folder.path) if stage.tokenizer else None
    set_noise(stage.seed, -1, 0)
    model: nn.Module = stage.model.build()
    found = start(model, stage, sources)
    on_main(lambda: note(found, folder.path))
    helpers = {helper: load(sources[source], helpers=False).model for helper, source in stage.frozen.items()}
    pretraining = _pretraining(model, stage, helpers)
    if stage.checkpoint_activations:
        recompute(pretraining)
    if "codes" in helpers:
        facts = folder.facts()
        again = codes.command(facts.get("recipe", "RECIPE"), folder.path.name, facts.get("overrides", []))
        coder = codes.Coder.of(stage, helpers["codes"], sources[stage.frozen["codes"]], again)
        pretraining.views = codes.from_disk(stage, pretraining.views, coder)
    reached = _reached(pretraining, stage, tokenizer, open_data)
    never = untaught(model, {name.removeprefix("model.") for names in reached.values() for name in names}, found)
    on_main(lambda: folder.note(untrained=never or None))
    groups = optim.groups(pretraining, reached, pretraining.starts)
    engine = _engine(stage, pretraining, groups)
    for helper in helpers.values():
        helper.to(engine.device)
    for replica in pretraining.replicas.values():
        replica.to(engine.device)
    on_main(lambda: _look_at_codes(stage, pretraining, tokenizer, helpers, open_data))
    mixture = Mixture({key: stream.weight for key, stream in stage.streams.items()}, stage.steps, stage.seed)
    first, facts = _resume(pretraining, engine, stage, folder, mixture)
    watch = Watch(name, stage.faults, folder.path, folder.checkpoints, stage.precision)
    watch.recall(facts)
    on_main(lambda: faults.forget(folder.path, first, watch.attempt))
    streams = _streams(stage, pretraining, tokenizer, folder, open_data, watch.attempt)
    for stream in streams.values():
        warn_of_enlarged(stream)
    return Setup(
        name=name,
        stage=stage,
        folder=folder,
        pretraining=pretraining,
        engine=engine,
        loader=Loader(streams, mixture, first, stage.steps, stage.loader.prefetch),
        watch=watch,
        tokenizer=tokenizer,
        helpers=helpers,
        open_data=open_data,
        first=first,
        seconds=facts.get("seconds", 0.0),
        best=facts.get("best", {}),
        wanted=wanted,
    )


def go_back(setup: Setup) -> None:
    """To the newest good checkpoint, and on from there with other draws than before."""
    stage, watch, mixture = setup.stage, setup.watch, setup.loader.mixture
    attempt = watch.attempt + 1
    setup.first, facts = _resume(setup.pretraining, setup.engine, stage, setup.folder, mixture)
    watch.roll_back(facts, attempt)
    setup.seconds, setup.best = facts.get("seconds", 0.0), facts.get("best", {})
    for stream in setup.loader.streams.values():
        stream.close()
    streams = _streams(stage, setup.pretraining, setup.tokenizer, setup.folder, setup.open_data, attempt)
    setup.loader = Loader(streams, mixture, setup.first, stage.steps, stage.loader.prefetch)


def _pretraining(model: nn.Module, stage: Stage, helpers: Mapping[str, Any]) -> Pretraining:
    provided = {"model": model, "steps": stage.steps, **helpers}
    objectives = {
        stream: {name: choice.build(**provided) for name, choice in options.objectives.items()}
        for stream, options in stage.streams.items()
    }
    frozen = helpers["codes"].codes if "codes" in helpers else None
    return Pretraining(model, objectives, frozen, stage.average)


def recompute(module: nn.Module) -> None:
    """Backward computes what lies inside the transformer blocks of `module` again."""
    for part in module.modules():
        if hasattr(part, "recomputes"):
            part.recomputes = True  # type: ignore[assignment]


def _streams(
    stage: Stage,
    pretraining: Pretraining,
    tokenizer: Tokenizer | None,
    folder: RunFolder,
    open_data: Callable[[str], Any],
    attempt: int,
) -> dict[str, DataStream]:
    """This rank's part of each stream; what cannot be decoded is listed in bad_samples.jsonl."""
    where: dict[str, Any] = {
        "attempt": attempt,
        "micro_batch": stage.micro_batch,
        "rank": dist.rank(),
        "world": dist.world(),
        "threads": stage.loader.threads,
        "max_bad_rate": stage.loader.max_bad_rate,
        "on_bad": JsonLines(folder.path / "bad_samples.jsonl").write,
        "pixels": PixelCache(),
        "open_data": open_data,
    }
    return {
        name: _stream(name, stage, pretraining, tokenizer, batch_size=options.batch_size, **where)
        for name, options in stage.streams.items()
    }


def _stream(
    name: str,
    stage: Stage,
    pretraining: Pretraining,
    tokenizer: Tokenizer | None,
    open_data: Callable[[str], Any],
    **options: Any,
) -> DataStream:
    own = stage.streams[name]
    return DataStream(
        [open_data(data) for data in own.data],
        pretraining.views[name],
        seed=stage.seed,
        weights=list(own.data.values()) if isinstance(own.data, dict) else None,
        window=stage.loader.window,
        image=stage.image,
        tokenizer=tokenizer,
        max_length=own.max_length or (stage.tokenizer.max_length if stage.tokenizer else None),
        name=name,
        **options,
    )


def _reached(
    pretraining: Pretraining, stage: Stage, tokenizer: Tokenizer | None, open_data: Callable[[str], Any]
) -> dict[str, set[str]]:
    """For each stream the parameters it trains, found with two samples of it."""
    found = {}
    for name in stage.streams:
        stream = _stream(name, stage, pretraining, tokenizer, open_data, batch_size=2, max_bad_rate=1.0)
        found[name] = pretraining.reached(name, stream.micro_batches(0)[0].tensors)
    untrained = {key for key, _ in pretraining.named_parameters()} - set().union(*found.values())
    if untrained:
        some = ", ".join(sorted(untrained)[:4])
        say(f"{len(untrained)} tensors are reached by no objective and stay as they are: {some}")
    return found


def _look_at_codes(
    stage: Stage,
    pretraining: Pretraining,
    tokenizer: Tokenizer | None,
    helpers: Mapping[str, Any],
    open_data: Callable[[str], Any],
) -> None:
    """Warns where the codes that this stage is to predict are nearly all the same, judged by some images of its own."""
    reading = [name for name, views in pretraining.views.items() if {"image_for_codes", "codes"} & set(views)]
    if not reading or "codes" not in helpers:
        return
    images, name = collapse.IMAGES, reading[0]
    stream = _stream(name, stage, pretraining, tokenizer, open_data, batch_size=images, max_bad_rate=1.0)
    batch = on_device(stream.micro_batches(0)[0].tensors, dist.device())
    codebook = helpers["codes"]
    found = Encoded(pretraining.model, batch, Plan.of([]), codebook.codes).codes
    collapse.look(found, codebook, stage.frozen["codes"], reading[0])


def _engine(stage: Stage, pretraining: Pretraining, groups: list[optim.Group]) -> Any:
    if stage.deepspeed is None:
        from vltk.train.engines.torch import Torch

        return Torch(pretraining, groups, stage.optimizer, stage.precision)
    from vltk.train.engines.deepspeed import DeepSpeed

    return DeepSpeed(pretraining, groups, stage.optimizer, stage.precision, stage.deepspeed)


def _resume(
    pretraining: Pretraining, engine: Any, stage: Stage, folder: RunFolder, mixture: Mixture
) -> tuple[int, dict[str, Any]]:
    """The step to go on from (0: the start) and what the checkpoint says."""
    found = newest_good(folder.checkpoints)
    first, facts = 0, dict[str, Any]()
    if found is None:
        pretraining.follow(engine)
    else:
        for text in found.warnings:
            warn(text)
        facts = _load(pretraining, engine, found.path)
        first = int(facts["step"])
        say(f"going on from step {first} ({found.path})")
    on_main(lambda: _forget(folder, stage, first, mixture))
    return first, facts


def _forget(folder: RunFolder, stage: Stage, first: int, mixture: Mixture) -> None:
    """Drops what was written about steps that are trained again, and about the evaluation behind the checkpoint, which
    a run does again; bad samples count the steps of their own stream."""
    own = stage.evaluate.tasks
    best.drop(folder.path, first)
    JsonLines(folder.path / "metrics.jsonl").keep(lambda row: row["step"] <= first)
    results = JsonLines(folder.path / "results.jsonl")
    results.keep(lambda row: row["step"] < first or (row["step"] == first and row["task"] not in own))
    JsonLines(folder.path / "bad_samples.jsonl").keep(lambda row: row["step"] < mixture.count(row["stream"], first))


def _load(pretraining: Pretraining, engine: Any, path: Path) -> dict[str, Any]:
    """Takes up what a checkpoint holds, every rank its part; returns its facts."""
    saved: list[Saved] = []

    def take() -> None:
        saved.append(Saved(path))
        engine.load(saved[0])
        for kind, replica in pretraining.replicas.items():
            replica.load(saved[0], kind)

    on_all(take)
    engine.scale.load(saved[0].facts.get("loss_scale", {}))
    return saved[0].facts


def pieces_of(setup: Setup) -> Iterator[Piece]:
    """This rank's part of all that a checkpoint holds."""
    yield from setup.engine.pieces()
    for kind, replica in setup.pretraining.replicas.items():
        yield from replica.pieces(kind)


def model_weights(setup: Setup) -> dict[str, torch.Tensor]:
    """The full weights that end the run by name, fp32 on the CPU; filled on rank 0 only, but all ranks must call it."""
    replica = setup.pretraining.replicas.get(setup.pretraining.result)
    held = {f"model.{name}" for name, _ in weights(setup.pretraining.model)}
    blocks = setup.engine.whole(held) if replica is None else [replica.state()]
    found = {name: _copy(tensor) for block in blocks for name, tensor in block.items() if dist.is_main()}
    return {name.removeprefix("model."): t for name, t in found.items() if name.startswith("model.")}


def _copy(tensor: torch.Tensor) -> torch.Tensor:
    dtype = torch.float32 if tensor.is_floating_point() else tensor.dtype
    return tensor.detach().to("cpu", dtype, copy=True).contiguous()
