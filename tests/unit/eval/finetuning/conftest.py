"""A tiny run as pretraining leaves it, official data sets of a few samples, and a text task that words decide."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from tests import tiny
from vltk import run
from vltk.data.text import load_tokenizer
from vltk.eval.features import Subject
from vltk.eval.sources import Library
from vltk.parts import choose
from vltk.recipe import Stage
from vltk.run import RunFolder
from vltk.train.folder import opened

WORDS = "good bad film the a it is was rains he she said cat dog day how many what shape red yes no man runs sentence"
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
SIZE = 32
Make = Callable[..., Subject]


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    """As `vltk.eval.run.undisturbed` leaves it."""
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        yield


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a vocabulary; official data sets are looked for in its `data`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VLTK_DATA", str(tmp_path / "data"))
    (tmp_path / "data" / "eval").mkdir(parents=True)
    (tmp_path / "data" / "vocab.txt").write_text("\n".join([*SPECIAL, *WORDS.split()]) + "\n")
    return tmp_path


@pytest.fixture
def subject(root: Path) -> Make:
    """`subject(seed=1, fusion=None)`: an untrained run under evaluation; options replace parts of its model."""

    def make(seed: int = 0, family: str = "flava", precision: str = "fp32", **options: Any) -> Subject:
        tower = {**tiny.TOWER, "init_std": 0.1}
        model = {
            "part": family,
            "image": {"part": "vit", **tower, "image_size": SIZE, "patch": 16},
            "text": {"part": "bert", **tower, "vocab": len(SPECIAL) + len(WORDS.split()), "max_length": 24},
        }
        model |= {"fusion": {"part": "joint", **tower}, "codes": 16} if family == "flava" else {}
        stage = Stage.model_validate(
            {
                "model": model | options,
                "tokenizer": {"vocab": "vocab.txt", "max_length": 12},
                "image": {"size": SIZE},
                "precision": precision,
                "steps": 1,
                "streams": {"all": {"data": ["none"], "batch_size": 1, "objectives": {"itc": {}}}},
            }
        )
        folder = RunFolder(Path("runs") / family / "joint")
        folder.path.mkdir(parents=True, exist_ok=True)
        opened(folder, stage, load_tokenizer(stage.tokenizer) if stage.tokenizer else None, {"recipe": {}}, order=0)
        torch.manual_seed(3)
        save_file(stage.model.build().state_dict(), folder.weights)
        folder.note(status="finished", weights_step=1)
        return Subject(run.load(folder), seed, Library(nonstandard=True))

    return make


@pytest.fixture
def films(root: Path) -> Path:
    """SST-2 of 40 and 20 rows whose label is their only word that differs."""
    for split, count in (("train", 40), ("dev", 20)):
        rows = [f"the film is {'good' if at % 2 else 'bad'}\t{at % 2}" for at in range(count)]
        path = root / "data" / "eval" / "sst2" / "SST-2" / f"{split}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(["sentence\tlabel", *rows]) + "\n")
    return root / "data" / "eval" / "sst2"


def text_task(data: str = "sst2", **options: Any) -> Any:
    """A short fine-tuning of the text encoder."""
    given = {"train": f"official/{data}/train", "test": f"official/{data}/dev", "steps": 6, "batch_size": 4}
    return choose("eval/protocols", "finetune_text", **(given | {"evaluations": 2} | options)).build()


def pair_task(data: str, test: Any, **options: Any) -> Any:
    given = {"train": f"official/{data}/train", "test": test, "steps": 4, "batch_size": 4, "warmup": 1}
    return choose("eval/protocols", "finetune_pair", **(given | options)).build()
