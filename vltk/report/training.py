"""What a stage logged, as charts: losses, metrics of the objectives, and the health of the training itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from vltk.report.curves import Curve, curve
from vltk.report.history import Row, Score
from vltk.report.plots import chart, charts
from vltk.report.record import StageRecord

TITLES = {
    "itc": "image-text contrast",
    "itm": "image-text matching",
    "mlm": "masked words",
    "lm": "captions, image in view",
    "mim": "masked patches",
    "mmm_text": "words, image in view",
    "mmm_image": "patches, caption in view",
    "reconstruction": "-log density of the pixels",
    "kl": "codes against the uniform prior",
    "codes_used": "codes in use",
    "perplexity": "perplexity of the codes",
    "dead_codes": "codes never chosen between two rows",
    "psnr": "PSNR of the reconstruction, dB",
    "distillation": "1 - cosine to the teacher's features",
    "commitment": "square between encoding and code",
    "logit_scale": "scale of the similarities",
    "lr": "learning rate",
    "grad_norm": "gradient norm",
    "samples_per_s": "samples a second",
    "data_wait": "waiting for data",
    "memory_gb": "memory, GB",
}
Pick = Callable[[Row], float | None]


def colours(stages: Iterable[StageRecord]) -> dict[str, int]:
    """A colour (0 to 7) a stream name, the same in every stage."""
    names = dict.fromkeys(name for stage in stages for name in [*stage.streams, *_streams(stage)])
    return {name: number % 8 for number, name in enumerate(names)}


def losses(stage: StageRecord, colour: dict[str, int]) -> Iterator[str]:
    """A chart for each objective of each stream."""
    for stream in _streams(stage):
        rows = _of(stage, stream)
        for name in _keys(rows, "losses"):
            line = _curve(stream, colour[stream], rows, _field("losses", name))
            yield chart(name, [line], note=TITLES.get(name, ""))


def metrics(stage: StageRecord, colour: dict[str, int]) -> Iterator[str]:
    """A chart for each metric the objectives report, with a line a stream that has it."""
    for name in _keys(stage.rows, "metrics"):
        share = name.endswith("accuracy")
        lines = _lines(stage, colour, _field("metrics", name, scale=100.0 if share else 1.0))
        yield chart(TITLES.get(name, name.replace("_", " ")), lines, percent=share)


def health(stage: StageRecord, colour: dict[str, int]) -> str:
    """Learning rate, gradient norm of each stream, speed, data wait and memory."""
    rows = list({row["step"]: row for row in stage.rows}.values())  # what streams share stands in each one's row
    norms = chart(TITLES["grad_norm"], _lines(stage, colour, _field("grad_norm")), floor=0.0)
    lr, speed, memory = (
        chart(TITLES[key], [_curve("", 5, rows, _field(key), smoothing)], floor=0.0)
        for key, smoothing in (("lr", 0.0), ("samples_per_s", 0.06), ("memory_gb", 0.0))
    )
    wait = chart(TITLES["data_wait"], [_curve("", 5, rows, _field("data_wait", scale=100.0))], percent=True, floor=0.0)
    return charts([lr, norms, speed, wait, memory])


def evaluations(scores: Iterable[Score]) -> str:
    """A chart for each task and kind of metric that was evaluated at more than one step."""
    groups: dict[tuple[str, str], list[Score]] = {}
    for score in scores:
        if len(score.steps) > 1:
            stem = score.metric.rsplit(" ", 1)[0] if "R@" in score.metric else score.metric
            groups.setdefault((score.where, stem), []).append(score)
    return charts(
        chart(
            stem.replace("_", " "),
            [
                curve(s.metric.removeprefix(stem).strip(), i % 8, s.steps, s.values, smoothing=0.0)
                for i, s in enumerate(group)
            ],
            note=task,
            percent=group[0].in_percent,
        )
        for (task, stem), group in groups.items()
    )


def _field(*keys: str, scale: float = 1.0) -> Pick:
    """The number found below these keys of a row, scaled; None where there is none."""

    def pick(row: Row) -> float | None:
        value: Any = row
        for key in keys:
            value = (value or {}).get(key)
        return scale * value if isinstance(value, int | float) else None

    return pick


def _streams(stage: StageRecord) -> list[str]:
    """The streams that logged steps, in the recipe's order."""
    seen = dict.fromkeys(row.get("stream", "") for row in stage.rows)
    return [name for name in stage.streams if name in seen] + [name for name in seen if name not in stage.streams]


def _of(stage: StageRecord, stream: str) -> list[Row]:
    return [row for row in stage.rows if row.get("stream", "") == stream]


def _keys(rows: list[Row], field: str) -> list[str]:
    return list(dict.fromkeys(key for row in rows for key in row.get(field) or {}))


def _lines(stage: StageRecord, colour: dict[str, int], pick: Pick) -> list[Curve]:
    return [_curve(stream, colour[stream], _of(stage, stream), pick) for stream in _streams(stage)]


def _curve(label: str, colour: int, rows: list[Row], pick: Pick, smoothing: float = 0.06) -> Curve:
    points = [(row["step"], value) for row in rows if (value := pick(row)) is not None]
    return curve(label, colour, [step for step, _ in points], [value for _, value in points], smoothing)
