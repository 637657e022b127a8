"""The page of an evaluation: what was measured is there, drawn from the evaluations and the samples themselves."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.official.vision import WRITERS
from tests.unit.eval.encoders import blind, seeing
from tests.unit.eval.test_run import stage
from tests.unit.report.report_pages import Page
from vltk.eval import features, run
from vltk.eval.queue import TasksFailed
from vltk.report.suite import build

TASKS = ["cifar10", "gtsrb", "mnist"]


@pytest.fixture
def evaluated(tmp_path: Path, trained: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Scores runs, `NAME@STEP` too, of which `blind...` see nothing; returns the page as it is read."""
    for name in TASKS:
        WRITERS[name](tmp_path / "official" / name)
    monkeypatch.chdir(tmp_path)
    trained.image = type("Image", (), {"size": 32})
    models: dict[str, Any] = {}

    def load(spec: str) -> Any:
        name, _, step = spec.partition("@")
        if spec not in models:
            torch.manual_seed(len(models))
            models[spec] = type(trained.model)()
        return replace(trained, model=models[spec], name=f"{name}/joint", step=int(step or 7))

    def encodings(model: Any, images: Any, names: list[str]) -> Any:
        spec = next(spec for spec, own in models.items() if own is model)
        return {name: (blind if spec.startswith("blind") else seeing)(images) for name in names}

    monkeypatch.setattr(run.run, "load", load)
    monkeypatch.setattr(features.inference, "image_encodings", encodings)

    def evaluate(*specs: str, **options: Any) -> str:
        for spec in specs:
            if not Path("runs", spec.partition("@")[0]).exists():
                stage(Path("runs", spec.partition("@")[0], "joint"))
        given = {"data": tmp_path / "official", "nonstandard": True, "report": partial(build, folder=Path("out"))}
        run.evaluate(specs, tasks=options.pop("tasks", TASKS), options=run.Options(**{**given, **options}))
        return Path("out/report.html").read_text()

    return evaluate


def labels(page: Page) -> list[str]:
    return [svg["aria-label"] or "" for svg in page.all("svg") if "aria-label" in svg]


def test_one_run(evaluated: Any) -> None:
    text = evaluated("blind")
    page = Page(text)
    for word in ("vision", "3 of 22 tasks", "95 %: ", "Differences to FLAVA as published", "Penalties of the probes"):
        assert word in page.text
    assert labels(page) == ["vision", *TASKS]
    assert "Differences between runs" not in page.text and "Over training" not in page.text
    (sweep,) = [svg for svg in page.all("svg") if svg.get("aria-label") == "gtsrb"]
    (curve,) = json.loads(sweep["data-curves"] or "")
    assert curve["label"] == "blind/joint" and curve["at"][0] == "lambda 1e-6" and curve["at"][-1] == "lambda 1,000,000"
    assert '"penalty_at_end_of_range"' in page.text and '"sweep"' not in page.text
    assert not re.search(r"https?://", text) and not page.all("link")
    assert {path.name for path in Path("out").iterdir()} == {
        "report.html",
        *(f"table.{e}" for e in ("md", "tex", "csv", "json")),
    }


def test_mistakes_are_shown_with_their_pictures(evaluated: Any) -> None:
    """An encoder that sees nothing gives one class to all: every other class is taken for it."""
    text = evaluated("blind", tasks=["cifar10"])
    page = Page(text)
    (path,) = Path("runs/blind/joint/evaluations").glob("cifar10-*.json")
    answers = run.Evaluation(path, json.loads(path.read_text())).answers()["accuracy"]
    wrong = int((answers["predicted"] != answers["labels"]).sum())
    assert wrong and len(page.all("img")) == wrong
    assert all((image["src"] or "").startswith("data:image/jpeg;base64,") for image in page.all("img"))
    classes = run.Library(Path("official"), True).open("official/cifar10/test").classes  # type: ignore[attr-defined]
    given = classes[answers["predicted"][0]]
    assert f"cifar10: accuracy {100 - 100 * wrong / 4:.1f} %; 4 samples" in page.text
    assert f'<b class="miss">{given}</b> for' in text and "Taken for another" in page.text
    assert (answers["margins"] < 0).tolist() == (answers["predicted"] != answers["labels"]).tolist()


