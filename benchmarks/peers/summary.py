"""The table of the benchmark: every model over its seeds, at its last evaluation and at its best, ours against each."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

from benchmarks.peers.courses import Course, by_model
from benchmarks.peers.training import Record

METRICS = [f"{way} R@{k}" for k in (10, 5, 1) for way in ("image_to_text", "text_to_image")]
OURS = "ours"


def table(courses: Sequence[Course]) -> str:
    """Markdown. Recalls in per cent: mean and standard deviation over seeds; of the differences also each seed's."""
    models = by_model(courses)
    head = ["", "seeds", "steps", "minutes", *(metric.replace("_", " ") for metric in METRICS)]
    lines = [_row(head), _row(["---"] * len(head))]
    for model, group in models.items():
        lines += [_row(_figures(f"{model}, {which}", group, pick)) for which, pick in PICKS.items()]
    if OURS in models:
        for model in [name for name in models if name != OURS]:
            for which, pick in PICKS.items():
                lines.append(_row(_differences(f"ours - {model}, {which}", models[OURS], models[model], pick)))
    return "\n".join(lines)


def last(course: Course) -> Record:
    return course.records[-1]


def best(course: Course) -> Record:
    """The first of those with the largest sum of the six recalls."""
    return max(course.records, key=lambda record: sum(_recalls(record)))


PICKS: dict[str, Callable[[Course], Record]] = {"last": last, "best": best}


def _figures(title: str, group: Sequence[Course], pick: Callable[[Course], Record]) -> list[str]:
    records = [pick(course) for course in group]
    steps = dict.fromkeys(str(record["step"]) for record in records)  # one where all seeds have it
    minutes = statistics.fmean(float(str(record["seconds"])) / 60 for record in records)
    columns = zip(*map(_recalls, records), strict=True)
    return [title, _seeds(group), ", ".join(steps), f"{minutes:.1f}", *(_mean(values) for values in columns)]


def _differences(
    title: str, ours: Sequence[Course], peers: Sequence[Course], pick: Callable[[Course], Record]
) -> list[str]:
    """Of the same seed; both groups are in the order of their seeds."""
    pairs = [(_recalls(pick(one)), _recalls(pick(other))) for one, other in zip(ours, peers, strict=True)]
    columns = zip(*([a - b for a, b in zip(*pair, strict=True)] for pair in pairs), strict=True)
    return [title, _seeds(ours), "", "", *(_mean(values, "+") + _each(values) for values in columns)]


def _recalls(record: Record) -> list[float]:
    return [float(str(record[metric])) for metric in METRICS]


def _mean(values: Sequence[float], sign: str = "") -> str:
    spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):{sign}z.1f}{spread}"


def _each(values: Sequence[float]) -> str:
    return f" ({', '.join(f'{value:+z.1f}' for value in values)})" if len(values) > 1 else ""


def _seeds(group: Sequence[Course]) -> str:
    return ", ".join(str(course.seed) for course in group)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
