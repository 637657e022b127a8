"""The plan of a recipe as plain data: what is printed, and what `--json` gives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from vltk.errors import VltkError
from vltk.plan import gpus as known
from vltk.plan import host
from vltk.plan.calibrate import Calibration
from vltk.plan.count import StageCount, StreamCount, count
from vltk.plan.gpus import CPU, GIB, NODE, Gpu
from vltk.plan.layouts import CONTEXT, LOST, ZERO, Chosen, best, counts, days, divides, even, largest, needed, unfit
from vltk.plan.memory import Layout, memory, saving
from vltk.plan.pace import Assumptions, pace
from vltk.plan.stage import How
from vltk.plan.traffic import traffic
from vltk.recipe import Recipe
from vltk.train.check import check_mappings, check_stages

MOST = 1024  # GPUs of the simulated scaling
TIES = 1.02  # GPU-hours: as cheap as the cheapest


@dataclass(frozen=True)
class Wishes:
    """What the user gives: which GPU, how many, at most how many days, and what is assumed."""

    gpu: str = "a100-80g"
    gpus: int = 8
    days: float | None = None
    tokens: int | None = None
    assumed: Assumptions = Assumptions()
    measured: Calibration | None = None


def plan(recipe: Recipe, wishes: Wishes) -> dict[str, Any]:
    """Everything, sizes in bytes, times in seconds where not said otherwise.

    Raises VltkError where the GPU is not known, or where a stage fits no layout on it; Missing where a run that the
    recipe starts from is not there; RecipeError with the recipe's mistakes.
    """
    gpu = known.find(wishes.gpu)
    check_mappings(recipe)
    if wishes.gpu == CPU and wishes.measured is None:
        raise VltkError("--gpu cpu: how fast this machine is has to be measured: add --calibrate")
    stages = counted(recipe, How(fused=wishes.gpu != CPU), wishes.tokens)
    checked: dict[str, Any] = {}
    if (measured := wishes.measured) is not None:
        beside = host.beside(stages, measured) if wishes.gpu == CPU else {}
        wishes = replace(wishes, assumed=replace(wishes.assumed, measured=measured.paces, beside=beside))
        checked = host.checked(stages, measured) if wishes.gpu == CPU else {}
    if (error := unfit(stages, wishes.gpus, gpu, wishes.assumed)) is not None:
        raise error
    described = [_stage(stage, gpu, wishes) for stage in stages]
    hours = 24 * wishes.gpus
    scaling = [_scaled(stages, number, gpu, wishes) for number in counts(max(MOST, wishes.gpus))]
    return {
        "recipe": recipe.name,
        "gpu": gpu.model_dump(),
        "gpus": wishes.gpus,
        "assumed": _assumed(gpu, wishes),
        "calibration": checked,
        "stages": described,
        "days": sum(stage["days"] for stage in described),
        "gpu_hours": sum(stage["days"] for stage in described) * hours,
        "flops": sum(stage["flops"] for stage in described),
        "scaling": scaling,
        "cheapest": _cheapest(scaling, wishes.days),
    }


def counted(recipe: Recipe, how: How, tokens: int | None = None) -> list[StageCount]:
    """`count`; where it breaks, the mistakes of the recipe instead, if it has any."""
    try:
        return list(count(recipe, how, tokens))
    except VltkError:
        raise
    except Exception:
        check_stages(recipe)
        raise


def own_layout(stage: StageCount, count: int) -> Layout:
    """As the recipe has it."""
    asked = stage.stage.deepspeed
    zero = None if asked is None else int((asked.get("zero_optimization") or {}).get("stage", 0))
    most = max(stream.batch_size // count for stream in stage.streams.values())
    return even(stage, Layout(count, zero, min(stage.stage.micro_batch or most, most)))


def _assumed(gpu: Gpu, wishes: Wishes) -> dict[str, Any]:
    assumed = wishes.assumed
    return {
        "mfu": None if assumed.measured else assumed.mfu,
        "measured": {"/".join(key): asdict(value) for key, value in assumed.measured.items()},
        "overlap": assumed.overlap,
        "latency": assumed.latency,
        "link_gb_s": gpu.link,
        "network_gb_s": gpu.network,
        "node": NODE,
        "beside": dict(assumed.beside),
        "context_gib": CONTEXT,
        "lost_share": LOST,
        "tokens": wishes.tokens,
    }


def _stage(stage: StageCount, gpu: Gpu, wishes: Wishes) -> dict[str, Any]:
    assumed, number = wishes.assumed, wishes.gpus
    own = own_layout(stage, number)
    chosen = best(stage, number, gpu, assumed)
    assert chosen is not None, "unfit() has passed it"
    return {
        "name": stage.name,
        "steps": stage.stage.steps,
        "precision": stage.stage.precision,
        "checkpoint_activations": stage.stage.checkpoint_activations,
        "parameters": stage.components,
        "trained": stage.reached,
        "helpers": stage.helpers,
        "replicas": stage.replicas,
        "largest_gather": {"module": stage.largest[0], "numbers": stage.largest[1]},
        "streams": {name: _stream(stream) for name, stream in stage.streams.items()},
        "flops": sum(s.share * s.batch_size * s.flops for s in stage.streams.values()) * stage.stage.steps,
        "memory": {Layout(number, zero, 1).name: _memory(stage, zero, own, gpu, assumed) for zero in ZERO},
        "traffic": {
            Layout(number, zero, 1).name: {
                name: traffic(stage, s, Layout(number, zero, own.micro_batch)) for name, s in stage.streams.items()
            }
            for zero in ZERO
        },
        **_layouts(stage, chosen, gpu, assumed),
        "pace": {
            name: asdict(timed) | {"seconds": timed.seconds, "rounds": chosen.layout.rounds(s)}
            for name, s in stage.streams.items()
            for timed in [pace(stage, s, chosen.layout, gpu, assumed)]
        },
        "step": chosen.seconds,
        "days": days(stage, chosen),
        "gpu_hours": days(stage, chosen) * 24 * number,
        "saving": saving(stage, number) * min(number, NODE),
    }


def _stream(stream: StreamCount) -> dict[str, Any]:
    by = Counter[str]()
    for (component, _), flops in stream.work.items():
        by[component] += int(flops)
    kinds = Counter[str]()
    for (_, kind), flops in stream.work.items():
        kinds[kind] += int(flops)
    return {
        "batch_size": stream.batch_size,
        "share": stream.share,
        "tokens": stream.tokens,
        "flops": stream.flops,
        "by_component": dict(by),
        "by_arithmetic": dict(kinds),
        "active": stream.active,
        "activations_a_sample": stream.peak.each,
    }


def _memory(stage: StageCount, zero: int | None, own: Layout, gpu: Gpu, assumed: Assumptions) -> dict[str, Any]:
    """At the recipe's micro-batch, of the stream that takes most."""
    layout = Layout(own.gpus, zero, own.micro_batch)
    every = {name: memory(stage, stream, layout) for name, stream in stage.streams.items()}
    name = max(every, key=lambda stream: every[stream].peak)
    most = largest(stage, own.gpus, zero, gpu, assumed)
    return {
        "stream": name,
        "parts": dict(every[name].parts),
        "offloaded": every[name].offloaded,
        "peak": every[name].peak,
        "fits": needed(stage, layout, assumed) <= gpu.bytes,
        "largest_micro_batch": most.micro_batch if most else 0,
    }


