"""Reasons of rejected texts, grouped for every rule; a job of which nothing is kept says them, and leaves a report."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.unit.capfilt import jobs
from vltk.capfilt import pack, reasons, select, steps
from vltk.capfilt.job import load
from vltk.cli_capfilt import capfilt_app
from vltk.errors import VltkError

SOURCES = ("web", "generated")
AHEAD = "other texts of the image are ahead by itc"
UPPER = "too low: the upper 30% of"


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("{part: itm, threshold: {web: 0.6, generated: 0.7}}", {"web": {"itm < 0.6"}, "generated": {"itm < 0.7"}}),
        ("{part: topk, k: 1, by: itc}", dict.fromkeys(SOURCES, {AHEAD})),
        (
            "{part: best, by: itc, threshold: 0.1}",
            {name: {f"another {name} text has a higher itc", f"best {name} text, itc < 0.1"} for name in SOURCES},
        ),
        ("{part: percentile, keep: 0.3}", {"web": {f"itm {UPPER} web"}, "generated": {f"itm {UPPER} generated"}}),
    ],
)  # fmt: skip
def test_each_rule_and_gate_by_its_own_words(place: Path, rule: str, expected: dict[str, set[str]]) -> None:
    job = load(jobs.recipe(place, gates={"min_words": 5, "unfinished": False}), [f"select={rule}"])
    steps.run(job)
    rows = [row for shard in job.shards for row in select.tables(job).read(shard.name) if not row["kept"]]
    for source, own in expected.items():
        kinds = (reasons.kind(row["reason"]) for row in rows if row["source"] == source)
        found = {one.partition(" texts begin")[0] for one in kinds}
        assert own <= found <= own | {"gate max_repeat", "gate max_run", "gate min_words"}, source
    for row in rows:
        assert reasons.before_the_rule(row["reason"]) is row["reason"].startswith("gate")


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("gate max_run: a word 3 times in a row, at most 2", "gate max_run"),
        ("the image cannot be read: undecodable image: x:\ny", "the image cannot be read"),
        ("itm 0.498 < 0.5", "itm < 0.5"),
        ("3 of 4 by logprob -1.250", "other texts of the image are ahead by logprob"),
        ("another web text has a higher itc than -0.031", "another web text has a higher itc"),
        ("best web text, itc -0.031 < 0.1", "best web text, itc < 0.1"),
        ("itc -0.031; the upper 6% of web texts begin at 0.4", "itc too low: the upper 6% of web texts begin at 0.4"),
        ("of a rule from elsewhere", "of a rule from elsewhere"),
    ],
)  # fmt: skip
def test_without_the_numbers_of_the_text(reason: str, kind: str) -> None:
    assert reasons.kind(reason) == kind


def test_where_nothing_is_kept_the_report_stands_and_nothing_else(place: Path) -> None:
    path = jobs.recipe(place, gates={"min_words": 7, "max_run": None, "unfinished": False})
    done = CliRunner().invoke(capfilt_app, [str(path), "select.threshold=1.0"])
    rows = [row for shard in load(path).shards for row in select.tables(load(path)).read(shard.name)]
    assert done.exit_code == 1 and isinstance(done.exception, VltkError)
    lines = str(done.exception).splitlines()
    assert lines[0] == "no text is kept, so that there is nothing to pack:"
    assert lines[-1] == "take another rule or gates; runs/try/report.html shows the texts"
    counts = [int(line.split()[0]) for line in lines[1:-1]]
    assert counts == sorted(counts, reverse=True) and sum(counts) == len(rows)
    short = sum(len(row["text"].split()) < 7 for row in rows if row["source"] == "web")
    assert f"  {short} web: gate min_words" in lines and any("generated: itm < 1" in line for line in lines)
    assert (place / "runs" / "try" / "report.html").exists() and not (place / "data" / "clean").exists()


def test_pack_alone_says_what_shows_the_texts(place: Path) -> None:
    job = load(jobs.recipe(place), ["select.threshold=1.0"])
    with pytest.raises(VltkError, match=r"itm < 1\n.*vltk capfilt report .*try.yaml select.threshold=1.0 shows"):
        steps.run(job)
    with pytest.raises(VltkError, match="no text is kept"):
        pack.pack(job)
    assert not (place / "data" / "clean").exists()


def test_the_report_stands_before_anything_is_packed(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    monkeypatch.setattr(pack, "pack", lambda *given: done.append("pack"))
    steps.run(load(jobs.recipe(place)), report=lambda job: done.append("report"))
    assert done == ["report", "pack"]
