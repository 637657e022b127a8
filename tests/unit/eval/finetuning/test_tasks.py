"""Every task trains on its official files and is scored; a task that words decide is learnt whole."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.official import easy_vqa, glue, hateful_memes, snli_ve, vqav2
from tests.unit.eval.finetuning.conftest import SIZE, Make, pair_task, text_task
from vltk.data.shard import Record, write_dataset
from vltk.errors import VltkError
from vltk.eval import task
from vltk.eval.answers import interval
from vltk.eval.headline import headlines
from vltk.eval.metrics.classification import accuracy
from vltk.eval.protocols.zero_shot import ZeroShot
from vltk.eval.results import Score
from vltk.parts import choose

GLUE = ["mrpc", "cola", "mnli", "qqp", "sst2", "qnli", "rte", "stsb"]
PAIRS = {"vqav2": vqav2, "easy_vqa": easy_vqa, "snli_ve": snli_ve, "hateful_memes": hateful_memes}
TINY = {"steps": 2, "batch_size": 2, "warmup": 0, "image_size": None, "short_image_size": None}


def by_metric(scores: Sequence[Score]) -> dict[str, Score]:
    return {score.metric: score for score in scores}


def card(name: str, **options: Any) -> Any:
    """The task of that card, with some of its numbers replaced."""
    choice = task.card(name)
    own = choice.model_dump(exclude={"part"})
    changed = {key: value for key, value in options.items() if key in own}
    return choose("eval/protocols", choice.part, **own | changed).build()


@pytest.mark.parametrize("name", GLUE)
def test_glue_trains_and_gives_the_numbers_of_the_table(name: str, subject: Make, root: Path) -> None:
    glue.make(root / "data" / "eval" / "glue")
    scores = by_metric(card(name, **TINY)(subject()))
    wanted = headlines()[name].score
    assert wanted is not None and set(wanted) <= set(scores)
    assert all(np.isfinite(score.value) for score in scores.values())
    assert len({score.n for score in scores.values()}) == 1
    detail = scores[wanted[0]].detail
    assert detail["budget"] == "full" and detail["comparable"] and detail["steps"] == 2
    assert detail["selection"].startswith("best loss" if name == "stsb" else "best accuracy")


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("family", ["flava", "clip"])
def test_pairs_train_and_give_the_numbers_of_the_table(name: str, family: str, subject: Make, root: Path) -> None:
    PAIRS[name].make(root / "data" / "eval" / name)
    options = {"train": "official/vqav2/train?vocabulary=train&least=1"} if name == "vqav2" else {}
    scores = card(name, **TINY, **options)(subject(family=family))
    wanted = headlines()[name].score if name in headlines() else ["accuracy"]
    assert wanted is not None and set(wanted) <= {score.metric for score in scores}
    assert all(np.isfinite(score.value) for score in scores)
    if name == "vqav2":
        kinds = [score for score in scores if score.metric.startswith("VQA accuracy, ")]
        assert kinds and sum(score.n for score in kinds) == scores[0].n > kinds[0].n
        assert all(interval(s.metric, s.value, s.n, s.answers) for s in kinds)
    splits = {"hateful_memes": ["dev_seen", "test_seen", "dev_unseen", "test_unseen"], "snli_ve": ["dev", "test"]}
    assert list(dict.fromkeys(score.split for score in scores)) == splits.get(
        name, ["val" if name == "vqav2" else "test"]
    )
    assert {score.detail["selection"] for score in scores} == {"last step"}


@pytest.mark.parametrize("name", ["vqav2", "snli_ve", "hateful_memes"])
def test_pairs_that_are_all_the_same_score_chance(name: str, subject: Make, root: Path) -> None:
    folder = root / "data" / "eval" / name
    PAIRS[name].make(folder)
    first, *others = [path for path in sorted(folder.rglob("*")) if path.suffix in (".jpg", ".png")]
    for photo in others:
        photo.write_bytes(first.read_bytes())
    for path in folder.glob("*.json*"):
        path.write_text(re.sub(r'("(question|sentence2|text)": )"[^"]*"', r'\1"the film"', path.read_text()))
    options = {"train": "official/vqav2/train?vocabulary=train&least=1"} if name == "vqav2" else {}
    learns = {"steps": 30, "batch_size": 4, "lr": 3e-3}
    scores = card(name, **TINY | learns | options)(subject())
    (metric,) = headlines()[name].score or []
    found = [score for score in scores if score.metric.endswith(metric) and score.chance is not None]
    assert found and all(score.value == pytest.approx(score.chance) for score in found), found
    if name != "vqav2":
        per_class = [score.value for score in scores if score.metric.endswith("mean per-class accuracy")]
        assert per_class and per_class == pytest.approx([100 / (3 if name == "snli_ve" else 2)] * len(per_class))


def test_zero_shot_classification_of_random_weights_is_at_chance(subject: Make, root: Path) -> None:
    """Labels that nothing in the image tells: whatever an untrained model answers, it is right by chance alone."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (240, SIZE, SIZE, 3), np.uint8)
    labels = rng.permutation(np.arange(240) % 4)
    records = [
        Record(f"s{at}", bytes(cv2.imencode(".png", one)[1]), ["a film"], {"kind": ["cat", "dog", "day", "film"][kind]})
        for at, (one, kind) in enumerate(zip(pixels, labels, strict=True))
    ]
    write_dataset(root / "data" / "noise" / "dev", records, {"kind": "test"})
    for score in ZeroShot(data="noise/dev", label="kind", templates=["the {}", "it is a {}"])(subject())[:2]:
        found = interval(score.metric, score.value, score.n, score.answers)
        assert score.chance == 25 and score.n == 240
        assert found is not None and found.low < 25 < found.high, score


