"""Tokenizers on disk: a WordPiece `vocab.txt`, a `tokenizer.json`, a folder with one of them, a model of the hub."""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import BertWordPieceTokenizer
from tokenizers import Tokenizer as Backend

from vltk.data.dataset import data_root
from vltk.errors import VltkError
from vltk.log import say

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
ROLES = {  # the tokens by which BERT, RoBERTa, CLIP, GPT-2 and Gemma say it, in this order
    "cls": ("[CLS]", "<s>", "<|startoftext|>", "<bos>", "<|endoftext|>"),
    "sep": ("[SEP]", "</s>", "<|endoftext|>", "<eos>"),
    "pad": ("[PAD]", "<pad>"),
    "unk": ("[UNK]", "<unk>"),
    "mask": ("[MASK]", "<mask>"),
}
NAMES = ("tokenizer.json", "vocab.txt")  # in a folder; the first tells all, the second only the words
JSON_START = re.compile(rb'\s*\{\s*"(version|truncation|padding|added_tokens|normalizer|model)"')
HUB_NAME = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
MARKERS = ("Ġ", "▁")  # what stands for the blank before a word: byte-level BPE, SentencePiece


def find(spec: str | Path) -> Path | None:
    """The file of a tokenizer: a path, a path below the data root, or a model in the hub's cache; None: not here.

    A folder stands for the file in it. Nothing is downloaded.
    """
    for place in (Path(spec), data_root() / spec):
        if place.is_file():
            return place
        found = [place / name for name in NAMES if (place / name).is_file()]
        if found:
            return found[0]
    return _cached(str(spec)) if HUB_NAME.fullmatch(str(spec)) else None


def download(name: str) -> Path:
    """The tokenizer of a model on the hub, into the hub's cache. Raises VltkError with the reason where it is not."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import RemoteEntryNotFoundError

    say(f"asking the hub for the tokenizer of {name}")
    reason: Exception | None = None
    for file in NAMES:
        try:
            return Path(hf_hub_download(name, file, endpoint=os.environ.get("HF_ENDPOINT")))
        except RemoteEntryNotFoundError as error:
            reason = error
        except Exception as error:  # offline, no such model, gated: each of its own class
            reason = error
            break
    said = str(reason).strip().partition("\n")[0]
    raise VltkError(
        f"the tokenizer {name!r} is neither a file here or below {data_root()}, nor could it be had from the hub: "
        f"{type(reason).__name__}: {said}\nBring its {' or '.join(NAMES)} here and give the path."
    )


def read(path: Path) -> Backend:
    """The tokenizer of a file, told by its content, as a run folder keeps either under one name.

    It adds no special tokens, cuts nothing and takes `[SEP]` in a text for four words, not for the end of the text.
    Raises VltkError where the file is neither.
    """
    backend = _from_json(path) if is_json(path) else _from_words(path)
    backend.encode_special_tokens = True
    backend.no_truncation()
    backend.no_padding()
    return backend


def is_json(path: Path) -> bool:
    """Whether the file is a `tokenizer.json`, by its first bytes."""
    with path.open("rb") as file:
        return bool(JSON_START.match(file.read(4096)))


def tokens_of(backend: Backend, path: Path) -> list[str]:
    """Every token by its id. Raises VltkError where ids are missing between them."""
    ids = backend.get_vocab(with_added_tokens=True)
    tokens = sorted(ids, key=ids.__getitem__)
    if sorted(ids.values()) != list(range(len(ids))):
        raise VltkError(f"{path}: its token ids have gaps or stand for two tokens ({len(ids)} tokens)")
    return tokens


def roles_of(backend: Backend, path: Path) -> dict[str, int]:
    """The ids of the special tokens there are, by role. Raises VltkError without a token for the start or the end."""
    found = {}
    for role, names in ROLES.items():
        ids = [number for name in names if (number := backend.token_to_id(name)) is not None]
        if ids:
            found[role] = ids[0]
    for role, what in (("cls", "start"), ("sep", "end")):
        if role not in found:
            raise VltkError(f"{path}: no token for the {what} of a text; looked for {', '.join(ROLES[role])}")
    return found


def digest_of(backend: Backend, roles: dict[str, int]) -> str:
    """sha256 of all that decides ids: equal for a `vocab.txt` and the `tokenizer.json` that does the same."""
    content = json.loads(backend.to_str())
    deciding = {key: content[key] for key in ("normalizer", "pre_tokenizer", "model")}
    said = json.dumps([deciding, roles], sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(said.encode()).hexdigest()


def word_marks(backend: Backend, tokens: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """`(V,)` bool twice: tokens that begin a word, tokens that end one.

    WordPiece: all without `##` begin one. CLIP's BPE: `</w>` ends one. Other BPE and SentencePiece: what stands
    between blanks is a word, as whole-word masking of RoBERTa has it.
    """
    model: dict[str, Any] = json.loads(backend.to_str())["model"]
    special = {token.content for token in backend.get_added_tokens_decoder().values() if token.special}
    inner, last = model.get("continuing_subword_prefix"), model.get("end_of_word_suffix")
    marked = any(token.startswith(MARKERS) for token in tokens)
    begins = np.ones(len(tokens), dtype=bool)
    ends = np.array([token in special for token in tokens])
    if inner:
        begins = np.array([not token.startswith(inner) for token in tokens])
    elif last:
        begins = ends.copy()
        ends = ends | np.array([token.endswith(last) for token in tokens])
    elif marked:
        begins = ends | np.array([token.startswith(MARKERS) for token in tokens])
    return begins, ends


def _cached(name: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    for file in NAMES:
        found = try_to_load_from_cache(name, file)
        if isinstance(found, str):
            return Path(found)
    return None


def _from_json(path: Path) -> Backend:
    try:
        return Backend.from_file(str(path))
    except Exception as error:  # tokenizers raises bare Exception
        raise VltkError(f"{path}: no tokenizer.json that the tokenizers library reads: {error}") from None


def _from_words(path: Path) -> Backend:
    try:
        tokens = path.read_text(encoding="utf-8").rstrip("\n").split("\n")
    except UnicodeDecodeError:
        raise VltkError(
            f"{path}: neither a WordPiece vocabulary (UTF-8, one token a line) nor tokenizer.json"
        ) from None
    absent = [token for token in SPECIAL if token not in tokens]
    if absent:
        raise VltkError(f"{path}: no WordPiece vocabulary, one token a line: {', '.join(absent)} not in it")
    options = path.with_name("tokenizer_config.json")
    if options.is_file() and not json.loads(options.read_text(encoding="utf-8")).get("do_lower_case", True):
        raise VltkError(f"{path}: a cased vocabulary ({options.name} says so): take the tokenizer.json of that model")
    backend: Backend = BertWordPieceTokenizer(str(path), lowercase=True)._tokenizer
    if backend.get_vocab_size() != len(tokens):
        known = backend.get_vocab_size()
        raise VltkError(f"{path}: {len(tokens)} lines, but {known} tokens: does one stand there twice?")
    return backend
