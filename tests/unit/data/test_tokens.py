"""Streams on token shards: the same batches as text, other tokenizers refused, damage named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests import tiny
from tests.unit.data.samples import OPTIONS
from tests.unit.data.token_sets import documents_on_disk, made, texts_of
from vltk.data.batch import Batch
from vltk.data.dataset import Dataset, open_dataset
from vltk.data.shard import Record, write_dataset
from vltk.data.stream import Stream
from vltk.data.text import Tokenizer
from vltk.data.tokens import problems
from vltk.data.vocabulary import train_tokenizer
from vltk.errors import VltkError
from vltk.objectives._contract import text_views

__all__ = ["documents_on_disk"]  # the fixture `source`


def stream(datasets: list[Dataset], tokenizer: Tokenizer, **options: Any) -> Stream:
    views = text_views(0.3, True)
    return Stream(datasets, views, **{"batch_size": 12, "image": OPTIONS, "tokenizer": tokenizer, **options})


def rows(batches: list[Batch]) -> list[dict[str, Any]]:
    return [{name: tensor.tolist() for name, tensor in batch.tensors.items()} for batch in batches]


@pytest.mark.parametrize("kind", ["wordpiece", "bpe"])
def test_batches_are_those_of_the_text(root: Path, source: Path, tokenizer: Tokenizer, kind: Any) -> None:
    """Tokens ready made and text that is tokenised give equal views, whole-word masks included."""
    if kind == "bpe":
        train_tokenizer([str(source)], "bpe", 300, root / "bpe.json")
        tokenizer = Tokenizer(root / "bpe.json", 40)
    tokens = made(source, tokenizer, "same", max_length=40)
    texts = texts_of(tokens)
    write_dataset(root / "text", [Record(f"k{n}", None, [text]) for n, text in enumerate(texts)], source={})
    text = open_dataset("text")
    for threads in (1, 3):
        both = [stream([one], tokenizer, max_length=40, threads=threads) for one in (tokens, text)]
        for n in range(4):
            found = [rows(one.micro_batches(n)) for one in both]
            assert found[0] == found[1]
        for one in both:
            one.close()
    masked = stream([tokens], tokenizer, max_length=40).micro_batches(0)[0].tensors
    assert masked["text_masked_at"].any(1).all() and (masked["text"][:, 0] == tokenizer.cls).all()


def test_every_epoch_holds_each_sample_once(source: Path, tokenizer: Tokenizer) -> None:
    dataset = made(source, tokenizer, shard_tokens=100)
    count = len(dataset)
    parts = [stream([dataset], tokenizer, batch_size=6, rank=rank, world=3) for rank in range(3)]
    keys = [key for n in range(count) for part in parts for batch in part.micro_batches(n) for key in batch.keys]
    for start in range(0, 6 * count, count):
        assert len(set(keys[start : start + count])) == count


def test_mlm_trains_on_tokens(source: Path, tokenizer: Tokenizer) -> None:
    dataset = made(source, tokenizer)
    batch = stream([dataset], tokenizer).micro_batches(0)[0].tensors
    pretraining = tiny.pretraining(tiny.flava(image=None, fusion=None), "mlm")
    sums = pretraining("all", batch, 0)[0].sums
    loss = sums["mlm"] / batch["text_masked_at"].sum()
    assert torch.isfinite(loss) and 1 < loss.item() < 10


def test_a_stream_of_another_tokenizer_is_refused(source: Path, tokenizer: Tokenizer, tmp_path: Path) -> None:
    dataset = made(source, tokenizer)
    other = tmp_path / "other.txt"
    other.write_text(tokenizer.vocab.read_text() + "more\n")
    with pytest.raises(VltkError, match=r"'t' was made with another tokenizer than .*other.txt(.|\n)*vocab.txt\}"):
        stream([dataset], Tokenizer(other, 16)).micro_batches(0)
    with pytest.raises(VltkError, match=r"up to 16 tokens, the stream takes 15\nSet max_length: 16"):
        stream([dataset], tokenizer, max_length=15).micro_batches(0)
    dataset._made_by = {"as another version of the library says it"}
    assert stream([dataset], tokenizer).micro_batches(0)[0].size == 12


def test_damage_is_named(root: Path, source: Path, tokenizer: Tokenizer) -> None:
    manifest = made(source, tokenizer).manifest
    body = (root / "t/tokens/00000.bin").read_bytes()
    (root / "t/tokens/00000.bin").write_bytes(body[:-2])
    with pytest.raises(VltkError, match=r"00000.bin: .*was cut or changed\n.*vltk data tokens SOURCE t"):
        open_dataset("t")
    (root / "t/tokens/00000.bin").write_bytes(bytes([body[0] ^ 1]) + body[1:])
    assert [(path.name, what) for path, what in problems("t", root / "t", manifest)] == [
        ("00000.bin", "other bytes than the manifest says")
    ]
    index = root / "t/tokens/00000.idx.npy"
    index.write_bytes(index.read_bytes()[:-8])
    with pytest.raises(VltkError, match=r"idx.npy: not the index"):
        open_dataset("t")
    index.unlink()
    with pytest.raises(VltkError, match=r"idx.npy: the file is gone"):
        open_dataset("t")
    assert {path.name for path, _ in problems("t", root / "t", manifest)} == {"00000.bin", "00000.idx.npy"}
