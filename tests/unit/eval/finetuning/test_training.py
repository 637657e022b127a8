"""A fine-tuning is a run: it resumes bit for bit, is not trained twice, and says what it cannot do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.official import easy_vqa, hateful_memes
from tests.unit.eval.finetuning.conftest import Make, pair_task, text_task
from vltk import run
from vltk.errors import Missing, VltkError
from vltk.eval.features import Subject
from vltk.eval.finetuning import train
from vltk.eval.sources import Library
from vltk.parts import choose
from vltk.train import loop


def folder_of(scores: list[Any]) -> Path:
    return Path(scores[0].detail["folders"][0])


def values(scores: list[Any]) -> dict[str, float]:
    return {score.metric: score.value for score in scores}


def test_a_killed_training_goes_on_bit_for_bit(
    subject: Make, films: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    protocol = text_task(steps=6, evaluations=3, lr=1e-3)
    unbroken = protocol(subject())
    folder = folder_of(unbroken)
    whole, rows = load_file(folder / "model.safetensors"), (folder / "results.jsonl").read_text()
    folder.rename(tmp_path / "elsewhere")

    save = loop._save
    with monkeypatch.context() as patch:

        def killed(*given: Any) -> bool:
            written = save(*given)
            if given[-1] == 4:
                raise KeyboardInterrupt
            return written

        patch.setattr(loop, "_save", killed)
        with pytest.raises(KeyboardInterrupt):
            protocol(subject())
    assert (folder / "checkpoints").exists() and not (folder / "model.safetensors").exists()

    again = protocol(subject())
    assert folder_of(again) == folder and values(again) == values(unbroken)
    mended = load_file(folder / "model.safetensors")
    assert all(torch.equal(whole[name], mended[name]) for name in whole)
    keep = ("step", "metric", "value", "n")
    told = [
        [{key: json.loads(line)[key] for key in keep} for line in text.splitlines()]
        for text in (rows, (folder / "results.jsonl").read_text())
    ]
    assert told[0] == told[1]


def test_what_is_finished_is_not_trained_again(
    subject: Make, films: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first = text_task()(subject())
    assert not (folder_of(first) / "checkpoints").exists()

    def forbidden(*_: Any) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(train, "run_loop", forbidden)
    assert values(text_task()(subject())) == values(first)
    assert f"{folder_of(first)}: finished before" in capsys.readouterr().out
    with pytest.raises(AssertionError):
        text_task(lr=2e-5)(subject())  # another recipe has another folder


def test_encoder_and_head_are_trained_and_the_run_stays_as_it_is(subject: Make, films: Path) -> None:
    tested = subject()
    before = {name: tensor.clone() for name, tensor in tested.trained.model.state_dict().items()}
    tuned = load_file(folder_of(text_task(select=None, lr=1e-3)(tested)) / "model.safetensors")
    assert all(torch.equal(before[name], tensor) for name, tensor in tested.trained.model.state_dict().items())
    moved = [name for name, tensor in tuned.items() if name in before and not torch.equal(tensor, before[name])]
    assert any(name.startswith("text.transformer.blocks.0.") for name in moved)
    assert "text.words.weight" in moved and "head.4.weight" in tuned
    assert not any(name.startswith("image.") for name in tuned)


def test_its_folder_is_evaluated_as_a_run(subject: Make, films: Path) -> None:
    scores = text_task()(subject())
    trained = run.load(str(folder_of(scores)))
    again = choose("eval/protocols", "finetuned", data="official/sst2/dev").build()(
        Subject(trained, 0, Library(nonstandard=True))
    )
    assert values(again) == values(scores)
    with pytest.raises(VltkError, match="the run flava/joint is not fine-tuned"):
        choose("eval/protocols", "finetuned", data="official/sst2/dev").build()(subject())


def test_the_seed_decides_head_and_order(subject: Make, films: Path) -> None:
    one, other = (values(text_task(lr=1e-3)(subject(seed=seed))) for seed in (0, 1))
    assert one["loss"] != other["loss"]


def test_encoders_that_the_task_trains_have_to_be_there(subject: Make, films: Path, root: Path) -> None:
    blind = subject(image=None, fusion=None)
    assert values(text_task()(blind))  # a text encoder is all that a text task wants
    mute = subject(text=None, fusion=None)
    with pytest.raises(
        VltkError, match="the run flava/joint has no text encoder, which this task trains; it has: image"
    ):
        text_task()(mute)
    easy_vqa.make(root / "data" / "eval" / "easy_vqa")
    with pytest.raises(VltkError, match="has no image encoder, which this task trains; it has: text"):
        pair_task("easy_vqa", "official/easy_vqa/test")(subject(image=None, fusion=None))


def test_a_run_in_training_is_refused(subject: Make, films: Path) -> None:
    now = subject()
    now.trained.source = None
    with pytest.raises(VltkError, match="flava/joint is still in training"):
        text_task()(now)


def test_a_run_without_tokenizer_is_refused(subject: Make, films: Path) -> None:
    silent = subject()
    silent.trained.tokenizer = None
    with pytest.raises(VltkError, match="has no tokenizer: it cannot read the texts of this task"):
        text_task()(silent)


def test_data_that_cannot_be_learnt_is_named(subject: Make, films: Path, root: Path) -> None:
    with pytest.raises(Missing, match="the data set rte is not there"):
        text_task("rte")(subject())
    (films / "SST-2" / "train.tsv").write_text("sentence\tlabel\n" + "good\t1\n" * 8)
    with pytest.raises(VltkError, match="official/sst2/train: 'class' has one value only in 8 samples: 1"):
        text_task()(subject())


def test_a_metric_of_two_classes_refuses_one(subject: Make, films: Path) -> None:
    (films / "SST-2" / "dev.tsv").write_text("sentence\tlabel\n" + "good\t1\n" * 8)
    with pytest.raises(VltkError, match="ROC AUC needs labels of both classes"):
        text_task()(subject())


def test_test_splits_are_opened_before_anything_is_trained(
    subject: Make, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hateful_memes.make(root / "data" / "eval" / "hateful_memes", ("train", "dev_seen"))
    monkeypatch.setattr(train, "run_loop", lambda *_: pytest.fail("trained"))
    splits = ["official/hateful_memes/dev_seen", "official/hateful_memes/test_seen"]
    with pytest.raises(Missing, match="test_seen.jsonl"):
        pair_task("hateful_memes", splits)(subject())


def test_a_fresh_model_is_fine_tuned_as_it_is(subject: Make, films: Path) -> None:
    """Not from the weights of the run that it stands for."""
    beside = {score.metric: score for score in text_task(random_weights=True)(subject())}
    fresh = subject()
    fresh.trained.fresh = True
    scores = {score.metric: score for score in text_task(random_weights=True)(fresh)}
    assert set(scores) == {name for name in beside if "random" not in name}
    assert scores["loss"].value == beside["loss at random weights"].value
    assert scores["loss"].detail["folders"] == beside["loss at random weights"].detail["folders"]
    other = subject()
    other.trained.model.text.words.weight.add_(1)
    with pytest.raises(VltkError, match="text.words.weight is not as in flava/joint@1"):
        text_task(lr=7e-5)(other)
