"""Data on disk to show, and small real models at random weights."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import simplejpeg
import torch

from vltk.data.shard import Record, write_dataset
from vltk.data.text import SPECIAL, Tokenizer
from vltk.parts import choose

COLOURS = ("red", "green", "blue", "white")
WORDS = (*SPECIAL, *COLOURS, "a", "wall", "with", "door", ".", "##s")


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder with its own data root."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VLTK_DATA", str(tmp_path / "data"))
    return tmp_path


@pytest.fixture
def pictures(work: Path) -> Path:
    """Data sets `walls` (12 pairs, 2 captions each, one undecodable image) and `lines` (texts)."""
    rng = np.random.default_rng(0)
    records = []
    for i in range(12):
        pixels = np.full((40, 48, 3), 40 * (i % 4), np.uint8) + rng.integers(0, 30, (40, 48, 3), dtype=np.uint8)
        image = b"no image" if i == 5 else simplejpeg.encode_jpeg(pixels, quality=90)
        colour = COLOURS[i % 4]
        records.append(Record(f"wall{i}", image, [f"a {colour} wall .", f"a wall with a {colour} door & <doors>"]))
    write_dataset(work / "data" / "walls", records, {"kind": "test"})
    texts = [Record(f"line{i}", None, [f"a {COLOURS[i % 4]} door with a wall ."]) for i in range(9)]
    write_dataset(work / "data" / "lines", texts, {"kind": "test"})
    return work


@pytest.fixture
def trained(work: Path) -> SimpleNamespace:
    """A joint model with its codebook, at random weights."""
    torch.manual_seed(0)
    vocabulary = work / "vocab.txt"
    vocabulary.write_text("\n".join(WORDS) + "\n")
    sizes = {"width": 16, "depth": 1, "heads": 2, "mlp": 32}
    codebook = choose("models/codebooks", "dvae", width=8, blocks=1, groups=3, codes=16, code_width=8).build()
    model = choose(
        "models/families",
        "flava",
        image={"part": "vit", "image_size": 32, "patch": 8, **sizes},
        text={"part": "bert", "vocab": len(WORDS), "max_length": 20, **sizes},
        fusion={"part": "joint", **sizes},
        codes=16,
        embedding=8,
    ).build()
    return SimpleNamespace(
        model=model.eval(),
        tokenizer=Tokenizer(vocabulary, 20),
        image=SimpleNamespace(size=32),
        step=50,
        helpers={"codes": codebook.eval()},
    )
