"""Writing token shards: whole sentences of one document, every document a row, going on after a stop."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.harness import call
from tests.unit.data.samples import WORDS, caption
from tests.unit.data.token_sets import (
    BERT,
    DOCUMENTS,
    TEXT,
    documents_on_disk,
    files,
    made,
    needs_real_text,
    sentences,
    texts_of,
)
from vltk.data.dataset import open_dataset
from vltk.data.shard import Record, write_dataset
from vltk.data.sources.documents import Document
from vltk.data.text import Tokenizer
from vltk.data.token_shards import BATCH, TokenWriter, dtype_for, encoded
from vltk.data.tokenise import tokenise
from vltk.data.tokens import TokenDataset, problems
from vltk.errors import VltkError

__all__ = ["documents_on_disk"]  # the fixture `source`


def test_samples_are_whole_sentences_of_one_document(source: Path, tokenizer: Tokenizer) -> None:
    dataset = made(source, tokenizer)
    packed = []
    for number in range(DOCUMENTS):
        held: list[str] = []
        for sentence in sentences(number):
            if len(" ".join([*held, sentence]).split()) > 14:
                packed.append(" ".join(held).lower())
                held = []
            held.append(sentence)
        packed.append(" ".join(held).lower())
    assert [text.replace(".", " .") for text in texts_of(dataset)] == packed
    assert len(dataset) == dataset.manifest["samples"] and dataset.has_texts and not dataset.has_images
    for index in range(len(dataset)):
        ids = dataset.read(index).ids
        assert ids is not None and ids.dtype == np.uint16 and 1 <= len(ids) <= 14
        assert (ids == tokenizer.encode(packed[index], 99)[0][1:-1]).all()
        with pytest.raises(ValueError, match="read-only"):
            ids[0] = 1
    with pytest.raises(IndexError):
        dataset.read(len(dataset))


def test_rows_and_offsets_of_documents(root: Path, source: Path, tokenizer: Tokenizer) -> None:
    with source.open("a") as file:
        file.write('{"text": ""}\n{cut\n{"text": "dog"}\n')
    dataset = made(source, tokenizer, least=2, shard_tokens=150)
    rows = [row for path in sorted((root / "t/rows").iterdir()) for row in pq.read_table(path).to_pylist()]
    assert [row["row"] for row in rows] == list(range(DOCUMENTS + 3))
    assert [(row["status"], row["detail"]) for row in rows[DOCUMENTS:]] == [
        ("filtered", "no text"), ("unreadable_row", "no JSON object"), ("filtered", "1 tokens, fewer than 2"),
    ]  # fmt: skip
    assert dataset.manifest["statuses"] == {"filtered": 2, "ok": DOCUMENTS, "unreadable_row": 1}
    assert dataset.manifest["rows"] == DOCUMENTS + 3 and dataset.manifest["left_tokens"] == 1
    assert rows[3]["url"] == "http://x/3" and rows[3]["key"] == "docs.jsonl:4" and len(rows[3]["sha256"]) == 64
    assert len(dataset.manifest["shards"]) > 2
    for number, shard in enumerate(dataset.manifest["shards"]):
        own = [row for row in rows if row["shard"] == number]
        firsts = np.load(root / "t" / shard["documents_index"])
        assert np.diff(firsts).tolist() == [row["texts"] for row in own] and len(own) == shard["documents"]
        for row, first, stop in zip(own, firsts, firsts[1:], strict=False):
            words = [dataset.read(dataset.starts[number] + index).texts[0] for index in range(first, stop)]
            assert " ".join(words).replace(".", " .") == " ".join(sentences(row["row"])).lower()
    quarantine = (root / "t/quarantine/rows.jsonl").read_text().splitlines()
    assert [json.loads(line)["text"] for line in quarantine] == ["{cut\n"]
    assert list(problems("t", root / "t", dataset.manifest)) == []


def test_long_sentences_are_cut_between_words(tmp_path: Path, tokenizer: Tokenizer) -> None:
    path = tmp_path / "a.txt"
    path.write_text("A dog. " + "Playing played " * 9 + "on grass. A cat. " + "The " * 14 + ".")
    dataset = made(path, tokenizer)
    texts = texts_of(dataset)
    assert (
        " ".join(texts).replace(" .", ".")
        == "a dog. " + "playing played " * 9 + "on grass. a cat. " + "the " * 13 + "the."
    )
    assert dataset.manifest["cut_sentences"] == 2 and texts[0] == "a dog."
    firsts = [tokenizer.tokens[int(dataset.ids[0][start])] for start in dataset.indexes[0][:-1]]
    assert not any(token.startswith("##") for token in firsts)


def test_the_same_input_gives_the_same_bytes(root: Path, source: Path, tokenizer: Tokenizer) -> None:
    made(source, tokenizer, "a", shard_tokens=100)
    packed = source.with_name("docs.jsonl.gz")
    one, other = made(source, tokenizer, "b", shard_tokens=100), made(source, tokenizer, "c", max_length=12)
    assert files(root / "a") == files(root / "b") and one.digest != other.digest
    packed.write_bytes(gzip.compress(source.read_bytes()))
    assert made(packed, tokenizer, "d", shard_tokens=100).digest == one.digest
    assert not (root / "a" / ".tokens").exists()


def test_large_vocabularies_take_four_bytes(tmp_path: Path) -> None:
    assert dtype_for(30522) == np.uint16 and dtype_for(65536) == np.uint16 and dtype_for(65537) == np.uint32
    path = tmp_path / "large.txt"
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", *(f"w{number}" for number in range(65530)), "dog"]
    path.write_text("\n".join(words))
    (tmp_path / "a.txt").write_text("w3 dog w65529.")
    dataset = made(tmp_path / "a.txt", Tokenizer(path), "large")
    ids = dataset.read(0).ids
    assert ids is not None and ids.dtype == np.uint32 and ids.tolist() == [9, 65536, 65535, 5]


def test_a_text_that_the_vocabulary_does_not_know(
    tmp_path: Path, tokenizer: Tokenizer, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.txt").write_text("Quantum chromodynamics on the red grass.")
    dataset = made(tmp_path / "a.txt", tokenizer)
    assert dataset.manifest["unknown_tokens"] == 2
    assert "29% of the tokens are unknown" in capsys.readouterr().err


def test_a_stopped_run_goes_on(
    root: Path, source: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made(source, tokenizer, "whole", shard_tokens=60)
    begun: list[str] = []
    begin = TokenWriter.begin

    def failing(self: TokenWriter, document: Any) -> None:
        begun.append(document.key)
        if len(begun) == 8:
            raise OSError(28, "No space left on device")
        begin(self, document)

    monkeypatch.setattr(TokenWriter, "begin", failing)
    with pytest.raises(VltkError, match="No space left"):
        made(source, tokenizer, "broken", shard_tokens=60)
    assert not (root / "broken/manifest.json").exists() and (root / "broken/.tokens/state.json").exists()
    made(source, tokenizer, "broken", shard_tokens=60)
    assert "going on behind " in capsys.readouterr().out
    assert files(root / "broken") == files(root / "whole")
    assert len(begun) < DOCUMENTS + 8  # what stands in finished shards was not made again


def test_another_run_starts_again(
    root: Path, source: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vltk.data.tokenise.Work.publish", lambda self, folder, words: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        made(source, tokenizer, shard_tokens=60)
    monkeypatch.undo()
    monkeypatch.setenv("VLTK_DATA", str(root))
    os.utime(source, ns=(1, 1))  # another file of the same name and size
    made(source, tokenizer, shard_tokens=60)
    made(source, tokenizer, "other", shard_tokens=60)
    assert files(root / "t") == files(root / "other")


def test_a_killed_run_goes_on(root: Path, tmp_path: Path, tokenizer: Tokenizer) -> None:
    path = tmp_path / "a.txt"
    path.write_text("\n".join(f"{caption(seed, 9)} ." for seed in range(6000)))
    code = "import sys; import vltk.data.tokenise as t\n"
    code += "t.tokenise(sys.argv[1], 'killed', sys.argv[2], max_length=16, per='line', shard_tokens=5000)"
    state = root / "killed/.tokens/state.json"
    process = subprocess.Popen([sys.executable, "-c", code, str(path), str(tokenizer.vocab)])
    while process.poll() is None and _shards(state) < 3:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    finished = _shards(state)
    assert 3 <= finished < 12 and not (root / "killed/manifest.json").exists()
    begun = time.time_ns()
    for name in ("killed", "whole"):
        tokenise(str(path), name, str(tokenizer.vocab), max_length=16, per="line", shard_tokens=5000)
    assert files(root / "killed") == files(root / "whole")
    kept = [shard for shard in (root / "killed/tokens").glob("*.bin") if shard.stat().st_mtime_ns < begun]
    assert len(kept) == finished


def _shards(state: Path) -> int:
    return len(json.loads(state.read_text())["entries"]) if state.exists() else 0


def test_replacing_and_refusing(root: Path, source: Path, tokenizer: Tokenizer, tmp_path: Path) -> None:
    write_dataset(root / "t", [Record("k", None, ["a dog"])], source={})
    with pytest.raises(VltkError, match="exists already: delete it, give another name, or add --replace"):
        made(source, tokenizer)
    with pytest.raises(VltkError, match="no usable document: 1 filtered"):
        (tmp_path / "empty.txt").write_text("\n")
        made(tmp_path / "empty.txt", tokenizer, replace=True)
    assert open_dataset("t").read(0).texts == ["a dog"]  # still there
    made(source, tokenizer, replace=True)
    assert {path.name for path in (root / "t").iterdir()} == {"manifest.json", "rows", "tokens", "vocab.txt"}
    with pytest.raises(VltkError, match="no usable document"):
        made(tmp_path / "empty.txt", tokenizer, "a/b")
    assert not (root / "a").exists()
    for name in ("../x", "/x", ""):
        with pytest.raises(VltkError, match="no name of a data set"):
            made(source, tokenizer, name)
    with pytest.raises(VltkError, match="at least 4"):
        made(source, tokenizer, "b", max_length=3)
    write_dataset(root / "t", [Record("k", None, ["a dog"])], source={}, replace=True)
    assert open_dataset("t").read(0).texts == ["a dog"]


def test_a_data_set_of_texts_is_a_source(root: Path, tokenizer: Tokenizer) -> None:
    write_dataset(root / "t", [Record("k", None, ["a dog. the cat."]), Record("l", None, ["old grass."])], source={})
    assert texts_of(made(Path("t"), tokenizer, "u")) == ["a dog. the cat.", "old grass."]
    with pytest.raises(VltkError, match="'u' has no texts to tokenise"):
        made(Path("u"), tokenizer, "v")


def test_a_document_is_never_held_as_a_whole(tokenizer: Tokenizer) -> None:
    """Ids come out while the document is still read; one without an end would go on for ever."""
    taken = 0

    def endless() -> Iterator[str]:
        nonlocal taken
        while True:
            taken += 1
            yield f"{' '.join(WORDS)} ."

    events = encoded([Document("endless", endless())], tokenizer)
    first = [next(events) for _ in range(3)]
    assert isinstance(first[0], Document) and first[1] == first[2] and taken * len(" ".join(WORDS)) < 1.1 * BATCH


def test_the_commands(root: Path, source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = root / "mine" / "tokenizer.json"
    assert call("data", "tokenizer", str(source), "--kind", "bpe", "--size", "300", "--out", str(out)) == 0
    assert capsys.readouterr().out == f"{out}: 300 tokens\n"
    command = ("data", "tokens", str(source), "books/train", "--tokenizer", "mine/tokenizer.json", "--max-length", "32")
    assert call(*command) == 0
    said = capsys.readouterr().out
    assert f"{root / 'books/train'}: " in said and "of 12 documents" in said and "documents: 12 ok; 0 sentences" in said
    assert call(*command) == 1 and "add --replace" in capsys.readouterr().err
    assert call(*command, "--replace", "--column", "body") == 1
    assert "no column 'body'; have: text, url" in capsys.readouterr().err
    assert call("data", "tokens", str(source), "other", "--tokenizer", "absent.json") == 3
    assert "vltk data tokenizer DATASET" in capsys.readouterr().err
    assert len(open_dataset("books/train")) > 12


@needs_real_text
def test_wikitext(root: Path) -> None:
    """WikiText-2's validation part has 60 articles; every token is there, in order, and each article by itself."""
    source = TEXT / "wikitext-2/wiki.valid.tokens"
    tokenise(str(source), "wiki", str(BERT), max_length=128, starts="^ = [^=]")
    dataset = open_dataset("wiki")
    manifest = dataset.manifest
    assert (manifest["documents"], manifest["left_tokens"]) == (60, 0) and manifest["unknown_tokens"] < 30
    whole = Tokenizer(BERT).encode_parts([source.read_text("utf-8")])[0]
    stored = np.concatenate([dataset.read(index).ids for index in range(len(dataset))])
    assert stored.tolist() == whole and manifest["cut_sentences"] < 60
    firsts = np.load(root / "wiki/tokens/00000.doc.npy")
    assert all(dataset.read(int(first)).texts[0].startswith("=") for first in firsts[:-1])
    lengths = np.diff(dataset.indexes[0]) if isinstance(dataset, TokenDataset) else np.zeros(1)
    assert lengths.mean() > 95 and lengths.max() == 126  # little room is lost to whole sentences
