"""Disks that fill up or lose bytes, images that cannot be decoded: told, counted, nothing good is lost."""

from __future__ import annotations

import resource
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import DEBUG, SIZES, call, facts, losses, rows, weights
from vltk.data.shard import Record, write_dataset
from vltk.data.sources import shapes
from vltk.run import RunFolder
from vltk.train.setup import Setup
from vltk.train.signals import Signals

CODES = ["train", "flava-tiny", DEBUG, "stages.image=null", "stages.text=null", "stages.joint=null"]


@pytest.fixture
def room() -> Iterator[None]:
    """Puts back the limit on the size of files, with which a test makes the disk full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def fill_at(step: int, before: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the saving of that step on, no file can grow beyond 5 kB; `before` is the checkpoint before it, which is
    written beside the steps."""
    asked = iter(range(1, 1000))

    def look(signals: Signals) -> int:
        if next(asked) == step:
            deadline = time.monotonic() + 60
            while not before.exists():
                assert time.monotonic() < deadline, f"{before} was not written"
                time.sleep(0.01)
            resource.setrlimit(resource.RLIMIT_FSIZE, (5000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
        return 0

    monkeypatch.setattr(Signals, "asked", look)


def refill(monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk has room again."""
    monkeypatch.undo()
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.getrlimit(resource.RLIMIT_FSIZE)[1],) * 2)


def test_a_full_disk_while_saving(home: Path, room: None, capsys: pytest.CaptureFixture[str], stand_ins: Path) -> None:
    assert call(*CODES, "name=whole", "steps=3") == 0
    with pytest.MonkeyPatch.context() as patch:
        fill_at(2, home / "runs/full/codes/checkpoints/step-00000001", patch)
        code = call(*CODES, "name=full", "steps=3")
        refill(patch)
    said = capsys.readouterr().err
    assert code == 1 and "Traceback" not in said
    assert "checkpoint of step 2 not written to runs/full/codes/checkpoints" in said
    assert "step-00000001 is untouched: free space and start again to go on from it" in said
    assert [path.name for path in (home / "runs/full/codes/checkpoints").iterdir()] == ["step-00000001"]
    assert call(*CODES, "name=full", "steps=3") == 0
    assert "going on from step 1" in capsys.readouterr().out
    assert weights("full/codes") == weights("whole/codes") and losses("full/codes") == losses("whole/codes")


def test_a_full_disk_at_the_very_end(
    home: Path, room: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from vltk.train import loop

    def full(setup: Setup) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
        write_final(setup)

    write_final = loop.write_final
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "write_final", full)
        code = call(*CODES, "name=full")
        refill(patch)
    said = capsys.readouterr().err
    assert code == 1 and "cannot write runs/full/codes/model.safetensors" in said and "Traceback" not in said
    assert not list((home / "runs/full/codes").glob("model.*"))
    assert facts("full/codes")["status"] != "finished"
    assert call(*CODES, "name=full") == 0
    assert facts("full/codes")["status"] == "finished"


def test_a_damaged_checkpoint(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The older one is taken and the damage named; the end is the same."""
    assert call(*CODES, "name=whole", "steps=3") == 0
    shutil.copytree("runs/whole", "runs/hurt")
    stage = home / "runs/hurt/codes"
    (stage / "model.safetensors").unlink()
    (stage / "run.json").write_text((stage / "run.json").read_text().replace('"finished"', '"running"'))
    newest = stage / "checkpoints/step-00000003/rank-00000.safetensors"
    content = bytearray(newest.read_bytes())
    content[-5] ^= 1
    newest.write_bytes(content)
    assert call(*CODES, "name=hurt", "steps=3") == 0
    said = capsys.readouterr().err
    assert "step-00000003: rank-00000.safetensors does not have its checksum" in said
    assert "taking the older checkpoint of step 2" in said
    assert weights("hurt/codes") == weights("whole/codes") and losses("hurt/codes") == losses("whole/codes")


def test_damaged_weights(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Named by all who read them; those of a run of before, without a checksum, where they cannot be read at all."""
    assert call(*CODES, "name=hurt") == 0
    path = home / "runs/hurt/codes/model.safetensors"
    content = path.read_bytes()
    exported = ["export", "weights", "hurt", "out"]
    path.write_bytes(content[:-5] + bytes([content[-5] ^ 1]) + content[-4:])
    assert call(*exported) == 1
    said = capsys.readouterr().err
    assert "runs/hurt/codes: model.safetensors does not have its checksum; restore the file, take a checkpoint" in said
    path.write_bytes(content[: len(content) // 2])
    assert call(*exported) == 1
    assert f"model.safetensors has {len(content) // 2} bytes instead of {len(content)}" in capsys.readouterr().err
    RunFolder(path.parent).note(weights=None)
    assert call(*exported) == 1
    said = capsys.readouterr().err
    assert "model.safetensors is damaged or cut short" in said and "Traceback" not in said
    path.write_bytes(content)
    assert not Path("out").exists() and call(*exported) == 0
    (home / "out/model.safetensors").write_bytes(content[:-1])
    assert call("export", "weights", "out", "again") == 1, "what was exported has its checksum too"


def test_a_tar_cut_in_half(own_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tar = own_data / "shapes/images/shards/00000.tar"
    tar.write_bytes(tar.read_bytes()[: tar.stat().st_size // 2])
    assert call(*CODES) == 1
    said = capsys.readouterr().err
    assert "data/shapes/images/shards/00000.tar" in said and "the tar was cut or changed" in said
    assert "vltk data fetch shapes" in said
    assert not list(Path("runs").glob("*/*/run.json"))


def spoilt(own_data: Path, *bad: int) -> None:
    """`shapes/images` of eight samples, of which those at `bad` cannot be decoded."""
    records = list(shapes.records(0, "images", SIZES["images"]))[:8]
    for place in bad:
        records[place] = Record(f"bad-{place}", b"\xff\xd8\xff\xe0 no image", [], {})
    write_dataset(own_data / "shapes/images", records, {"kind": "spoilt"}, replace=True)


def test_an_undecodable_image_is_replaced_and_listed(own_data: Path) -> None:
    spoilt(own_data, 5)
    options = [*CODES, "steps=4", "loader.max_bad_rate=0.01"]  # two epochs
    assert call(*options, "name=one", "loader.threads=1") == 0
    assert call(*options, "name=other", "loader.threads=3", "loader.prefetch=4") == 0
    listed = rows("one/codes", "bad_samples.jsonl")
    assert [(row["dataset"], row["key"]) for row in listed] == [("shapes/images", "bad-5")] * 2
    assert listed[0]["stream"] == "image" and "reason" in listed[0] and listed[0]["step"] < listed[1]["step"] < 4
    assert rows("other/codes", "bad_samples.jsonl") == listed
    assert losses("one/codes") == losses("other/codes") and weights("one/codes") == weights("other/codes")


def test_bad_samples_are_listed_once_in_a_resumed_run(own_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loader is ahead of training: what it lists early is listed again after a stop."""
    spoilt(own_data, 1, 5)
    options = [*CODES, "steps=6", "loader.max_bad_rate=0.01", "loader.prefetch=4"]
    assert call(*options, "name=whole") == 0
    with monkeypatch.context() as patch:
        patch.setattr(Signals, "asked", lambda self: 2)
        while call(*options, "name=broken") == 130:
            assert len(losses("broken/codes")) < 7
    assert rows("broken/codes", "bad_samples.jsonl") == rows("whole/codes", "bad_samples.jsonl")
    assert len(rows("whole/codes", "bad_samples.jsonl")) == 6


def test_too_many_bad_samples_stop_the_run(own_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spoilt(own_data, 1, 2, 5, 6)
    assert call(*CODES, "steps=4") == 1
    said = capsys.readouterr().err
    assert "samples are bad, more than max_bad_rate 0.001 allows" in said and "loader.max_bad_rate" in said
    assert rows("flava-tiny/codes", "bad_samples.jsonl")