def test_labels_of_ones_own_stand_by_their_names(evaluated: Any, write_pairs: Callable[..., None]) -> None:
    kinds = [{"kind": "dog" if at % 3 else "cat & co"} for at in range(12)]
    write_pairs("pairs/dev", [[f"a text {at}"] for at in range(12)], kinds)
    text = evaluated("blind", tasks=["linear_probe:pairs/dev:pairs/dev:kind"])
    page = Page(text)
    assert "<td>cat &amp; co</td><td>dog</td>" in text and len(page.all("img")) == 4
    assert "dog for cat & co" in page.text and "a text 0" in page.text


def test_mistakes_over_folds_are_shown_by_their_share(evaluated: Any) -> None:
    """No one class is given: how often each sample is right is told, and which classes are seldom found."""
    WRITERS["stl10"](Path("official/stl10"))
    text = evaluated("sees", tasks=["stl10"], protocol="clip")
    page = Page(text)
    assert "Seldom found" in page.text and "Taken for another" not in page.text
    assert "truck" in page.text and "90 %" in page.text and not page.all("img")  # right in nine of ten: not wrong
    blind = Page(evaluated("blind", tasks=["stl10"], protocol="clip"))
    assert blind.all("img") and re.search(r"\d+ % right, is (airplane|bird|truck)", blind.text)


def test_an_encoder_that_sees_all_makes_no_mistake(evaluated: Any) -> None:
    page = Page(evaluated("sees", tasks=["cifar10"]))
    assert not page.all("img") and "Seldom found" in page.text and "Taken for another" not in page.text


def test_two_runs_differ(evaluated: Any) -> None:
    page = Page(evaluated("sees", "blind"))
    assert "blind/joint minus sees/joint" in page.text
    assert page.all("div", "several") and len(page.all("small", "remarks")) == 3
    assert len(page.all("div", "even")) + len(page.all("div", "less")) >= 3
    (radar,) = [at for at, (tag, own) in enumerate(page.tags) if own.get("aria-label") == "vision"]
    shapes = [
        own["class"] for tag, own in page.tags[radar:] if tag == "polygon" and "shape" in (own.get("class") or "")
    ]
    assert shapes == ["shape chance", "shape reference", "shape c0", "shape c1"]


def test_checkpoints_make_a_curve(evaluated: Any) -> None:
    page = Page(evaluated("blind@10", "blind@30", "blind@20", tasks=["cifar10"]))
    assert "Over training" in page.text and "level, best at" in page.text
    learnt = [svg for svg in page.all("svg") if svg.get("aria-label") == "cifar10"][0]
    (curve,) = json.loads(learnt["data-curves"] or "")
    assert curve["at"] == ["step 10", "step 20", "step 30"] and curve["label"] == "blind/joint"
    assert "blind/joint@30: what it takes for what" in page.text


def test_what_failed_stands_there_with_its_traceback(evaluated: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = features.Samples._image

    def torn(self: Any, position: int, framing: Any) -> Any:
        if "gtsrb" in self.data:
            raise ValueError("the <disk> is gone")
        return whole(self, position, framing)

    monkeypatch.setattr(features.Samples, "_image", torn)
    with pytest.raises(TasksFailed):
        evaluated("sees")
    page = Page(Path("out/report.html").read_text())
    with pytest.raises(TasksFailed):
        evaluated("sees", tasks=["gtsrb"])
    assert "Results" not in Page(Path("out/report.html").read_text()).text
    assert "gtsrb failed: the <disk> is gone" in page.text and "in torn" in page.text
    assert labels(page) == ["cifar10", "mnist"]  # two spokes are no radar


def test_samples_that_changed_are_not_shown_for_those_that_were_scored(evaluated: Any, tmp_path: Path) -> None:
    from vltk.eval.several import Outcome

    kept: list[Outcome] = []

    def keep(made: Outcome) -> Path:
        kept.append(made)
        return Path()

    with pytest.raises(FileNotFoundError):
        evaluated("blind", tasks=["cifar10"], report=keep)
    (tmp_path / "official/cifar10/README").write_text("another file: another fingerprint")
    kept[0].library.forget()
    page = Page(build(kept[0], tmp_path / "out").read_text())
    assert "official/cifar10/test is not what was scored" in page.text and not page.all("img")