def test_mnli_names_both_halves_of_dev(subject: Make, root: Path) -> None:
    glue.make(root / "data" / "eval" / "glue")
    scores = card("mnli", **TINY)(subject())
    assert [(s.split, s.metric) for s in scores if s.metric.endswith("d accuracy")] == [
        ("dev_matched", "matched accuracy"),
        ("dev_mismatched", "mismatched accuracy"),
    ]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_what_words_decide_is_learnt_whole(precision: str, subject: Make, films: Path) -> None:
    learnt = by_metric(text_task(steps=40, batch_size=8, lr=3e-3, select="loss")(subject(precision=precision)))
    for metric in ("accuracy", "F1", "ROC AUC", "Matthews correlation", "mean per-class accuracy"):
        assert learnt[metric].value == 100, metric
    assert learnt["accuracy"].chance == 50 and learnt["accuracy"].n == 20
    assert learnt["loss"].value < 0.3


def test_texts_that_are_all_the_same_score_chance(subject: Make, films: Path) -> None:
    for split, count in (("train", 39), ("dev", 20)):
        rows = [f"the film is a film\t{int(at % 3 == 0)}" for at in range(count)]
        (films / "SST-2" / f"{split}.tsv").write_text("\n".join(["sentence\tlabel", *rows]) + "\n")
    scores = by_metric(text_task(steps=40, batch_size=8, lr=3e-3, select=None)(subject()))
    assert scores["accuracy"].value == scores["accuracy"].chance == 65
    assert scores["Matthews correlation"].value == 0 and scores["mean per-class accuracy"].value == 50


def test_predictions_give_the_scores_again(subject: Make, films: Path) -> None:
    score = by_metric(text_task()(subject()))["accuracy"]
    with np.load(Path(score.detail["folders"][0]) / "predictions-dev.npz") as kept:
        assert kept["keys"].shape == (20,) and kept["outputs"].shape == (20, 2)
        assert accuracy(kept["outputs"].argmax(1), kept["labels"]) == score.value
        assert (kept["predicted"] == kept["outputs"].argmax(1)).all()
    assert score.answers is not None and set(score.answers.columns) == {"predicted", "labels", "margins", "scores"}


def test_the_median_over_seeds_and_their_spread(subject: Make, films: Path) -> None:
    score = by_metric(text_task(seeds=3, select=None, lr=1e-3)(subject(seed=5)))["loss"]
    values = score.detail["seeds"]
    assert list(values) == ["5", "6", "7"] and len(set(values.values())) == 3
    assert score.value == sorted(values.values())[1]
    middle = next(seed for seed, value in values.items() if value == score.value)
    assert score.answers is not None and score.answers.name == f"dev seed {middle}"
    assert score.detail["spread"] == max(values.values()) - min(values.values())
    assert len(set(score.detail["folders"])) == 3


