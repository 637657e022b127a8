"""Tokenizers from every kind of file, and learnt: the same ids by any way, words known, wrong files named."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tokenizers import BertWordPieceTokenizer
from tokenizers import Tokenizer as Backend

from tests.unit.data.samples import caption
from tests.unit.data.token_sets import BERT, TEXT, needs_real_text
from vltk.data.shard import Record, write_dataset
from vltk.data.text import Tokenizer, load_tokenizer
from vltk.data.tokenise import bring
from vltk.data.tokenizer_file import SPECIAL
from vltk.data.vocabulary import train_tokenizer, train_vocabulary
from vltk.errors import Missing, VltkError

BOOK = TEXT / "wikitext-2/wiki.valid.tokens"
TEXTS = [
    "The dog played, playing.",
    "Ünïcode — “quotes” 🙂 dog's 12.5 km",
    "[SEP] a [MASK] <mask> </s>",
    "  ",
    "##ing ing",
]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.txt"
    path.write_text("\n\n".join(f"{caption(seed).capitalize()} Café played 🙂." for seed in range(300)), "utf-8")
    return path


def same(one: Tokenizer, other: Tokenizer) -> bool:
    return all(np.array_equal(one.encode(text), other.encode(text)) for text in TEXTS)


def test_a_tokenizer_json_is_as_good(tokenizer: Tokenizer, tmp_path: Path) -> None:
    path = tmp_path / "x" / "tokenizer.json"
    path.parent.mkdir()
    saved = BertWordPieceTokenizer(str(tokenizer.vocab), lowercase=True)
    saved.enable_truncation(4)
    saved.enable_padding(length=9)
    saved.save(str(path))
    found = Tokenizer(path, 16)
    assert found.tokens == tokenizer.tokens and same(found, tokenizer)
    assert found.digest == tokenizer.digest  # what decides the ids is the same
    assert (found.regular == tokenizer.regular).all() and found.mask == tokenizer.mask


def test_the_digest_sees_every_difference(tokenizer: Tokenizer, tmp_path: Path) -> None:
    words = tokenizer.vocab.read_text().splitlines()
    digests = {tokenizer.digest}
    for change in (words + ["more"], words[:5] + words[5:][::-1], words[1:5] + words[:1] + words[5:]):
        (tmp_path / "other.txt").write_text("\n".join(change))
        digests.add(Tokenizer(tmp_path / "other.txt").digest)
    cased = BertWordPieceTokenizer(str(tokenizer.vocab), lowercase=False)
    cased.save(str(tmp_path / "cased.json"))
    assert len(digests | {Tokenizer(tmp_path / "cased.json").digest}) == 5


def test_special_tokens_in_a_text_are_text(tokenizer: Tokenizer) -> None:
    ids, words = tokenizer.encode("dog [SEP] [PAD] cat")
    inside = {tokenizer.pad, tokenizer.cls, tokenizer.sep, tokenizer.mask} & set(ids[1:-1].tolist())
    assert not inside and words.max() == len(words) - 3


@pytest.mark.parametrize("cased", [False, True])
def test_bpe_is_learnt(corpus: Path, tmp_path: Path, cased: bool) -> None:
    out = tmp_path / "made" / "bpe.json"
    count = train_tokenizer([str(corpus)], "bpe", 300, out, cased)
    found = Tokenizer(out, 64)
    assert found.size == count == 300 and found.tokens[:5] == list(SPECIAL)
    text = "Red dogs PLAYED 🙂 漢字"
    assert found.decode(found.encode(text)[0]) == " " + (text if cased else text.lower())
    ids, words = found.encode("red dog, blue 🙂")
    spelt = [found.decode([found.cls, *ids[words == word], found.sep]) for word in range(words.max() + 1)]
    assert spelt == [" red", " dog,", " blue", " 🙂"] and words[[0, -1]].tolist() == [-1, -1]
    assert found.unk is not None and found.unk not in found.encode("never seen: ÿ 漢")[0]  # bytes know everything


def test_wordpiece_is_learnt_as_either_file(corpus: Path, tmp_path: Path) -> None:
    write = {ending: tmp_path / f"words.{ending}" for ending in ("txt", "json")}
    for out in write.values():
        assert train_tokenizer([str(corpus)], "wordpiece", 120, out) == Tokenizer(out).size
    assert same(Tokenizer(write["txt"]), Tokenizer(write["json"]))
    assert Tokenizer(write["txt"]).digest == Tokenizer(write["json"]).digest
    assert "café" not in Tokenizer(write["txt"]).tokens  # lower case, without accents
    train_tokenizer([str(corpus)], "wordpiece", 300, tmp_path / "cased.json", cased=True)
    assert "Café" in Tokenizer(tmp_path / "cased.json").tokens


def test_the_vocab_command_makes_the_same(root: Path, tmp_path: Path) -> None:
    write_dataset(root / "t", [Record(f"k{seed}", None, [caption(seed)]) for seed in range(50)], source={})
    train_vocabulary(["t"], 100, tmp_path / "a.txt")
    train_tokenizer(["t"], "wordpiece", 100, tmp_path / "b.txt")
    assert (tmp_path / "a.txt").read_bytes() == (tmp_path / "b.txt").read_bytes()


def test_other_processes_learn_the_same(corpus: Path, tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from vltk.data.vocabulary import train_tokenizer as t\n"
    code += "t([sys.argv[1]], 'bpe', 420, Path(sys.argv[2]))"
    for name in ("a.json", "b.json"):
        subprocess.run([sys.executable, "-c", code, str(corpus), str(tmp_path / name)], check=True)
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_wrong_learning(corpus: Path, tmp_path: Path) -> None:
    for name, kind in (("x.txt", "bpe"), ("x.bin", "wordpiece"), ("x", "bpe")):
        with pytest.raises(VltkError, match=r"take .*x\.json"):
            train_tokenizer([str(corpus)], kind, 300, tmp_path / name)  # type: ignore[arg-type]
    with pytest.raises(VltkError, match="too small: bytes and special tokens are 261"):
        train_tokenizer([str(corpus)], "bpe", 200, tmp_path / "x.json")
    with pytest.raises(Missing, match="'absent' is not on disk"):
        train_tokenizer(["absent"], "bpe", 300, tmp_path / "x.json")
    assert not (tmp_path / "x.json").exists()


def test_clip_and_roberta_files(tmp_path: Path) -> None:
    """Their special tokens, and where their words begin; CLIP has no token for masking and none for padding."""
    clip = {"<|startoftext|>": 0, "<|endoftext|>": 1, "d": 2, "o": 3, "g</w>": 4, "do": 5, "dog</w>": 6, "d</w>": 7}
    model: dict[str, Any] = {
        "type": "BPE",
        "vocab": clip,
        "merges": [["d", "o"], ["do", "g</w>"]],
        "end_of_word_suffix": "</w>",
    }
    special = [{"id": n, "content": name, "special": True} | FLAGS for name, n in clip.items() if name.startswith("<")]
    whole: dict[str, Any] = {
        "version": "1.0",
        "added_tokens": special,
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "model": model,
    }
    (tmp_path / "clip.json").write_text(json.dumps(whole | EMPTY))
    found = Tokenizer(tmp_path / "clip.json")
    ids, words = found.encode("dog d dog")
    assert ids.tolist() == [0, 6, 7, 6, 1] and words.tolist() == [-1, 0, 1, 2, -1]
    assert found.words_of(np.array([0, 2, 3, 4, 6, 1])).tolist() == [-1, 0, 0, 0, 1, -1]
    assert found.pad == found.sep == 1 and found.unk is None
    with pytest.raises(VltkError, match=r"no token \[MASK\] or <mask>"):
        found.mask  # noqa: B018
    roberta = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "<mask>": 4, "Ġdog": 5, "s": 6, "Ġ": 7, "d": 8}
    model = {"type": "WordLevel", "vocab": roberta, "unk_token": "<unk>"}
    whole = {"version": "1.0", "added_tokens": [], "pre_tokenizer": None, "model": model}
    (tmp_path / "roberta.json").write_text(json.dumps(whole | EMPTY))
    found = Tokenizer(tmp_path / "roberta.json")
    assert (found.cls, found.pad, found.sep, found.mask) == (0, 1, 2, 4)
    assert found.words_of(np.array([0, 8, 6, 5, 6, 5, 2])).tolist() == [-1, 0, 0, 1, 1, 2, -1]


FLAGS = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
EMPTY: dict[str, Any] = {
    "truncation": None,
    "padding": None,
    "normalizer": None,
    "post_processor": None,
    "decoder": None,
}


def test_wrong_files(tmp_path: Path, tokenizer: Tokenizer) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text('{"version": "1.0", "model": {}}')
    with pytest.raises(VltkError, match="no tokenizer.json that the tokenizers library reads"):
        Tokenizer(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(VltkError, match="neither a WordPiece vocabulary"):
        Tokenizer(path)
    plain: dict[str, Any] = {"version": "1.0", "added_tokens": [], "pre_tokenizer": None, "model": WORDS}
    Backend.from_str(json.dumps(plain | EMPTY)).save(str(path))
    with pytest.raises(VltkError, match=r"no token for the start of a text; looked for \[CLS\], <s>"):
        Tokenizer(path)
    folder = tmp_path / "cased"
    folder.mkdir()
    shutil.copy(tokenizer.vocab, folder / "vocab.txt")
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    with pytest.raises(VltkError, match="a cased vocabulary"):
        Tokenizer(folder / "vocab.txt")


WORDS: dict[str, Any] = {"type": "WordLevel", "vocab": {"[UNK]": 0, "dog": 1}, "unk_token": "[UNK]"}


def test_folders_and_run_folders(root: Path, tmp_path: Path, corpus: Path, tokenizer: Tokenizer) -> None:
    made = root / "models" / "mine"
    train_tokenizer([str(corpus)], "bpe", 300, made / "tokenizer.json")
    options = SimpleNamespace(vocab="models/mine", max_length=20)
    found = load_tokenizer(options)
    assert found.vocab == made / "tokenizer.json" and found.max_length == 20
    run = tmp_path / "run"
    run.mkdir()
    assert found.copy_to(run) == run / "tokenizer.json"
    assert load_tokenizer(SimpleNamespace(vocab="gone", max_length=9), run).digest == found.digest
    (run / "tokenizer.json").rename(run / "vocab.txt")  # the name under which run folders keep it
    assert load_tokenizer(options, run).digest == found.digest
    assert tokenizer.copy_to(made).name == "vocab.txt"


def test_absent_ones_say_what_to_type(root: Path) -> None:
    for vocab, command in (
        ("mine/vocab.txt", "vltk data vocab DATASET"),
        ("mine/tokenizer.json", "vltk data tokenizer DATASET.* --kind bpe"),
        ("google-bert/bert-base-uncased", "hf download google-bert/bert-base-uncased tokenizer.json --local-dir"),
    ):
        with pytest.raises(Missing, match=command):
            load_tokenizer(SimpleNamespace(vocab=vocab, max_length=9))


class _Hub(BaseHTTPRequestHandler):
    """A hub with one model, `lab/model`, that has a vocab.txt and no tokenizer.json."""

    body = b""

    def do_HEAD(self) -> None:
        self._answer(False)

    def do_GET(self) -> None:
        self._answer(True)

    def _answer(self, whole: bool) -> None:
        there = self.path == "/lab/model/resolve/main/vocab.txt"
        known = self.path.startswith("/lab/model/")
        self.send_response(200 if there else 404)
        self.send_header("X-Repo-Commit", "0" * 40)
        self.send_header("ETag", '"abc"')
        self.send_header("X-Error-Code", "EntryNotFound" if known else "RepoNotFound")
        self.send_header("Content-Length", str(len(self.body) if there else 0))
        self.end_headers()
        if whole and there:
            self.wfile.write(self.body)

    def log_message(self, *_: object) -> None:
        """Nothing on the terminal."""


@pytest.fixture
def hub(tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    import huggingface_hub.constants as constants

    _Hub.body = tokenizer.vocab.read_bytes()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    yield "lab/model"
    server.shutdown()
    server.server_close()


def test_a_model_of_the_hub(hub: str, root: Path, tokenizer: Tokenizer) -> None:
    with pytest.raises(Missing, match=f"hf download {hub}"):
        load_tokenizer(SimpleNamespace(vocab=hub, max_length=9))  # training downloads nothing
    assert bring(hub).digest == tokenizer.digest
    with pytest.raises(VltkError, match=r"'lab/other' is neither a file here.*nor could it be had"):
        bring("lab/other")


@needs_real_text
def test_bert_by_every_way(tmp_path: Path) -> None:
    """vocab.txt, tokenizer.json of transformers: the same ids; words from the vocabulary are those of the library."""
    transformers = pytest.importorskip("transformers")
    ours = Tokenizer(BERT, 10_000)
    vocab = {token: number for number, token in enumerate(ours.tokens)}
    transformers.BertTokenizerFast(vocab=vocab, do_lower_case=True).save_pretrained(tmp_path)
    theirs = Tokenizer(tmp_path / "tokenizer.json", 10_000)
    assert ours.size == 30522 and theirs.digest == ours.digest
    plain = BertWordPieceTokenizer(str(BERT), lowercase=True)
    lines = [line for line in BOOK.read_text("utf-8").splitlines() if len(line) > 100][:300]
    for line in lines:
        expected = plain.encode(line, add_special_tokens=False)
        for ids, words in (ours.encode(line), theirs.encode(line)):
            assert ids[1:-1].tolist() == expected.ids and words[1:-1].tolist() == expected.word_ids
