"""The report of a CapFilt job: its counts are those of the decisions, its pictures those of the texts that it shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.capfilt import jobs
from tests.unit.report.report_pages import Page
from vltk.capfilt import select, steps
from vltk.capfilt.job import Job, load
from vltk.data.shard import write_dataset
from vltk.errors import Missing
from vltk.report.capfilt import build
from vltk.report.histogram import Bins, Part, histogram, span


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VLTK_DATA", str(tmp_path / "data"))
    jobs.write_web(tmp_path / "data")
    write_dataset(tmp_path / "data" / "people", jobs.records(9, 101), {"kind": "test"})
    jobs.install(monkeypatch)
    return load(jobs.recipe(tmp_path, data={"web": {}, "people": {"human": True}}))


def test_what_it_says(job: Job) -> None:
    steps.run(job)
    page = Page(build(job).read_text(encoding="utf-8"))
    rows = [row for shard in job.shards for row in select.tables(job).read(shard.name)]
    for source in ("web", "generated", "human"):
        own = [row["kept"] for row in rows if row["source"] == source]
        assert f"{source}{len(own)}{sum(own)}{len(own) - sum(own)}" in page.text.replace(" ", ""), source
    assert "both kept" in page.text and "none kept" in page.text and "of people" in page.text
    assert len(page.all("img", "thumb")) == 2 * 3 * 8  # best, borderline, worst of two sources
    assert all(str(image["src"]).startswith("data:image/jpeg") for image in page.all("img"))
    for heading in ("Best web texts", "Worst generated texts", "Borderline web texts", "distinct-2", "said before"):
        assert heading in page.text
    assert "web: probability of a match" in page.text and "generated: log probability of its tokens" in page.text


def test_best_and_worst_are_those(job: Job) -> None:
    steps.run(job)
    text = build(job).read_text(encoding="utf-8")
    rows = [row for shard in job.shards for row in select.tables(job).read(shard.name) if row["source"] == "generated"]
    order = sorted(rows, key=lambda row: row["itm"])
    best, worst = text.partition("Best generated texts")[2], text.partition("Worst generated texts")[2]
    assert (
        best.index(order[-1]["text"]) < best.index("</section>")
        and order[0]["text"] not in best.partition("</section>")[0]
    )
    assert order[0]["text"] in worst.partition("</section>")[0]


def test_a_filter_that_tells_nothing_apart(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        jobs.ToyCaptioner, "match", lambda self, fused: fused.cls.new_tensor([0.7, 0.0]).expand(len(fused.cls), 2)
    )
    steps.run(job)
    assert "nearly the same probability of a match, 0.332 to 0.332: it has learned nothing" in build(job).read_text()


def test_texts_are_escaped(job: Job) -> None:
    bad = jobs.records(3)
    bad[2].texts[:] = ["ba <script>alert(1)</script> be"]
    write_dataset(Path("data") / "web", bad, {"kind": "test"}, replace=True)
    steps.run(job)
    assert "<script>alert" not in build(job).read_text(encoding="utf-8")


def test_nothing_decided_yet(job: Job) -> None:
    with pytest.raises(Missing, match="vltk capfilt select"):
        build(job)


def _bins(*values: float) -> Bins:
    bins = Bins(0.0, 1.0)
    for value in values:
        bins.add(value)
    return bins


def test_histogram() -> None:
    page = Page(histogram("p", [Part("kept", 2, _bins(0.9, 0.91, 2.0)), Part("lost", 6, _bins(0.1))], 0.5))
    assert [rect["class"] for rect in page.all("rect")] == ["c6 block", "c2 block", "c2 block"]
    heights = [float(str(rect["height"])) for rect in page.all("rect")]
    assert heights[1] == pytest.approx(2 * heights[0], abs=0.2)
    assert len(page.all("line", "mark")) == 1 and histogram("p", [Part("kept", 2, _bins())]) == ""


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((0.013, 0.98), (0.0, 1.0)),
        ((0.0, 1.0), (0.0, 1.0)),
        ((0.21, 0.243), (0.21, 0.25)),
        ((-0.31, 0.02), (-0.31, 0.09)),
        ((-7.9, -2.2), (-8.0, 0.0)),
        ((5.0, 5.0), (5.0, 5.008)),
    ],
)
def test_round_numbers_around_values(values: tuple[float, float], expected: tuple[float, float]) -> None:
    assert span(values) == pytest.approx(expected)