def test_random_weights_are_a_row_beside(subject: Make, films: Path) -> None:
    scores = by_metric(text_task(random_weights=True)(subject()))
    own, baseline = scores["accuracy"], scores["accuracy at random weights"]
    assert own.detail["folders"] != baseline.detail["folders"]
    started = [(Path(score.detail["folders"][0]) / "init.json").exists() for score in (own, baseline)]
    assert started == [True, False]


def test_a_shorter_budget_is_marked(subject: Make, films: Path) -> None:
    short = text_task(steps=40, short=4, warmup=10, budget="short")
    detail = by_metric(short(subject()))["accuracy"].detail
    assert (detail["budget"], detail["comparable"], detail["steps"]) == ("short", False, 4)
    recipe = (Path(detail["folders"][0]) / "recipe.yaml").read_text()
    assert "warmup: 1\n" in recipe  # 10 of 40 steps
    smoke = by_metric(text_task(steps=40, budget="smoke")(subject()))["accuracy"].detail
    assert (smoke["steps"], smoke["comparable"]) == (20, False)
    limited = by_metric(text_task(limit=8)(subject()))["accuracy"]
    assert limited.n == 8 and not limited.detail["comparable"]


def test_larger_images_get_interpolated_positions(subject: Make, root: Path) -> None:
    easy_vqa.make(root / "data" / "eval" / "easy_vqa")
    scores = pair_task("easy_vqa", "official/easy_vqa/test", image_size=64)(subject())
    folder = Path(scores[0].detail["folders"][0])
    resized = json.loads((folder / "init.json").read_text())["parts"]["image"]["resized"]
    assert resized == {"positions": "positions 2x2 -> 4x4"}
    assert "size: 64" in (folder / "recipe.yaml").read_text()


def test_without_a_test_split_whole_images_are_held_out(subject: Make, root: Path) -> None:
    vqav2.make(root / "data" / "eval" / "vqav2")
    protocol = pair_task("vqav2", None, train="official/vqav2/train?vocabulary=train&least=1")
    scores = by_metric(protocol(subject()))
    assert scores["VQA accuracy"].n == 2 and scores["VQA accuracy"].split == "train held out"
    folder = Path(scores["VQA accuracy"].detail["folders"][0])
    with np.load(folder / "predictions-train-held-out.npz") as kept:
        assert len({key[:-3] for key in kept["keys"].tolist()}) == 1  # both questions of one image


def test_long_texts_are_cut_and_counted(subject: Make, films: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = ["the film is good " * 10 + "\t1", "the film is bad\t0"] * 4
    (films / "SST-2" / "dev.tsv").write_text("\n".join(["sentence\tlabel", *rows]) + "\n")
    detail = by_metric(text_task()(subject()))["accuracy"].detail
    assert detail["texts_cut"] == 4
    assert "texts are cut to 24 tokens, for which it has positions; the task reads 512" in capsys.readouterr().out


def test_labels_that_cannot_be_scored_are_named_before_anything_trains(subject: Make, root: Path) -> None:
    hateful_memes.make(root / "data" / "eval" / "hateful_memes")
    path = root / "data/eval/hateful_memes/test_seen.jsonl"
    path.write_text(path.read_text().replace('"label": 1', '"label": 0'))
    with pytest.raises(VltkError, match=r"official/hateful_memes/test_seen: ROC AUC needs labels of both classes"):
        card("hateful_memes", **TINY)(subject())
    assert not Path("runs/flava/joint/finetune").exists()


def test_data_of_ones_own_is_trained_on_by_a_label_of_its_json(subject: Make, root: Path) -> None:
    for part, count in (("train", 12), ("dev", 6)):
        pixels = [np.full((SIZE, SIZE, 3), 200 * (at % 3) // 2, np.uint8) for at in range(count)]
        records = [
            Record(f"s{at}", bytes(cv2.imencode(".png", one)[1]), ["a film"], {"kind": at % 3, "likeness": at / 4})
            for at, one in enumerate(pixels)
        ]
        write_dataset(root / "data" / "mine" / part, records, {"kind": "test"})
    entry = "finetune_pair:mine/train:mine/dev:3:label=kind:batch_size=4:warmup=0"
    classes = by_metric(task.read([entry])[entry].build()(subject()))
    assert classes["accuracy"].n == 6 and classes["mean per-class accuracy"].chance == pytest.approx(100 / 3)
    scores = by_metric(text_task(train="mine/train", test="mine/dev", label="likeness", select="loss")(subject()))
    assert {"Pearson correlation", "Spearman correlation", "loss"} == set(scores)