def _layouts(stage: StageCount, chosen: Chosen, gpu: Gpu, assumed: Assumptions) -> dict[str, Any]:
    """That of the recipe and the chosen one, on as many GPUs."""
    own = own_layout(stage, chosen.layout.gpus)
    return {
        "own": _layout(own) | {"fits": needed(stage, own, assumed) <= gpu.bytes},
        "chosen": _layout(chosen.layout) | {"peak": chosen.peak},
    }


def _layout(layout: Layout) -> dict[str, Any]:
    return {"layout": layout.name, "zero": layout.zero, "micro_batch": layout.micro_batch, "gpus": layout.gpus}


def _scaled(stages: Sequence[StageCount], number: int, gpu: Gpu, wishes: Wishes) -> dict[str, Any]:
    """The whole recipe on so many GPUs, each stage in its fastest layout there."""
    chosen: dict[str, Chosen] = {}
    for stage in stages:
        found = best(stage, number, gpu, wishes.assumed)
        if found is None:
            why = "fits no layout" if divides(stage, number) else "its batches are no multiple"
            return {"gpus": number, "days": None, "gpu_hours": None, "why": f"stage {stage.name}: {why}"}
        chosen[stage.name] = found
    total = sum(days(stage, chosen[stage.name]) for stage in stages)
    return {
        "gpus": number,
        "days": total,
        "gpu_hours": total * 24 * number,
        "stages": {
            stage.name: _layouts(stage, chosen[stage.name], gpu, wishes.assumed) | {"step": chosen[stage.name].seconds}
            for stage in stages
        },
    }


def _cheapest(scaling: list[dict[str, Any]], limit: float | None) -> dict[str, Any] | None:
    """The fewest GPU-hours within the days; of about equal ones the soonest."""
    possible = [row for row in scaling if row["days"] is not None and (limit is None or row["days"] <= limit)]
    if not possible:
        return None
    least = min(row["gpu_hours"] for row in possible)
    return min((row for row in possible if row["gpu_hours"] <= TIES * least), key=lambda row: row["days"])


def gib(size: float) -> float:
    return size / GIB
