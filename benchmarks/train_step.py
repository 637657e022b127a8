"""A training step of FLAVA against the same step of transformers' FlavaForPreTraining, in turns in one run.

    python -m benchmarks.train_step --size tiny|base --stream image|text|pairs [--batch n] [--json]

Same weights, same batches in the same order, codes given, bf16 autocast, fused AdamW; each in a process of its own, one
working at a time, ours set up as `vltk train` is. Losses are compared before anything is timed. `--shipped` adds
transformers as it comes, with its codebook in the step. `benchmarks/README.md` says what is counted.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from itertools import product
from typing import Any

import torch
import transformers

from benchmarks import _cli
from benchmarks.flops import useful
from benchmarks.steps import DRAWN, SIZES, Ours, Theirs, batches, enough
from benchmarks.turns import COUNTED, Contestant, Spent, in_turns
from vltk.errors import VltkError
from vltk.launch import before_torch
from vltk.train.ceiling import fastest_and_median

STREAMS = ("image", "text", "pairs")
CPU = torch.device("cpu")
WARM = -(-DRAWN // (1 + COUNTED))  # rounds that are not counted: each batch once
OWN = ("ours", "again")  # in the environment that `vltk train` sets; the others in torch's own
LISTED = 20  # rows of a profile
EXACT, NEAR = 1e-6, 2e-2  # the most that a loss may differ, relative, in fp32 and in bf16


def main() -> None:
    parser = _cli.parser(__doc__)
    parser.add_argument("--size", choices=list(SIZES), default="tiny")
    parser.add_argument("--stream", choices=STREAMS, default="pairs")
    sizes = ", ".join(f"{name} {size.batch}" for name, size in SIZES.items())
    parser.add_argument("--batch", type=_cli.positive, help=f"samples a step; default: {sizes}")
    parser.add_argument("--rounds", type=_cli.positive, default=7, help="turns of both, or of three with --shipped")
    parser.add_argument("--threads", type=_cli.positive, default=2)
    parser.add_argument("--shipped", action="store_true", help="transformers with its codebook in the step too")
    parser.add_argument("--checkpoint-activations", action="store_true", help="ours with that key of the recipe too")
    parser.add_argument(
        "--profile", action="store_true", help="where the time of ours goes, by operator; no comparison"
    )
    _cli.json_option(parser)
    given = parser.parse_args()
    others = {"shipped": given.shipped, "again": given.checkpoint_activations}
    if given.shipped and given.stream == "text":
        parser.error("--shipped: texts have no codes; take the stream image or pairs")
    if given.profile and (given.json or any(others.values())):
        parser.error("--profile goes with none of --json, --shipped and --checkpoint-activations")
    count = enough(given.stream, given.batch or SIZES[given.size].batch)
    if given.profile:
        print(profile(given.size, given.stream, count, given.rounds, given.threads))
        return
    found = measure(given.size, given.stream, count, given.rounds, given.threads, **others)
    print(table(found))
    _cli.last(found, given.json)


def measure(
    name: str, stream: str, count: int, rounds: int, threads: int = 2, shipped: bool = False, again: bool = False
) -> dict[str, Any]:
    """Conditions and figures; raises VltkError where the losses are not the same."""
    torch.set_num_threads(threads)
    size = SIZES[name]
    kinds: dict[str, Any] = {"peer": partial(Theirs, size, stream, count), "ours": partial(Ours, size, stream, count)}
    if shipped:
        kinds["shipped"] = partial(Theirs, size, stream, count, codebook=True)
    if again:
        kinds["again"] = partial(Ours, size, stream, count, again=True)
    with ExitStack() as stack:
        contestants = {
            kind: stack.enter_context(Contestant(threads, build, prepare=before_torch if kind in OWN else int))
            for kind, build in kinds.items()
        }
        differences = compared(contestants["ours"], contestants["peer"])
        tops = partial(fastest_and_median, CPU, torch.bfloat16)
        spent, ceilings = in_turns(contestants, "step", rounds, WARM, tops)
        peak = {kind: contestant.peak() for kind, contestant in contestants.items()}
        kept = {kind: contestant("kept") for kind, contestant in contestants.items()}
    drawn = (batches(size, stream, count, number=number)[0] for number in range(DRAWN))
    flops = statistics.mean(useful(size, batch, stream) for batch in drawn)
    figures = {kind: _figures(own, spent["ours"], ceilings, flops, count) for kind, own in spent.items()}
    title = f"transformers {transformers.__version__} FlavaForPreTraining"
    own = figures.pop("ours") | {key: figures["peer"][key] for key in ("ratio", "spread", "cpu_ratio")}
    return {
        "size": name, "stream": stream, "batch": count, "rounds": rounds, "threads": threads, "precision": "bf16",
        "torch": torch.__version__, "load": os.getloadavg(), **own, **figures,
        "peer": {"name": title} | figures["peer"],
        "ceiling_gflops": statistics.median(top for top, _ in ceilings) / 1e9,
        "median_gflops": statistics.median(usual for _, usual in ceilings) / 1e9, "useful_gflop": flops / 1e9,
        "loss_differences": differences, "peak_gib": peak, "kept_mib": kept, "ceilings": ceilings,
        "seconds": {kind: [one.wall for one in own] for kind, own in spent.items()},
    }  # fmt: skip


def profile(name: str, stream: str, count: int, rounds: int, threads: int) -> str:
    """Markdown: where the time of our step goes, by operator and by operator and shapes, over so many steps behind the
    first ones. Times are those of the operators themselves, without what they call."""
    torch.set_num_threads(threads)
    ours = Ours(SIZES[name], stream, count)
    for _ in range(DRAWN):
        ours.step()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], record_shapes=True) as seen:
        for _ in range(rounds):
            ours.step()
    kinds = [(event.key, event) for event in seen.key_averages()]
    shapes = [
        (f"{event.key} {event.input_shapes}".replace(", []", ""), event)
        for event in seen.key_averages(group_by_input_shape=True)
    ]
    whole = sum(event.self_cpu_time_total for _, event in kinds) / rounds / 1e3
    tables = (_shares("operator", kinds, rounds), _shares("operator, shapes", shapes, rounds))
    return f"{whole:.1f} ms of operators a step, profiler included\n" + "\n\n".join(tables)


def _shares(title: str, events: list[tuple[str, Any]], rounds: int) -> str:
    """The first `LISTED` by their own time."""
    whole = sum(event.self_cpu_time_total for _, event in events)
    lines = [f"| {title} | share | ms | calls |", "|---|---|---|---|"]
    for name, event in sorted(events, key=lambda one: -one[1].self_cpu_time_total)[:LISTED]:
        spent = event.self_cpu_time_total
        lines.append(f"| {name} | {spent / whole:.1%} | {spent / rounds / 1e3:.2f} | {event.count / rounds:.0f} |")
    return "\n".join(lines)


def compared(ours: Contestant, theirs: Contestant) -> dict[str, float]:
    """The largest relative difference of a loss of any batch, in fp32 and in bf16; raises VltkError where there is one
    to see."""
    found = {"fp32": 0.0, "bf16": 0.0}
    for number, (name, low, most) in product(range(DRAWN), (("fp32", False, EXACT), ("bf16", True, NEAR))):
        here, there = ours("losses", low, number), theirs("losses", low, number)
        if here.keys() != there.keys():
            raise VltkError(f"losses of another name: {sorted(here)} here, {sorted(there)} in transformers")
        differences = [abs(here[loss] - there[loss]) / abs(there[loss]) for loss in there]
        if not all(difference <= most for difference in differences):
            raise VltkError(f"losses differ in {name}, so the work is not the same: {here}, in transformers {there}")
        found[name] = max(found[name], *differences)
    return found


def _figures(
    theirs: list[Spent], ours: list[Spent], ceilings: list[tuple[float, float]], flops: float, count: int
) -> dict[str, Any]:
    """Medians over rounds of what is measured in each, and how many times faster ours is, with the extremes."""
    ratios = [one.wall / other.wall for one, other in zip(theirs, ours, strict=True)]
    return {
        "ratio": statistics.median(ratios),
        "spread": [min(ratios), max(ratios)],
        "cpu_ratio": statistics.median(one.cpu / other.cpu for one, other in zip(theirs, ours, strict=True)),
        "mfu": statistics.median(flops / one.wall / top for one, (top, _) in zip(theirs, ceilings, strict=True)),
        "mfu_of_median": statistics.median(
            flops / one.wall / usual for one, (_, usual) in zip(theirs, ceilings, strict=True)
        ),
        "samples_per_s": count / statistics.median(one.wall for one in theirs),
    }


def table(found: Mapping[str, Any]) -> str:
    """The figures as Markdown."""
    differences = ", ".join(f"{value:.1e} in {name}" for name, value in found["loss_differences"].items())
    lines = [
        f"{found['size']} {found['stream']}: {found['batch']} samples a step, {found['precision']}, "
        f"{found['threads']} threads, torch {found['torch']}, load {found['load'][0]:.1f}, "
        f"medians of {found['rounds']} rounds",
        f"losses differ by at most {differences}; {found['useful_gflop']:.1f} useful GFLOP a step, "
        f"matrix products reach {found['ceiling_gflops']:.0f} GFLOP/s in the fastest call, "
        f"{found['median_gflops']:.0f} in the median one",
        "| | samples/s | MFU | of median call | peak GiB | kept for backward MiB | ours is faster by | in CPU time |",
        "|---|---|---|---|---|---|---|---|",
        f"| ours | {_cells(found, found, 'ours')} | | |",
    ]
    titles = {
        "peer": found["peer"]["name"],
        "shipped": "the same with its codebook",
        "again": "ours, activations computed again",
    }
    for kind, title in titles.items():
        if kind in found:
            low, high = found[kind]["spread"]
            faster = f"{found[kind]['ratio']:.2f} ({low:.2f} to {high:.2f})"
            cells = f"{_cells(found, found[kind], kind)} | {faster} | {found[kind]['cpu_ratio']:.2f}"
            lines.append(f"| {title} | {cells} |")
    return "\n".join(lines)


def _cells(found: Mapping[str, Any], figures: Mapping[str, Any], kind: str) -> str:
    memory = f"{found['peak_gib'][kind]:.2f} | {found['kept_mib'][kind]:.0f}"
    return f"{figures['samples_per_s']:.1f} | {figures['mfu']:.0%} | {figures['mfu_of_median']:.0%} | {memory}"


if __name__ == "__main__":
    _cli.run(main)
