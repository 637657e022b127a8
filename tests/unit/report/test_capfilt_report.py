"""The report of a CapFilt job: its counts are those of the decisions, its pictures those of the texts that it shows."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.unit.capfilt import jobs
from tests.unit.report.report_pages import Page
from vltk.capfilt import models, select, steps
from vltk.capfilt.job import Job, load
from vltk.data.dataset import Dataset, data_root
from vltk.data.image import evaluation_image
from vltk.data.shard import Record, write_dataset
from vltk.errors import Missing, VltkError
from vltk.report.capfilt import build
from vltk.report.capfilt.extent import Extent
from vltk.report.capfilt.made import words
from vltk.report.capfilt.shown import SIDE
from vltk.report.capfilt.words import Words
from vltk.report.galleries.examples import picture
from vltk.report.histogram import BINS, Bins, Part, histogram, span


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


def test_images_of_people_that_cannot_be_read(job: Job) -> None:
    bad = Record("bad", b"\x89PNG nothing", ["ba be"])
    write_dataset(data_root() / "people", [*jobs.records(9, 101), bad], {"kind": "test"}, replace=True)
    steps.run(job)
    page = Page(build(job).read_text(encoding="utf-8"))
    assert "1 images cannot be read, the first: undecodable image" in page.text
    assert "human: the image cannot be read" in page.text and "of people" in page.text
    assert build(job).read_text(encoding="utf-8").count("<small>9 images</small>") == 1


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


def variant(job: Job, *overrides: str) -> Job:
    """The same job under another rule, decided again."""
    made = load(job.path, overrides)
    steps.run(made, replace=True)
    return made


def rows_of(job: Job) -> list[dict[str, Any]]:
    return [row for shard in job.shards for row in select.tables(job).read(shard.name)]


def _raising(error: Exception) -> Any:
    def refuse(*given: Any) -> None:
        raise error

    return refuse


def text_of(job: Job) -> str:
    return build(job).read_text(encoding="utf-8")


def marks(text: str) -> dict[str, str]:
    """The threshold that each chart shows, by its title."""
    found = {}
    for chart in text.split("<figure")[1:]:
        mark = re.search("<title>threshold ([^<]*)</title>", chart)
        if mark:
            found[re.findall("<b>([^<]*)</b>", chart)[0]] = mark[1]
    return found


def cards(text: str, heading: str) -> str:
    return text.partition(f"<h3>{heading}</h3>")[2].partition("</section>")[0]


def test_it_tells_what_the_tables_say(job: Job) -> None:
    steps.run(job)
    other = load(job.path, ["filter=nosuch", "captioner=nope", "select.threshold=0.9", "caption.top_p=0.5"])
    text = text_of(other)
    header = Page(text.partition("</header>")[0].partition("<body><main>")[2] + "</header>").text
    assert "captionercaptioner 1" in header and "filterfilter 1" in header and "threshold: 0.5" in header
    assert "nosuch" not in header and "nope" not in header
    told = Page(text).text
    for line in (
        "captioner: was captioner, is nope",
        "filter: was filter, is nosuch",
        "select.threshold: was 0.5, is 0.9",
        "decoding.top_p: was 0.95, is 0.5",
    ):
        assert line in told, line
    assert "says something else" not in text_of(job) and "says something else" in told


def test_a_run_that_was_trained_again(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    steps.run(job)
    assert "has other weights" not in text_of(job)
    monkeypatch.setattr(jobs.ToyModel, "weights", "2")
    assert "The filter filter has other weights by now" in text_of(job)


def test_data_that_changed_since_it_was_scored(job: Job) -> None:
    steps.run(job)
    assert "changed since" not in text_of(job)
    write_dataset(Path("data") / "web", jobs.records(40, 1), {"kind": "test"}, 12, replace=True)
    told = "4 shards changed since they were scored, the first: web/00000."
    assert told in text_of(load(job.path))


def test_a_run_that_is_gone_or_damaged(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    steps.run(job)
    for error, told in (
        (Missing("no run 'filter'", []), "The filter filter is not there any more: what it was"),
        (VltkError("weights: damaged"), "What the captioner captioner was trained on is not known: weights: damaged"),
    ):
        monkeypatch.setattr(models, "Model", _raising(error))
        assert told in text_of(job)


def test_shards_of_two_filters_and_of_two_rules(job: Job) -> None:
    steps.run(job)
    tables, name = select.tables(job), "web/00000"
    facts: Any = tables.made_of(name)
    facts["scores"]["filter"]["weights"] = "f00d" * 16
    tables.write(name, tables.read(name), facts)
    page = Page(text_of(job))
    assert "filter f00df00df00d" in page.text and "filter 1" in page.text
    assert "weights: f00df00df00d (shards: 1)" in page.text and "weights: '1' (shards: 3)" in page.text
    tables.write(name, tables.read(name), facts | {"select": {"part": "itm", "threshold": 0.4}})
    with pytest.raises(Missing, match="different rules or gates"):
        build(job)


def test_how_it_was_made_in_words_of_a_recipe(job: Job) -> None:
    steps.run(job)
    made = cards(text_of(job), "How it was made")
    assert "method: nucleus" in made and "max_run: null" in made and "normalise: false" in made
    assert "{&#x27;" not in made and "None" not in made and '<span class="said">' in made
    assert words({"weights": "0123456789abcdef" * 4, "run": "x"}) == "weights: 0123456789ab, run: x"


def test_lines_and_borderline_of_thresholds_by_source(job: Job) -> None:
    made = variant(job, "select.threshold={web: 0.2, generated: 0.7}")
    text = text_of(made)
    assert marks(text) == {"web: probability of a match": "0.2", "generated: probability of a match": "0.7"}
    for source, cut in (("web", 0.2), ("generated", 0.7)):
        rows = [row for row in rows_of(made) if row["source"] == source and not row["reason"].startswith("gate")]
        order = sorted(rows, key=lambda row: abs(row["itm"] - cut))
        shown = cards(text, f"Borderline {source} texts")
        assert order[0]["text"] in shown and order[-1]["text"] not in shown and f"itm {cut:g}" in shown


def test_the_line_of_a_percentile_is_where_it_cuts(job: Job) -> None:
    made = variant(job, "select={part: percentile, keep: 0.3, by: itc}")
    lowest = {
        source: min(row["itc"] for row in rows_of(made) if row["kept"] and row["source"] == source)
        for source in ("web", "generated")
    }
    text = text_of(made)
    assert marks(text) == {f"{source}: cosine": f"{value:.4g}" for source, value in lowest.items()}
    assert f"itc {lowest['web']:.3f}" in cards(text, "Borderline web texts")


def test_top_k_has_no_line_but_images_whose_texts_are_nearly_equal(job: Job) -> None:
    made = variant(job, "select={part: topk, k: 2, by: itc}", "gates.min_words=5")
    text = text_of(made)
    assert marks(text) == {} and "<h3>Borderline web texts</h3>" not in text
    gaps = {}
    for shard in made.shards:
        for key, rows in select.tables(made).by_key(shard.name):
            values = [[r["itc"] for r in rows if r["kept"] is kept and " of " in r["reason"]] for kept in (True, False)]
            if all(values):
                gaps[key] = min(values[0]) - max(values[1])
    nearest = sorted(gaps, key=lambda key: gaps[key])
    shown = cards(text, "Borderline images")
    assert re.findall('alt="([^"]*)"', shown) == nearest[:8]
    assert shown.count(">kept<") == shown.count(">rejected<") == 8


def test_borderline_of_best_are_those_that_its_threshold_decides(job: Job) -> None:
    text = text_of(variant(job, "select={part: best, by: itm, threshold: 0.4}"))
    assert marks(text) == {f"{source}: probability of a match": "0.4" for source in ("web", "generated")}
    shown = cards(text, "Borderline generated texts")
    assert shown.count("best generated text") == 8 and "another generated text" not in shown
    assert "another generated text has a higher itm" in cards(text, "Why texts were rejected")


def test_a_job_without_a_filter(job: Job) -> None:
    text = text_of(variant(job, "filter=null", "select=all", "name=unread"))
    assert marks(text) == {} and "Borderline" not in text
    assert "Those with the highest logprob." in text and "scoresread bynone" in Page(text).text


def test_scores_lie_all_over_their_chart(job: Job) -> None:
    steps.run(job)
    chart = next(one for one in text_of(job).split("<figure")[1:] if "<b>generated: cosine</b>" in one)
    values = [row["itc"] for row in rows_of(job) if row["itc"] is not None]
    low, high = span(values)
    assert min(values) >= low and max(values) <= high and high - low < 2.5 * (max(values) - min(values))
    edges = [tuple(map(float, found)) for found in re.findall("<title>(-?[0-9.e-]+) to (-?[0-9.e-]+):", chart)]
    assert edges and all(b - a == pytest.approx((high - low) / BINS, rel=0.1) for a, b in edges)


def test_a_threshold_far_from_all_scores_does_not_press_them_together() -> None:
    near, far = (Extent("itc", {"itc": (0.2, 0.4)}, {"web": cut}) for cut in (0.5, float("-inf")))
    assert near.spans()["itc"] == pytest.approx((0.2, 0.6)) and far.spans()["itc"] == pytest.approx((0.2, 0.4))


def test_thumbnails_are_found_in_one_pass(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where samples without texts, of which there is no row, lie between."""
    made = variant(job, "captioner=null", "name=web-only")
    images = {s.key: s.image for data in made.datasets.values() for s in map(data.read, range(len(data)))}
    read: list[tuple[str, int]] = []
    one = Dataset.read
    monkeypatch.setattr(
        Dataset, "read", lambda self, position: read.append((self.name, position)) or one(self, position)
    )
    found = re.findall('<img class="thumb" alt="([^"]*)" src="([^"]*)"', text_of(made))
    assert len(found) == 3 * 8 and len(read) <= len(set(read)) + len({key for key, _ in found})
    assert len(read) < 60
    for key, address in found:
        assert f'src="{address}"' in picture(evaluation_image(images[key], SIDE), key, "thumb", largest=SIDE)


def test_words_are_counted_as_by_hand() -> None:
    texts = ["a red cat", "A red cat.", "a dog", "a dog", "a dog", "b"]
    counted = Words()
    for text in texts:
        counted.add(text)
    assert counted.vocabulary == 5 and counted.distinct(1) == pytest.approx(100 * 5 / 13)
    assert counted.distinct(2) == pytest.approx(100 * 3 / 7)  # a red, red cat, a dog
    assert counted.repeated() == pytest.approx(100 * 3 / 6)
    assert list(counted.common().values()) == [3, 2]


def test_frequent_texts_are_counted_as_texts(job: Job) -> None:
    same = [Record(f"x{n}", jobs.picture(n), ["Ba be bi bo.", "ba be bi bo"]) for n in range(3)]
    write_dataset(Path("data") / "web", same, {"kind": "test"}, replace=True)
    steps.run(job)
    page = Page(cards(text_of(job), "The most frequent texts"))
    assert page.text.startswith("sourcetexttimesweb ba be bi bo6".replace("web ", "web"))


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
