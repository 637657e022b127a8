"""The words and tables of the report: header, overall results, facts of a stage, recipe, bad samples."""

from __future__ import annotations

import json
from datetime import datetime
from html import escape
from pathlib import Path
from typing import Any

from vltk.report.history import Lines, Score
from vltk.report.page import duration, facts, fold, notice, number, pill, section, table
from vltk.report.record import StageRecord

SHOWN_BAD = 20
HEADLINES = 8


def header(title: str, stages: list[StageRecord]) -> str:
    """Name, status, the facts of the whole run, and how its time divides among the stages."""
    last = stages[-1].info
    seconds = sum(stage.seconds for stage in stages)
    pairs = [
        ("time", duration(seconds) if seconds else ""),
        ("steps", f"{sum(stage.step for stage in stages):,}"),
        ("hardware", escape(_words(last.get("hardware") or last.get("machine")))),
        ("vltk", escape(_words(last.get("vltk")))),
        ("recipe", _source(last)),
        ("seed", escape(_words(stages[-1].recipe.get("seed")))),
    ]
    made = f"written {datetime.now():%Y-%m-%d %H:%M}"
    return (
        f'<header class="top"><div class="title"><h1>{escape(title)}</h1>{pill(_status(stages))}'
        f'<span class="made">{made}</span></div>{facts(pairs)}{_timeline(stages) if len(stages) > 1 else ""}</header>'
    )


def _status(stages: list[StageRecord]) -> str:
    states = [stage.status for stage in stages]
    return next((state for state in states if state != "finished"), "finished")


def _source(info: dict[str, Any]) -> str:
    recipe = info.get("recipe")
    return f"<code>{escape(str(recipe))}</code>" if isinstance(recipe, str) else ""


def _words(value: Any) -> str:
    """A provenance value as text: mappings and lists as their values."""
    if isinstance(value, dict):
        return ", ".join(_words(v) for v in value.values() if v not in (None, "", []))
    if isinstance(value, list):
        return ", ".join(map(_words, value))
    return "" if value is None else str(value)


def _timeline(stages: list[StageRecord]) -> str:
    """A bar with a part a stage, as wide as its share of the time; each leads to its section."""
    whole = sum(stage.seconds for stage in stages) or 1.0
    parts = "".join(
        f'<a href="#{anchor(stage)}" style="flex-grow:{max(stage.seconds / whole, 0.06):.3f}">'
        f'<b>{escape(stage.name)}</b><span>{duration(stage.seconds)}</span><i class="{escape(stage.status)}" '
        f'style="width:{100 * _progress(stage):.0f}%"></i></a>'
        for stage in stages
    )
    return f'<nav class="timeline">{parts}</nav>'


def anchor(stage: StageRecord) -> str:
    return f"stage-{escape(stage.name)}"


def _progress(stage: StageRecord) -> float:
    return min(1.0, stage.step / stage.steps) if stage.steps else float(stage.status == "finished")


def _value(score: Score, value: float) -> str:
    if score.metric.endswith("PSNR"):
        return f"{value:.1f} dB"
    return f"{value:.1f} %" if score.in_percent else number(value)


def results(stages: list[StageRecord]) -> str:
    """Overall results: the last stage's as figures, those of all stages as a table, latest of each task and metric."""
    scored = [stage for stage in stages if stage.scores]
    if not scored:
        return ""
    scores = scored[-1].scores
    figures = "".join(_figure(score, scores) for score in _headlines(scores))
    several = len(stages) > 1
    heads = ["stage"] * several + ["task", "metric", "value", "", "chance", "n", "step", "seed", "best so far"]
    rows = [[escape(s.name)] * several + _score_cells(score) for s in scored for score in s.scores]
    body = f'<div class="figures">{figures}</div>' * bool(figures)
    body += table(heads, _unrepeated(rows, 1 + several), numeric=[n + several for n in (2, 4, 5, 6, 7, 8)])
    return section("Results", body, name="results")


def _headlines(scores: list[Score]) -> list[Score]:
    """The scores worth large type: first places, accuracies, tokenizers; then the wider recalls while there is room."""
    first = [s for s in scores if s.metric.endswith("R@1") or s.metric in ("accuracy", "PSNR", "perplexity")]
    wider = [s for s in scores if s.metric.endswith("R@10")]
    return (first + wider)[:HEADLINES]


def _figure(score: Score, scores: list[Score]) -> str:
    """A score in large type; below it n, chance, and the same metric of a baseline.

    Baselines are called `accuracy at random weights` or `k-means PSNR`.
    """
    n = score.latest.get("n")
    lines = [f"{score.where} · n = {n:,}" if isinstance(n, int) else score.where]
    if score.chance is not None:
        lines.append(f"chance {_value(score, score.chance)}")
    for other in scores:
        before, same, behind = other.metric.partition(score.metric)
        beside = before == "k-means " or behind.startswith(" at ")
        if same and beside and (other.task, other.split) == (score.task, score.split):
            lines.append(f"{(before + behind).strip()} {_value(other, other.latest['value'])}")
    smalls = "".join(f"<small>{escape(line)}</small>" for line in lines)
    return f"<div><b>{_value(score, score.latest['value'])}</b><span>{_metric(score)}</span>{smalls}</div>"


