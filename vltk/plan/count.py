"""What a stage takes, as numbers alone: parameters, FLOPs a sample, bytes of a micro-batch of any size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from vltk.errors import VltkError
from vltk.hf import HfFolder
from vltk.plan.stage import How, Pass, Shapes
from vltk.recipe import Recipe, Stage
from vltk.run import load_stage
from vltk.train.rehearsal import Rehearsal
from vltk.train.sources import own_stage, source

SIZES = (4, 16)  # samples of the two passes that everything linear is read off
PROBES = ((2048, 1), (2048, 8), (8192, 8))  # samples of a device, and devices: what comparing takes is read off
FP32 = 4  # bytes of every weight, gradient and moment: bf16 is autocast


@dataclass(frozen=True)
class Line:
    """fixed + each * samples."""

    fixed: float
    each: float

    @classmethod
    def through(cls, small: float, large: float) -> Line:
        """Its values at the two SIZES."""
        each = (large - small) / (SIZES[1] - SIZES[0])
        return cls(small - each * SIZES[0], each)

    def at(self, samples: float) -> float:
        return self.fixed + self.each * samples


@dataclass(frozen=True)
class Comparing:
    """What comparing takes of a device with n of all N samples: pair n N + every N + own n."""

    pair: float
    every: float
    own: float

    @classmethod
    def through(cls, values: list[float]) -> Comparing:
        """Its values at the three PROBES."""
        (a, _), (_, w), (b, _) = PROBES
        first, second, third = values
        # pair a^2 + (every + own) a, pair w a^2 + (w every + own) a, pair w b^2 + (w every + own) b
        pair = (third / b - second / a) / (w * (b - a))
        every = (second - first) / ((w - 1) * a) - pair * a
        return cls(pair, every, first / a - pair * a - every)

    def at(self, local: float, world: int) -> float:
        whole = local * world
        return self.pair * local * whole + self.every * whole + self.own * local


@dataclass(frozen=True)
class StreamCount:
    """One stream. work, embedding: FLOPs a sample, forward and backward, and of embedding alone, which accumulation
    adds where samples are compared. peak, together: bytes of a micro-batch without and with the gradients that it
    makes. active: numbers in the parameters that it trains. group: samples that no split may cut."""

    name: str
    batch_size: int
    share: float
    tokens: int | None
    work: Mapping[tuple[str, str], float]
    embedding: Mapping[tuple[str, str], float]
    kept: Line
    peak: Line
    together: Line
    comparing: Comparing
    comparing_work: Comparing
    gathered: int
    inputs: int
    active: int
    group: int = 1

    @property
    def flops(self) -> float:
        return sum(self.work.values())


@dataclass(frozen=True)
class StageCount:
    """One stage. components: numbers in the parameters by part of the model; reached: of those that are trained;
    helpers, replicas: bytes by name; largest: the module that ZeRO-3 gathers the most for, and its parameters."""

    name: str
    stage: Stage
    components: dict[str, int]
    reached: int
    buffers: int
    helpers: dict[str, int]
    replicas: dict[str, int]
    largest: tuple[str, int]
    gathers: int  # modules with parameters of their own
    streams: dict[str, StreamCount]
    torch_only: bool  # an objective writes parameters itself, which DeepSpeed does not allow
    has_blocks: bool  # transformer blocks, whose activations can be computed again

    @property
    def parameters(self) -> int:
        return sum(self.components.values())


def count(recipe: Recipe, how: How, tokens: int | None = None) -> Iterator[StageCount]:
    """Every stage of a recipe that `check_stages` has passed. tokens: of the longest text of a batch, where that is
    less than texts may have. Raises Missing where a run that it starts from is not there."""
    rehearsal, models = Rehearsal(), dict[str, nn.Module]()
    for name, stage in recipe.stages.items():
        stage = _shortened(stage, tokens)
        models[name] = rehearsal.build(stage.model)
        helpers = {helper: _helper(recipe, value, rehearsal, models) for helper, value in stage.frozen.items()}
        yield _stage(name, stage, Shapes(stage, rehearsal, models[name], helpers), how)


def _shortened(stage: Stage, tokens: int | None) -> Stage:
    if tokens is None:
        return stage
    if tokens < 3:
        raise VltkError(f"--tokens {tokens}: a text has at least 3, the first and the last of which are marks")
    streams = {}
    for name, stream in stage.streams.items():
        most = stream.max_length or (stage.tokenizer.max_length if stage.tokenizer else tokens)
        streams[name] = stream.model_copy(update={"max_length": min(tokens, most)})
    return stage.model_copy(update={"streams": streams})


def _helper(recipe: Recipe, value: str, rehearsal: Rehearsal, models: Mapping[str, nn.Module]) -> Any:
    own = own_stage(recipe, value)
    if own is not None:
        return models[own]
    found = source(recipe, value)
    return rehearsal.build(found.stage().model if isinstance(found, HfFolder) else load_stage(found).model)


def _stage(name: str, stage: Stage, shapes: Shapes, how: How) -> StageCount:
    weight = sum(stream.weight for stream in stage.streams.values())
    passes = {stream: [shapes.micro_batch(stream, size, how) for size in SIZES] for stream in stage.streams}
    sizes = shapes.sizes()
    streams = {
        stream: _stream(stream, stage, shapes, how, passes[stream], options.weight / weight, sizes)
        for stream, options in stage.streams.items()
    }
    reached = set().union(*(one[0].reached for one in passes.values()))
    return StageCount(
        name=name,
        stage=stage,
        components=shapes.components(),
        reached=sum(sizes[parameter] for parameter in reached),
        buffers=_bytes(shapes.pretraining.buffers()),
        helpers={helper: _bytes([*part.parameters(), *part.buffers()]) for helper, part in shapes.helpers.items()},
        replicas={
            kind: _bytes([*part.module.parameters(), *part.module.buffers()])
            for kind, part in shapes.pretraining.replicas.items()
        },
        largest=shapes.largest(),
        gathers=shapes.gathers(),
        streams=streams,
        torch_only=shapes.moves_parameters,
        has_blocks=shapes.has_blocks,
    )


def _stream(
    name: str, stage: Stage, shapes: Shapes, how: How, passes: list[Pass], share: float, sizes: Mapping[str, int]
) -> StreamCount:
    small, large = passes
    joins = shapes.joins(name)
    compared = [shapes.comparison(name, *probe) for probe in PROBES] if joins else []
    nothing = [0.0] * len(PROBES)
    return StreamCount(
        name=name,
        batch_size=stage.streams[name].batch_size,
        share=share,
        tokens=shapes.tokens(name),
        work={key: (flops - small.work[key]) / (SIZES[1] - SIZES[0]) for key, flops in large.work.items()},
        embedding=shapes.embedding(name) if joins else {},
        kept=Line.through(small.kept, large.kept),
        peak=Line.through(small.peak, large.peak),
        together=Line.through(small.together, large.together),
        comparing=Comparing.through([one.peak for one in compared] or nothing),
        comparing_work=Comparing.through([float(sum(one.work.values())) for one in compared] or nothing),
        gathered=shapes.gathered(name) if joins else 0,
        inputs=shapes.inputs(name),
        active=sum(sizes[parameter] for parameter in large.reached),
        group=stage.streams[name].group,
    )


def _bytes(tensors: Any) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
