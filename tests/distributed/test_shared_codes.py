"""Two processes that share the making of codes leave what one does, and leave together where one of them fails."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.processes import in_processes
from tests.tiny import randomised
from tests.unit.data.samples import picture
from vltk import dist
from vltk.data.code_shards import CodeShards
from vltk.data.codes import StoredCodes
from vltk.data.dataset import data_root
from vltk.data.shard import Record, write_dataset
from vltk.models.codebooks.dvae import DVae
from vltk.recipe import ImageOptions
from vltk.train.codes import Coder, make
from vltk.train.together import Elsewhere

COUNT, SIZE = 22, 32


def coder() -> Coder:
    book = randomised(DVae(width=8, blocks=1, groups=3, codes=40, code_width=8), 0, std=0.2)
    return Coder(book, "toy/codes", ImageOptions(size=32, crop=(0.5, 1.0), crops=2), 1, "vltk data codes", images=4)


def attempt() -> str:
    try:
        make(coder(), {"photos": SIZE})
    except (Elsewhere, OSError) as error:
        return type(error).__name__
    return "made"


def work() -> dict[str, Any]:
    """What became of each rank when the disk of the second was full, and of all with one that has room."""
    write = CodeShards.write

    def full(self: CodeShards, shard: int, *given: Any) -> None:
        if dist.rank() == 1:
            raise OSError(28, "No space left on device")
        write(self, shard, *given)

    CodeShards.write = full  # type: ignore[method-assign]
    names = ["made", "Elsewhere", "OSError"]
    ends = dist.gather(torch.tensor([names.index(attempt())]))
    CodeShards.write = write  # type: ignore[method-assign]
    again = dist.gather(torch.tensor([names.index(attempt())]))
    return {"ends": [names[n] for n in ends.tolist()], "again": [names[n] for n in again.tolist()]}


def test_two_processes_make_what_one_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for world in (2, 1):
        monkeypatch.setenv("VLTK_DATA", str(tmp_path / f"data{world}"))
        records = [Record(f"k{n}", picture(n), []) for n in range(COUNT)]
        write_dataset(data_root() / "photos", records, source={}, samples_per_shard=5)
        if world == 2:
            said = in_processes(2, work, tmp_path)
            assert said == {"ends": ["Elsewhere", "OSError"], "again": ["made", "made"]}
        else:
            assert attempt() == "made"
        (folder,) = (data_root() / "photos" / "codes").iterdir()
        codes = StoredCodes(folder)
        assert list(codes.problems()) == []
        found.append((folder.name, [codes.read(n, 1).tolist() for n in range(COUNT)], codes.facts))
    assert found[0] == found[1]
