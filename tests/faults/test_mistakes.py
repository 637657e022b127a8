"""Wrong input to training: each a message that says what, where and what to type; nothing is half-written."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.harness import DEBUG, TOY, call, exchanged, facts, weights


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """The exit code and the message of a command that wrote nothing."""
    before = set(Path().rglob("*"))
    code = call(*arguments)
    said = capsys.readouterr().err
    assert "Traceback" not in said and set(Path().rglob("*")) == before
    return code, said


def toy(home: Path, old: str = "", new: str = "") -> None:
    assert old in TOY
    (home / "toy.yaml").write_text(TOY.replace(old, new) if old else TOY)


@pytest.mark.parametrize(
    ("old", "new", "messages"),
    [
        ("image: first", "image: frist", ["toy.yaml:6", "frist", "did you mean 'first'"]),
        ("init: {image: first}", "optimzer: {lr: 1}", ["toy.yaml:6", "optimzer: unknown", "did you mean 'optimizer'"]),
        ("init: {image: first}", "optimizer: {lr: fast}", ["toy.yaml:6", "optimizer.lr", "'fast'"]),
        ("init: {image: first}", "steps: many", ["toy.yaml:6", "steps", "'many'"]),
        ("init: {image: first}", "model: {part: clpi}", ["toy.yaml:6", "clpi", "did you mean 'clip'"]),
        ("  first: {}", "  first: {seed: x}\n  zero: {sed: 1}", ["toy.yaml:4", "toy.yaml:5", "seed", "sed: unknown"]),
    ],
    ids=["missing stage", "unknown key", "wrong type", "word for a number", "unknown part", "two at once"],
)
def test_a_mistake_in_a_recipe(
    old: str, new: str, messages: list[str], home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    toy(home, old, new)
    code, said = refused(capsys, "train", "toy.yaml")
    assert code == 2
    for message in messages:
        assert message in said


def test_data_that_is_not_on_disk(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = refused(capsys, "train", "clip-tiny", DEBUG, "streams.pairs.data=[mine/train]")
    assert code == 3
    assert "mine/train" in said and "  1. " in said and "vltk data shard" in said


def test_a_changed_recipe_is_refused_with_the_key(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["train", "clip-tiny", DEBUG]
    assert call(*options) == 0
    first = weights("clip-tiny/train")
    code, said = refused(capsys, *options, "optimizer.lr=5e-4")
    assert code == 2
    assert "runs/clip-tiny/train was made by another recipe" in said
    assert "optimizer.lr: was 0.001, is 0.0005" in said and "name=OTHER" in said and "--redo" in said
    assert call(*options, "log_every=2", "loader.threads=2", "checkpoint.keep=1", "micro_batch=2") == 0
    assert weights("clip-tiny/train") == first  # these keys leave the result alone: it stays finished
    assert call(*options, "optimizer.lr=5e-4", "--redo") == 0
    assert weights("clip-tiny/train") != first
    assert facts("clip-tiny/train")["identity"]["recipe"]["optimizer"]["lr"] == 5e-4


def test_changed_data_is_refused(own_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["train", "clip-tiny", DEBUG]
    assert call(*options) == 0
    vocabulary = own_data / "shapes/vocab.txt"
    tokens = vocabulary.read_text().splitlines()
    vocabulary.write_text("\n".join([*tokens[:10], tokens[11], tokens[10], *tokens[12:]]) + "\n")
    code, said = refused(capsys, *options)
    assert code == 2 and "shapes/vocab.txt" in said


def test_init_from_another_architecture(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    toy(home)
    assert call("train", "toy.yaml", DEBUG) == 0
    options = ["train", "toy.yaml", DEBUG, "name=wide", "stages.first=null", "stages.second.init.image=runs/toy/first"]
    capsys.readouterr()
    code, said = refused(capsys, *options, "model.image.mlp=48")
    assert code == 2 and "init.image: the weights of runs/toy/first do not fit" in said
    assert "model.image.mlp: 48 given, the weights have 32; set model.image.mlp=32" in said
    code, said = refused(capsys, *options, "model.image.depth=3")
    assert code == 2 and "model.image.depth: 3 given, the weights have 2; set model.image.depth=2" in said
    code, said = refused(capsys, *options, "stages.second.init={vision: runs/toy/first}")
    assert code == 2 and "init.vision: the model has no part 'vision'; have: " in said


def test_weights_of_another_architecture(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run folder whose weights were exchanged: report and evaluation name the keys and shapes."""
    assert call("train", "clip-tiny", DEBUG, "name=small") == 0
    assert call("train", "clip-tiny", DEBUG, "name=deep", "model.text.depth=3") == 0
    Path("runs/small/train/model.safetensors").write_bytes(weights("deep/train"))
    exchanged("small/train")
    capsys.readouterr()
    assert call("eval", "small", "--tasks", "retrieval:shapes/dev:captions=1") == 1
    said = capsys.readouterr().err
    assert "of another architecture" in said and "not in the model, given (" in said


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("model.text.vocab=100", "model.text.vocab: 100 given, but the vocabulary shapes/vocab.txt has 330"),
        ("image.size=48", "command line 'image.size=48': image.size: 48 given, but model.image.image_size is 32"),
        ("streams.pairs.data=[shapes/text]", "the data set 'shapes/text' has samples without image"),
        ("streams.pairs.objectives.itm={}", "streams.pairs.objectives.itm: cannot be computed with the model clip"),
    ],
)
def test_what_does_not_fit_is_said_before_anything_trains(
    option: str, message: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By `vltk recipe check`, and by `vltk train` with nothing written."""
    for command in (["recipe", "check"], ["train"]):
        code, said = refused(capsys, *command, "clip-tiny", DEBUG, option)
        assert code == 2 and message in said


def test_the_data_of_a_probe_is_asked_for_at_once(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    toy(home)
    probe = "{part: linear_probe, train: their/train, test: their/test, label: count}"
    code, said = refused(capsys, "train", "toy.yaml", DEBUG, f"stages.second.evaluate.tasks.probe={probe}")
    assert code == 3 and "their/train" in said and "their/test" in said