def _metric(score: Score) -> str:
    return escape(score.metric.replace("_", " "))


def _score_cells(score: Score) -> list[str]:
    """task, metric, value, its bar with a mark at chance, chance, n, step, seed, best so far."""
    value = float(score.latest["value"])
    bar = chance = best = ""
    if score.chance is not None:
        chance = _value(score, score.chance)
    if score.in_percent:
        mark = "" if score.chance is None else f'<i style="left:{score.chance:.1f}%"></i>'
        bar = f'<span class="bar" style="--share:{max(0.0, min(1.0, value / 100)):.3f}">{mark}</span>'
    if len(score.steps) > 1:
        at = score.steps[score.best]
        best = f"{_value(score, score.values[score.best])} <small>at {at:,}</small>"
        best = "<small>the latest</small>" if at == score.latest.get("step") else best
    cells = [_cell(score.latest.get(key)) for key in ("n", "step", "seed")]
    return [escape(score.where), _metric(score), _value(score, value), bar, chance, *cells, best]


def _unrepeated(rows: list[list[str]], columns: int) -> list[list[str]]:
    """The rows with their first cells left empty where they only repeat those above."""
    shown, above = [], [""] * columns
    for row in rows:
        same = [row[: i + 1] == above[: i + 1] for i in range(columns)]
        shown.append(["" if same[i] else row[i] for i in range(columns)] + row[columns:])
        above = row
    return shown


def _cell(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else escape(_words(value))


def stage_head(stage: StageRecord) -> str:
    """Name, status, facts and streams of a stage."""
    steps = f"{stage.step:,}" + (f" of {stage.steps:,}" if stage.steps else "")
    logged = stage.rows[-1].get("samples_per_s") if stage.rows else None
    pairs = [
        ("steps", f'{steps}<i class="progress" style="--share:{_progress(stage):.3f}"></i>'),
        ("time", duration(stage.seconds) if stage.seconds else ""),
        ("samples a second", number(float(logged)) if logged else ""),
        ("model", escape(_part(stage.recipe.get("model")))),
        ("precision", escape(_words(stage.recipe.get("precision")))),
        ("starts from", escape(", ".join(f"{k}: {v}" for k, v in (stage.recipe.get("init") or {}).items()))),
    ]
    told = stage.recipe.get("description")
    return (
        f'<div class="title"><h2>{escape(stage.name)}</h2>{pill(stage.status)}</div>'
        + (f'<p class="note">{escape(str(told))}</p>' if told else "")
        + facts(pairs)
    )


def _part(choice: Any) -> str:
    return str(choice.get("part", "")) if isinstance(choice, dict) else _words(choice)


def streams(stage: StageRecord, colour: dict[str, int]) -> str:
    """The streams of a stage: data, batch size, weight, objectives."""
    rows = [
        [
            f'<span class="stream c{colour[name]}">{escape(name)}</span>',
            escape(_words(stream.get("data"))),
            escape(", ".join(stream.get("objectives") or {})),
            _cell(stream.get("batch_size")),
            _cell(stream.get("weight", 1)),
        ]
        for name, stream in stage.streams.items()
    ]
    return table(["stream", "data", "objectives", "batch", "weight"], rows, numeric=(3, 4)) if rows else ""


def recipe(stage: StageRecord, page_folder: Path) -> str:
    """The resolved recipe and the provenance, folded away."""
    path = (stage.folder / "recipe.yaml").relative_to(page_folder).as_posix()
    link = f'<p class="note">From <a href="{escape(path)}">{escape(path)}</a> beside this page.</p>'
    told = fold("Resolved recipe", link + f"<pre>{escape(stage.recipe_text)}</pre>") if stage.recipe_text else ""
    info = json.dumps(stage.info, indent=2, ensure_ascii=False)
    return told + (fold("Provenance (run.json)", f"<pre>{escape(info)}</pre>") if stage.info else "")


def bad_samples(stage: StageRecord) -> str:
    """How many samples could not be used, and the first of them."""
    rows = stage.bad_samples.rows
    if not rows:
        return ""
    keys = ("step", "dataset", "key", "reason")
    body = table(keys, ([_cell(row.get(key)) for key in keys] for row in rows[:SHOWN_BAD]), numeric=(0,))
    more = f", the first {SHOWN_BAD} here; all in bad_samples.jsonl" if len(rows) > SHOWN_BAD else ""
    note = f"{len(rows):,} could not be used and were replaced{more}."
    return section("Bad samples", body, note=note)


def unreadable(stage: StageRecord) -> str:
    """Which lines of the stage's records could not be read."""
    files = {"metrics.jsonl": stage.metrics, "results.jsonl": stage.results, "bad_samples.jsonl": stage.bad_samples}
    return "".join(notice(text) for name, lines in files.items() for text in _complaints(name, lines))


def _complaints(name: str, lines: Lines) -> list[str]:
    told = []
    if lines.unfinished:
        told.append(f"{name}: 1 line at the end is only half written (the run may be writing it) and is left out.")
    if lines.broken:
        places = ", ".join(map(str, lines.broken[:5]))
        told.append(f"{name}: {len(lines.broken)} lines could not be read and are left out (line {places}).")
    return told
