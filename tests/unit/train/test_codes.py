"""Codes made once: equal to those computed in training, used where they fit, completed where they are not whole."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from tests.harness import DEBUG, ROOT, call, losses, weights
from tests.tiny import randomised
from tests.unit.data.samples import picture
from vltk.data.code_shards import CodeShards
from vltk.data.codes import StoredCodes
from vltk.data.dataset import Dataset, open_dataset
from vltk.data.shard import Record, write_dataset
from vltk.data.stream import Stream
from vltk.errors import VltkError
from vltk.models.codebooks.dvae import DVae
from vltk.models.encoded import Encoded
from vltk.models.passes import Plan
from vltk.recipe import ImageOptions
from vltk.run import RunFolder
from vltk.train import codes
from vltk.train.codes import VIEW, Coder, codes_of, from_disk, make

SIZE, CROPS, COUNT = 96, 2, 40
IMAGE = ImageOptions(size=32, crop=(0.5, 1.0), flip=True, crops=CROPS)


@pytest.fixture
def dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    """40 noisy pictures in shards of 16, two of which do not decode."""
    monkeypatch.setenv("VLTK_DATA", str(tmp_path / "data"))
    records = [
        Record(f"k{n}", b"\xff\xd8\xffnope" if n in (5, 17) else picture(n, 60 + n, 90 - n), ["a"])
        for n in range(COUNT)
    ]
    write_dataset(tmp_path / "data" / "photos", records, source={}, samples_per_shard=16)
    return open_dataset("photos")


@pytest.fixture
def coder() -> Coder:
    """A small dVAE with 64 codes."""
    book = randomised(DVae(width=16, blocks=1, groups=4, codes=64, code_width=8), 0, std=0.2)
    return Coder(book, "toy/codes", IMAGE, 2, "vltk data codes toy image", images=8)


def all_codes(coder: Coder, dataset: Dataset) -> tuple[np.ndarray, list[int]]:
    with ThreadPoolExecutor(2) as threads:
        return codes_of(coder, dataset, range(COUNT), coder.rule(SIZE), threads)


def on_the_fly(coder: Coder, dataset: Dataset, batch_size: int) -> Iterator[tuple[str, int, list[int]]]:
    """Key, crop and codes as training computes them: images of the stream's view, a micro-batch at a time."""
    views = {"image_for_codes": {"maker": "image_for_codes", "size": SIZE}}
    stream = Stream([dataset], views, batch_size=batch_size, image=IMAGE, max_bad_rate=1.0)
    turns = Stream([dataset], {"turn": {"maker": "codes", "folders": {}}}, batch_size=batch_size, image=IMAGE)
    turns.makers = {"turn": lambda draft, draws: {"turn": np.array([draft.crop_number, draft.index])}}
    for step in range(CROPS * COUNT // batch_size):
        (batch,), (of,) = stream.micro_batches(step), turns.micro_batches(step)
        found = Encoded(None, batch.tensors, Plan.of([]), coder.codebook.codes).codes
        for key, (crop, index), row in zip(batch.keys, of.tensors["turn"].tolist(), found.tolist(), strict=True):
            if key == f"photos/k{index}":  # no substitute of a bad one
                yield key, crop, row


def test_they_equal_those_computed_in_training_bit_for_bit_at_equal_batch_shape(coder: Coder, dataset: Dataset) -> None:
    made, bad = all_codes(coder, dataset)
    assert bad == [5, 17] and made.shape == (COUNT, CROPS, 144) and made.dtype == np.uint8
    assert len(np.unique(made)) > 10, "a tokenizer that uses several codes"
    seen = set()
    for key, crop, row in on_the_fly(coder, dataset, batch_size=8):
        assert made[int(key.removeprefix("photos/k")), crop].tolist() == row
        seen.add((key, crop))
    assert len(seen) == CROPS * (COUNT - 2), "every crop of every sample in two epochs"


@pytest.mark.parametrize("batch_size", [1, 5, 40])
def test_at_another_batch_shape_fewer_than_one_in_ten_thousand_differ(
    coder: Coder, dataset: Dataset, batch_size: int
) -> None:
    made, _ = all_codes(coder, dataset)
    rows = [
        (made[int(key.removeprefix("photos/k")), crop].tolist(), row)
        for key, crop, row in on_the_fly(coder, dataset, batch_size)
    ]
    kept, fresh = (np.array(side) for side in zip(*rows, strict=True))
    assert kept.size > 10_000 and (kept != fresh).mean() < 1e-4


def test_they_do_not_depend_on_threads_or_on_the_samples_beside_them(coder: Coder, dataset: Dataset) -> None:
    whole, _ = all_codes(coder, dataset)
    with ThreadPoolExecutor(1) as one:
        part, bad = codes_of(coder, dataset, range(11, 21), coder.rule(SIZE), one)
    assert (part == whole[11:21]).all() and bad == [6]


def test_another_tokenizer_has_another_digest(coder: Coder) -> None:
    first = coder.rule(SIZE)
    assert replace(coder, run="other/name").rule(SIZE) == first
    with torch.no_grad():
        next(coder.codebook.encoder.parameters())[0, 0, 0, 0] += 1e-3
    assert replace(coder).rule(SIZE).tokenizer != first.tokenizer
    with pytest.raises(VltkError, match="image.crops is not set: codes are kept for fixed crops"):
        replace(coder, image=ImageOptions()).rule(SIZE)


def test_make_goes_on_behind_a_failure_and_mends_what_is_damaged(
    coder: Coder, dataset: Dataset, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made: list[int] = []
    write = CodeShards.write

    def failing(self: CodeShards, shard: int, *given: Any) -> None:
        if shard == 2 and not made.count(2):
            made.append(2)
            raise OSError(28, "No space left on device")
        made.append(shard)
        write(self, shard, *given)

    monkeypatch.setattr(CodeShards, "write", failing)
    with pytest.raises(OSError, match="No space left"):
        make(coder, {"photos": SIZE})
    make(coder, {"photos": SIZE})
    make(coder, {"photos": SIZE})
    assert made == [0, 1, 2, 2], "shards that were finished are not made again, nor is what is whole"
    said = capsys.readouterr().out
    assert "codes of 40 samples, 2 crops of 96 px; 2 images could not be decoded" in said
    assert "photos: its codes are there" in said
    (folder,) = (dataset.folder / "codes").iterdir()
    (folder / "00001.npy").write_bytes(b"damaged")
    make(replace(coder, image=IMAGE.model_copy(update={"crops": 1})), {"photos": SIZE})
    assert made == [0, 1, 2, 2, 1] and list(StoredCodes(folder).problems()) == []
    expected, _ = all_codes(coder, dataset)
    found = [StoredCodes(folder).read(n, 1).tolist() for n in range(COUNT) if n not in (5, 17)]
    assert found == [expected[n, 1].tolist() for n in range(COUNT) if n not in (5, 17)]


def test_all_ranks_decide_alike(
    coder: Coder, dataset: Dataset, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A rank whose disk has no codes, and one that has them while another has not, compute them both."""
    views = {"image": {"image": {"maker": "image"}, VIEW: {"maker": VIEW, "size": SIZE}}, "text": {}}
    streams = {"image": SimpleNamespace(data=["photos"]), "text": SimpleNamespace(data=["words"])}
    stage: Any = SimpleNamespace(streams=streams, loader=SimpleNamespace(codes="use"))
    assert from_disk(stage, views, coder) == views and capsys.readouterr().out == ""
    make(coder, {"photos": SIZE})
    capsys.readouterr()
    (folder,) = (dataset.folder / "codes").iterdir()
    brought = {"image": {"maker": "image"}, "codes": {"maker": "codes", "folders": {"photos": folder.name}}}
    assert from_disk(stage, views, coder) == {"image": brought, "text": {}}
    assert "the tokenizer is not called" in capsys.readouterr().out
    monkeypatch.setattr(codes.dist, "world", lambda: 2)
    monkeypatch.setattr(codes.dist, "sum_over_ranks", lambda tensor: tensor)  # the other rank has none
    assert from_disk(stage, views, coder) == views
    assert "on the fly: not every process finds those on the disk" in capsys.readouterr().out


def test_data_that_codes_cannot_be_kept_of(coder: Coder, dataset: Dataset, tmp_path: Path) -> None:
    write_dataset(tmp_path / "data" / "text", [Record("t", None, ["words"])], source={})
    with pytest.raises(VltkError, match="'text' has samples without image, which have no codes"):
        make(coder, {"text": SIZE})
    with pytest.raises(VltkError, match="'nowhere' is not on disk"):
        make(coder, {"nowhere": SIZE})
    url = f"file://{tmp_path}/data/photos"
    with pytest.raises(VltkError, match=f"codes are kept beside a data set, and {url} is a URL"):
        make(coder, {url: SIZE})


KILLED = """
import os, signal, sys
from vltk.data.code_shards import CodeShards
from vltk.cli import main
write = CodeShards.write
def killing(self, shard, *given):
    write(self, shard, *given)
    if shard == 1:
        os.kill(os.getpid(), signal.SIGKILL)
CodeShards.write = killing
sys.argv = ["vltk", *sys.argv[1:]]
main()
"""
OPTIONS = [
    DEBUG, "image.crops=2", "image.crop=[0.5,1.0]", "image.flip=true", "steps=14",
    "stages.text=null", "stages.joint=null",
]  # fmt: skip


@pytest.fixture
def trained(own_data: Path) -> str:
    """A tokenizer and an image encoder that computed its codes, in run `plain`; pictures in shards of 7."""
    records = [Record(f"k{n}", picture(n, 50, 40), []) for n in range(25)]
    write_dataset(own_data / "shapes" / "images", records, source={}, samples_per_shard=7, replace=True)
    assert call("train", "flava-tiny", *OPTIONS, "name=plain") == 0
    return "plain"


def again(name: str, *more: str) -> list[str]:
    """The image stage alone, with the tokenizer of run `plain`."""
    return [
        "flava-tiny", *OPTIONS, "stages.codes=null", "stages.image.frozen.codes=runs/plain/codes", f"name={name}", *more
    ]  # fmt: skip


def test_training_with_codes_from_the_disk_is_training_without(
    trained: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert call("data", "codes", *again("read")) == 0
    assert "25 samples, 2 crops of 16 px; 0 images could not be decoded" in capsys.readouterr().out
    asked: list[int] = []
    called = DVae.codes
    monkeypatch.setattr(DVae, "codes", lambda self, images: asked.append(len(images)) or called(self, images))
    assert call("train", *again("read", "loader.codes=make")) == 0
    said = capsys.readouterr().out
    assert "stream image: codes are read from the disk (by plain/codes, 2 crops of 16 px a sample)" in said
    assert asked == [2, 6], "the rehearsal and the report's gallery alone call the tokenizer"
    assert losses("read/image") == losses("plain/image") and weights("read/image") == weights("plain/image")
    assert call("train", *again("never", "loader.codes=never")) == 0
    assert "from the disk" not in capsys.readouterr().out and weights("never/image") == weights("plain/image")
    facts = json.loads(Path("runs/read/image/run.json").read_text())
    assert facts["overrides"][0] == DEBUG and "loader" not in facts["identity"]["recipe"]


def test_codes_that_do_not_fit_are_told_and_left_alone(trained: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("data", "codes", *again("one")) == 0
    for number, (options, why) in enumerate(
        (
            (["image.crops=3"], "of 2 crops a sample, not 3"),
            (["image.crops=null"], "of fixed crops, and image.crops is not set"),
            (["image.crop=[0.6,1.0]"], "of crop (0.5, 1.0), not (0.6, 1.0)"),
            (["stages.image.frozen.codes=runs/plain/codes@13"], "of another tokenizer (plain/codes)"),
            (["image.size=64", "model.image.image_size=64"], "of images of 16 pixels, not 32"),
        )
    ):
        capsys.readouterr()
        assert call("train", *again(f"other{number}", "steps=1", *options)) == 0
        said = capsys.readouterr().out
        line = (
            f"stream image: codes are computed on the fly: those of shapes/images are {why}; to have them on the disk: "
        )
        assert line + "vltk data codes " in said, said


def test_killed_half_way_it_goes_on_by_shard(trained: str, own_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", KILLED, "data", "codes", *again("killed")], env=environment)
    assert done.returncode == -signal.SIGKILL
    (work,) = (own_data / "shapes" / "images" / ".codes").iterdir()
    before = {path.name: path.stat().st_ino for path in work.glob("*.npy")}
    assert list(before) and set(before) == {"00000.npy", "00001.npy"}
    assert call("train", *again("begun", "steps=1")) == 0
    assert "those of shapes/images are not finished; to have them on the disk" in capsys.readouterr().out
    assert call("train", *again("killed", "loader.codes=make")) == 0
    (folder,) = (own_data / "shapes" / "images" / "codes").iterdir()
    assert {path.name: path.stat().st_ino for path in folder.glob("*.npy")}.items() >= before.items()
    assert len(list(folder.glob("*.npy"))) == 4 and weights("killed/image") == weights("plain/image")


def test_a_damaged_file_ends_training_with_the_command_that_mends_it(
    trained: str, own_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("data", "codes", *again("mended")) == 0
    (folder,) = (own_data / "shapes" / "images" / "codes").iterdir()
    (folder / "00002.npy").write_bytes((folder / "00002.npy").read_bytes()[:-1] + b"\xff")
    capsys.readouterr()
    assert call("train", *again("mended")) == 1
    said = capsys.readouterr().err
    assert "00002.npy: other bytes than codes.json says" in said
    command = shlex.split(said.partition("(files that are whole stay): ")[2])
    assert command[:3] == ["vltk", "data", "codes"] and "image.crops=2" in command and call(*command[1:]) == 0
    assert call("train", *again("mended")) == 0 and weights("mended/image") == weights("plain/image")


def test_a_damaged_list_is_passed_over_and_mended(
    trained: str, own_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("data", "codes", *again("mended")) == 0
    (folder,) = (own_data / "shapes" / "images" / "codes").iterdir()
    (folder / "codes.json").write_text("{}")
    capsys.readouterr()
    assert call("train", *again("passed")) == 0
    said = capsys.readouterr()
    assert f"/codes/{folder.name}/codes.json: no list of codes" in said.err and "warning: " in said.err
    assert "on the fly: those of shapes/images are damaged; to have them on the disk: vltk data codes" in said.out
    assert call("train", *again("plain", "name=free", "image.crops=null", "steps=1")) == 0
    assert call("train", *again("mended", "loader.codes=make")) == 0
    assert "codes are read from the disk" in capsys.readouterr().out
    assert weights("passed/image") == weights("mended/image") == weights("plain/image")


def test_mistakes_of_the_command_and_the_recipe(trained: str, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    for arguments, code, says in (
        (["data", "codes", *again("x"), "imag"], 2, "has no stage 'imag' with frozen codes; did you mean 'image'"),
        (["data", "codes", "clip-tiny"], 2, "clip-tiny has no stage with frozen codes"),
        (
            ["data", "codes", *again("x", "image.crops=null")],
            1,
            "image.crops is not set: codes are kept for fixed crops",
        ),
        (["data", "codes", "flava-tiny", *OPTIONS, "name=untrained"], 3, "is not trained yet"),
        (
            ["train", *again("x", "loader.codes=make", "image.crops=null")],
            2,
            "loader.codes: make given, but image.crops",
        ),
        (["train", *again("x", "loader.codes=maybe")], 2, "loader.codes"),
    ):
        assert call(*arguments) == code, arguments
        assert says in capsys.readouterr().err, arguments
    assert not RunFolder(Path("runs/x/image")).path.exists()
