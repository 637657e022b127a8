"""The page of a run: complete, self-contained, honest about what is not there."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.unit.report.report_pages import Page, make_stage, write_rows
from vltk.errors import Missing, VltkError
from vltk.report import build

JOINT = {"pairs": ["itc", "itm", "mmm"], "text": ["mlm"], "image": ["mim"]}
DATA = {"pairs": "walls", "text": "lines", "image": "walls"}


def never(spec: str) -> Any:
    raise AssertionError("nothing may be loaded")


@pytest.fixture
def run(work: Path) -> Path:
    folder = work / "runs" / "tiny"
    make_stage(folder / "joint", 1, JOINT, DATA, description="all <of> it")
    make_stage(folder / "codes", 0, {"image": ["dvae"]}, DATA)
    return folder


def test_a_run_has_a_section_a_stage_in_order_and_a_chart_an_objective(run: Path) -> None:
    path = build("tiny", never)
    assert path.resolve() == run / "report.html"
    page = Page(path.read_text())
    assert [a["id"] for a in page.all("section", "stage")] == ["stage-codes", "stage-joint"]
    charts = [svg["aria-label"] for svg in page.all("svg") if "aria-label" in svg]
    for name in ("dvae", "itc", "itm", "mmm", "mlm", "mim", "learning rate", "gradient norm", "samples a second"):
        assert name in charts
    assert charts.count("codes in use") == 2  # a chart a stage, with a line a stream
    for text in ("running", "0.1.0", "a <small> machine", "all <of> it", "100 of 100", "waiting for data"):
        assert text in page.text
    assert not list(run.glob("*.part"))


def test_nothing_is_fetched_from_anywhere(run: Path, pictures: Path, trained: SimpleNamespace) -> None:
    (run / "joint" / "checkpoints" / "step-00000050").mkdir(parents=True)
    text = build("tiny", lambda spec: trained).read_text()
    assert not re.search(r"https?://", text)
    page = Page(text)
    assert not page.all("link") and not any("src" in attrs for attrs in page.all("script"))
    assert all((image["src"] or "").startswith("data:image/jpeg;base64,") for image in page.all("img"))
    assert all(not (a["href"] or "").startswith("/") for a in page.all("a"))
    assert len(text) < 3_000_000


def test_a_stage_has_its_own_page(run: Path) -> None:
    for spec in ("tiny/joint", str(run / "joint")):
        path = build(spec, never)
        assert path.resolve() == run / "joint" / "report.html"
        page = Page(path.read_text())
        assert len(page.all("section", "stage")) == 1
        assert "tiny / joint" in page.text
        assert "recipe.yaml" in [a["href"] for a in page.all("a")]


def test_without_a_checkpoint_the_galleries_say_so(run: Path) -> None:
    page = Page(build("tiny", never).read_text())
    assert "No checkpoint yet. With the first one (step 50) this page can show: Reconstructions." in page.text
    for title in ("Masked patches", "Masked words", "Masked words, image in view", "Retrieval"):
        assert title in page.text
    assert not page.all("img")


def test_half_written_lines_are_told(run: Path) -> None:
    with (run / "joint" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 110, "stream"')
    write_rows(run / "joint" / "results.jsonl", [])
    text = Page(build("tiny", never).read_text()).text
    assert "metrics.jsonl: 1 line at the end is only half written" in text
    assert "results.jsonl:" not in text


def test_a_stage_that_has_only_begun(work: Path) -> None:
    folder = make_stage(work / "runs" / "new" / "train", 0, JOINT, DATA)
    (folder / "metrics.jsonl").unlink()
    page = Page(build("new", never).read_text())
    assert "Nothing logged yet." in page.text
    assert "0 of 100" in page.text


def test_results_latest_chance_and_curves(run: Path) -> None:
    def row(metric: str, step: int, value: float, **more: Any) -> dict[str, Any]:
        base = {"task": "dev", "split": "dev", "metric": metric, "value": value, "n": 2500, "seed": 3, "step": step}
        return base | {"run": "tiny/joint", "seconds": 1.0} | more

    names = [f"text_to_image R@{k}" for k in (1, 5, 10)]
    rows = [row(n, step, step / 10 + i, detail={"chance": 0.25}) for step in (20, 40) for i, n in enumerate(names)]
    probe = {"task": "probe colour", "split": "test"}
    rows += [row("accuracy", 40, 61.25, **probe), row("accuracy at random weights", 40, 33.0, **probe)]
    write_rows(run / "joint" / "results.jsonl", rows)
    page = Page(build("tiny", never).read_text())
    for text in ("text to image R@1", "4.0 %", "2,500", "chance 0.2 %", "61.2 %", "at random weights 33.0 %"):
        assert text in page.text
    charts = [svg for svg in page.all("svg") if svg.get("aria-label") == "text to image"]
    assert [c["label"] for c in json.loads(charts[0]["data-curves"] or "")] == ["R@1", "R@5", "R@10"]


def test_a_tokenizer_stands_beside_kmeans(run: Path) -> None:
    figures = {
        "PSNR": 20.51,
        "perplexity": 311.2,
        "used codes": 900.0,
        "k-means PSNR": 21.37,
        "k-means perplexity": 527.7,
    }
    rows = [
        {"task": "dev", "split": "dev", "metric": metric, "value": value, "n": 500, "seed": 0, "step": 40}
        for metric, value in figures.items()
    ]
    write_rows(run / "joint" / "results.jsonl", rows)
    page = build("tiny", never).read_text()
    (figures_shown,) = re.findall(r'<div class="figures">(.*?)</div></div>', page)
    assert "<b>20.5 dB</b>" in figures_shown and "k-means 21.4 dB" in figures_shown
    assert "<b>311.2</b>" in figures_shown and "k-means 527.7" in figures_shown


def test_bad_samples_are_counted_and_the_first_listed(run: Path) -> None:
    rows = [{"step": i, "dataset": "walls", "key": f"key{i:03}", "reason": "<cut>"} for i in range(25)]
    write_rows(run / "joint" / "bad_samples.jsonl", rows)
    text = Page(build("tiny", never).read_text()).text
    assert "25 could not be used" in text
    assert "key019" in text and "key020" not in text and "<cut>" in text


def test_an_unknown_run_names_those_there_are(run: Path) -> None:
    with pytest.raises(Missing, match="no run 'tinny' here; have: tiny"):
        build("tinny", never)


def test_a_damaged_record_is_named(run: Path) -> None:
    (run / "joint" / "run.json").write_text("{")
    with pytest.raises(VltkError, match=r"joint: .*run\.json cannot be read"):
        build("tiny/joint", never)
