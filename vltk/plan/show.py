"""The plan as tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.console import RenderableType
from rich.table import Table

from vltk.plan.gpus import GIB
from vltk.plan.memory import PARTS

UNITS = ("", "k", "M", "G", "T", "P", "E", "Z")


def tables(plan: dict[str, Any]) -> Iterator[RenderableType]:
    """What `vltk plan` prints, in order."""
    yield heading(plan)
    for stage in plan["stages"]:
        yield ""
        again = ", blocks computed again in backward" if stage["checkpoint_activations"] else ""
        yield f"[bold]{stage['name']}[/bold]: {stage['steps']:,} steps, {stage['precision']}{again}"
        yield counts(stage)
        yield memory(stage, plan["gpu"])
        gathered = stage["largest_gather"]
        yield f"The largest module that ZeRO-3 gathers: {gathered['module']}, {short(gathered['numbers'])} parameters"
        yield times(stage)
    if plan["calibration"]:
        yield ""
        yield calibration(plan)
    yield ""
    yield totals(plan)
    yield scaling(plan)
    yield from ending(plan)


def heading(plan: dict[str, Any]) -> str:
    assumed, gpu = plan["assumed"], plan["gpu"]
    speed = "speed as measured here" if assumed["mfu"] is None else f"{assumed['mfu']:.0%} of the dense peak"
    texts = f"texts of at most {assumed['tokens']} tokens" if assumed["tokens"] else "texts as long as they may be"
    gone = f"{assumed['context_gib']:g} GiB a GPU for CUDA, {assumed['lost_share']:.0%} lost to gaps"
    beside = "memory beside the plan as measured here" if assumed["beside"] else gone
    return (
        f"[bold]{plan['recipe']}[/bold] on {plan['gpus']} x {gpu['name']} ({gpu['memory']:.1f} GiB; {gpu['source']})\n"
        f"Assumed: {speed}; {texts}; {beside}; no waiting for data, no evaluation"
    )


def counts(stage: dict[str, Any]) -> Table:
    """Parameters, and FLOPs of one sample of each stream, forward and backward."""
    table = _table("parameters, FLOPs a sample", "part", "parameters", *stage["streams"])
    streams = stage["streams"].values()
    parts = dict.fromkeys([*stage["parameters"], *(name for stream in streams for name in stream["by_component"])])
    for part in parts:
        flops = [stream["by_component"].get(part, 0) for stream in streams]
        table.add_row(part, short(stage["parameters"].get(part, 0)), *map(short, flops))
    table.add_section()
    table.add_row("all", short(sum(stage["parameters"].values())), *(short(stream["flops"]) for stream in streams))
    table.add_row("trained in its steps", short(stage["trained"]), *(short(stream["active"]) for stream in streams))
    return table


def memory(stage: dict[str, Any], gpu: dict[str, Any]) -> Table:
    """GiB of one GPU by layout."""
    columns = stage["memory"]
    own = stage["own"]
    table = _table(f"GiB a GPU at micro_batch {own['micro_batch']} (the recipe: {own['layout']})", "", *columns)
    for part in PARTS:
        sizes = [column["parts"][part] for column in columns.values()]
        if any(sizes):
            table.add_row(part, *(f"{size / GIB:.2f}" for size in sizes))
    table.add_section()
    marks = ["" if column["fits"] else " too much" for column in columns.values()]
    peaks = [f"{column['peak'] / GIB:.2f}{mark}" for column, mark in zip(columns.values(), marks, strict=True)]
    table.add_row("most at once", *peaks)
    table.add_row("in stream", *(column["stream"] for column in columns.values()))
    if any(column["offloaded"] for column in columns.values()):
        table.add_row("offloaded", *(f"{column['offloaded'] / GIB:.2f}" for column in columns.values()))
    table.add_row("largest micro_batch", *(str(column["largest_micro_batch"]) for column in columns.values()))
    sent = [max(sum(s.values()) for s in stage["traffic"][name].values()) for name in columns]
    table.add_row("GB sent a step", *(f"{size / 1e9:.2f}" for size in sent))
    return table


def times(stage: dict[str, Any]) -> Table:
    """Seconds of a step by stream in the chosen layout."""
    chosen = stage["chosen"]
    title = f"seconds a step with {chosen['layout']}, micro_batch {chosen['micro_batch']}"
    table = _table(title, "stream", "share", "batch", "micro-batches", "compute", "optimizer", "traffic", "step")
    for name, timed in stage["pace"].items():
        stream = stage["streams"][name]
        table.add_row(
            name, f"{stream['share']:.0%}", str(stream["batch_size"]), str(timed["rounds"]), seconds(timed["compute"]),
            seconds(timed["optimizer"]), seconds(timed["traffic"]), seconds(timed["seconds"]),
        )  # fmt: skip
    return table


def calibration(plan: dict[str, Any]) -> Table:
    """Memory of the process in the measured steps, against its plan."""
    title = "GiB of the process in the calibration: beside the plan with few samples; planned with that, and measured"
    table = _table(title, "stage", "beside", "planned", "measured", "error")
    for stage, sizes in plan["calibration"].items():
        error = sizes["planned"] / sizes["measured"] - 1
        table.add_row(stage, *(f"{size / GIB:.2f}" for size in sizes.values()), f"{error:+.1%}")
    return table


def totals(plan: dict[str, Any]) -> Table:
    table = _table("the recipe", "stage", "FLOPs", "step", "days", "GPU-hours", "layout", "micro_batch")
    for stage in plan["stages"]:
        chosen = stage["chosen"]
        table.add_row(
            stage["name"], short(stage["flops"]), seconds(stage["step"]), span(stage["days"]),
            span(stage["gpu_hours"]), chosen["layout"], str(chosen["micro_batch"]),
        )  # fmt: skip
    table.add_section()
    table.add_row("all", short(plan["flops"]), "", span(plan["days"]), span(plan["gpu_hours"]), "", "")
    return table


def scaling(plan: dict[str, Any]) -> Table:
    """Days and GPU-hours by number of GPUs; efficiency against the smallest number on which everything fits."""
    table = _table("by number of GPUs, simulated", "GPUs", "days", "GPU-hours", "efficiency")
    table.add_column("layouts")  # where there is little room this one wraps, and no number is cut
    first = next((row["gpu_hours"] for row in plan["scaling"] if row["days"] is not None), None)
    for row in plan["scaling"]:
        mark = "[green]" if row == plan["cheapest"] else ""
        if row["days"] is None:
            table.add_row(str(row["gpus"]), "-", "-", "-", row["why"], style="dim")
            continue
        layouts = [stage["chosen"] for stage in row["stages"].values()]
        names = [f"{one['layout']} x{one['micro_batch']}" for one in layouts]
        efficiency = f"{first / row['gpu_hours']:.0%}"
        cells = [str(row["gpus"]), span(row["days"]), span(row["gpu_hours"]), efficiency, ", ".join(names)]
        table.add_row(*(f"{mark}{cell}" for cell in cells))
    return table


def ending(plan: dict[str, Any]) -> Iterator[str]:
    assumed, cheapest = plan["assumed"], plan["cheapest"]
    yield (
        f"Simulated: {assumed['link_gb_s']:g} GB/s a GPU among {assumed['node']} of a node, "
        f"{assumed['network_gb_s']:g} beyond; {assumed['latency'] * 1e6:g} us a message, log2(GPUs) of them; "
        f"{assumed['overlap']:.0%} of the traffic of ZeRO-3 and of overlap_comm hidden, none of the "
        "others'; efficiency of the GPUs the same at every number."
    )
    if cheapest is None:
        yield "No number of GPUs ends within these days."
    else:
        yield (
            f"Cheapest: {cheapest['gpus']} GPUs, {span(cheapest['days'])} days, {span(cheapest['gpu_hours'])} "
            "GPU-hours (the fewest; within 2 % of them the soonest)."
        )
    yield from typed(plan["gpus"], {stage["name"]: stage for stage in plan["stages"]})
    if cheapest is not None and cheapest["gpus"] != plan["gpus"]:
        yield from typed(cheapest["gpus"], cheapest["stages"])
    copies = max(stage["saving"] for stage in plan["stages"])
    yield f"While a checkpoint is written, a copy of it takes up to {copies / GIB:.1f} GiB of a node's memory."


def typed(gpus: int, stages: dict[str, dict[str, Any]]) -> Iterator[str]:
    """What to type on so many GPUs for the layouts that are chosen there, where the recipe has others."""
    for name, stage in stages.items():
        own = stage["own"]
        if found := keys(own, stage["chosen"], f"stages.{name}." if len(stages) > 1 else ""):
            has = f"{own['layout']}, micro_batch {own['micro_batch']}"
            why = "as it is it does not fit" if not own["fits"] else "for the chosen layout"
            yield f"On {gpus} GPUs, stage {name} ({has}): {why}: {found}"


def keys(own: dict[str, Any], chosen: dict[str, Any], at: str) -> str:
    """What to type for the chosen layout of a stage, where the recipe has another one."""
    found = [f"{at}micro_batch={chosen['micro_batch']}"] if own["micro_batch"] != chosen["micro_batch"] else []
    if own["zero"] != chosen["zero"]:
        stage_key = f"deepspeed.zero_optimization.stage={chosen['zero']}"
        found.append(f"{at}{'deepspeed=null' if chosen['zero'] is None else stage_key}")
    return " ".join(found)


def short(number: float) -> str:
    """`303.9 M`; empty for nothing."""
    if not number:
        return ""
    scaled, power = float(number), 0
    while abs(scaled) >= 999.95 and power < len(UNITS) - 1:
        scaled, power = scaled / 1000, power + 1
    return f"{scaled:.1f} {UNITS[power]}" if power else f"{scaled:.0f}"


def seconds(time: float) -> str:
    return f"{time:.2f}" if time >= 0.1 else f"{time:.4f}"


def span(time: float) -> str:
    """Of days or hours."""
    return f"{time:,.1f}" if time >= 1 else f"{time:.2g}"


def _table(title: str, first: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="", show_edge=False, pad_edge=False)
    table.add_column(first, no_wrap=True)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table
