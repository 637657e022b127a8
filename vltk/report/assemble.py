"""Builds the report: reads the run's files, makes the sections, writes one page at once."""

from __future__ import annotations

from pathlib import Path

from vltk.report import sections, training
from vltk.report.galleries import Load, draw_all, load_trained
from vltk.report.page import notice, page, section
from vltk.report.plots import FRAME, charts
from vltk.report.record import StageRecord, read_stages
from vltk.whole import whole


def build(spec: str, load: Load = load_trained) -> Path:
    """Writes report.html of a run (NAME or its folder: a section a stage) or of one stage (NAME/STAGE).

    `@STEP` behind it shows the weights of that checkpoint. Returns its path. `load` gives the trained model of a stage
    folder. Raises Missing when there is no such run.
    """
    folder, stages = read_stages(spec)
    resolved = folder.resolve()
    title = f"{resolved.parent.name} / {resolved.name}" if stages[0].folder == folder else resolved.name
    colour = training.colours(stages)
    parts = [FRAME, sections.header(title, stages), sections.results(stages)]
    parts += [_stage(stage, colour, folder, load) for stage in stages]
    return _write(folder / "report.html", page(f"{title} · vltk", "\n".join(parts)))


def _stage(stage: StageRecord, colour: dict[str, int], folder: Path, load: Load) -> str:
    """The section of one stage."""
    curves = charts([*training.losses(stage, colour), *training.metrics(stage, colour)])
    body = [
        sections.stage_head(stage),
        sections.streams(stage, colour),
        sections.unreadable(stage),
        section("Losses and metrics", curves or notice("Nothing logged yet.")),
        section("Evaluated during training", training.evaluations(stage.scores)),
        draw_all(stage, load),
        section("Training", training.health(stage, colour)),
        sections.bad_samples(stage),
        sections.recipe(stage, folder),
    ]
    return f'<section class="stage" id="{sections.anchor(stage)}">{"".join(body)}</section>'


def _write(path: Path, text: str) -> Path:
    """The whole file or none of it."""
    with whole(path) as part:
        part.write_text(text, encoding="utf-8")
    return path
