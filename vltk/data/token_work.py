"""Where a data set of tokens is made: the locked working folder, going on after a stop, and the move into place."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from vltk import __version__
from vltk.data.hashes import file_sha256
from vltk.data.lock import locked
from vltk.data.publish import FORMAT, owned
from vltk.data.record import Rejected
from vltk.data.text import Tokenizer
from vltk.data.token_shards import COUNTS, dtype_for
from vltk.errors import VltkError
from vltk.whole import sync

NAME = ".tokens"
Entry = dict[str, Any]  # of a shard in the manifest


@dataclass
class Work:
    """The folder of what is not finished: `facts` say what is made, `entries` are the finished shards."""

    path: Path
    facts: dict[str, Any]
    entries: list[Entry]

    @property
    def rows(self) -> int:
        """Documents and unusable lines in the finished shards."""
        return sum(entry["rows"] for entry in self.entries)

    def add(self, entry: Entry) -> None:
        """A shard is finished: a later run need not make it again."""
        self.entries.append(entry)
        _write(self.path / "state.json", json.dumps({"facts": self.facts, "entries": self.entries}))

    def quarantine(self, row: Rejected) -> None:
        """Keeps an input line that cannot be used; of the shard that is being made."""
        (self.path / "quarantine").mkdir(exist_ok=True)
        said = {"line": row.key, "status": str(row.status), "detail": row.detail, "text": row.row["caption"]}
        with (self.path / "quarantine" / f"{len(self.entries):05d}.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(said, ensure_ascii=False) + "\n")

    def sweep(self) -> None:
        """Removes what belongs to no finished shard."""
        for path in self.path.glob("*/*"):
            if not path.name[:5].isdecimal() or int(path.name[:5]) >= len(self.entries):
                path.unlink()

    def publish(self, folder: Path, words: Tokenizer) -> dict[str, Any]:
        """Move the shards to `folder`; the manifest of a replaced data set goes first, the new one comes last.

        Raises VltkError where no shard has a sample.
        """
        self.sweep()
        own = words.copy_to(self.path)
        text = json.dumps(self._manifest(words, own), indent=1, ensure_ascii=False, sort_keys=True) + "\n"
        manifest: dict[str, Any] = json.loads(text)
        if not manifest["samples"]:
            lost = ", ".join(f"{count} {status}" for status, count in manifest["statuses"].items())
            self.entries.clear()  # nothing to go on from
            raise VltkError(f"no usable document: {lost or 'the input is empty'}")
        (folder / "manifest.json").unlink(missing_ok=True)
        for path in owned(folder):
            _remove(path)
        lines = [path.read_text(encoding="utf-8") for path in sorted(self.path.glob("quarantine/*"))]
        if lines:
            (folder / "quarantine").mkdir()
            _write(folder / "quarantine" / "rows.jsonl", "".join(lines))
        for name in ("tokens", "rows", own.name):
            sync(self.path / name)
            (self.path / name).rename(folder / name)
        _write(folder / "manifest.json", text)
        return manifest

    def _manifest(self, words: Tokenizer, own: Path) -> dict[str, Any]:
        statuses: Counter[str] = Counter()
        for entry in self.entries:
            statuses.update(entry["statuses"])
        totals = {key: sum(entry[key] for entry in self.entries) for key in (*COUNTS, "images", "texts", "rows")}
        return totals | {
            "format": FORMAT,
            "kind": "tokens",
            "shards": self.entries,
            "statuses": dict(sorted(statuses.items())),
            "source": self.facts["source"],
            "max_length": self.facts["source"]["max_length"],
            "dtype": dtype_for(words.size).str,
            "tokenizer": {"file": own.name, "digest": words.digest, "sha256": file_sha256(own), "size": words.size},
            "tools": {"vltk": __version__} | {name: version(name) for name in ("tokenizers", "numpy", "pyarrow")},
        }


@contextmanager
def working(folder: Path, facts: dict[str, Any]) -> Iterator[Work]:
    """The working folder of `folder`, locked; with the shards that a run of equal facts finished before.

    It is removed at the end, unless finished shards are left in it. Raises VltkError while another process has it.
    """
    created = [path for path in (folder, *folder.parents) if not path.exists()]
    path = folder / NAME
    with locked(path):
        work = Work(path, json.loads(json.dumps(facts)), [])
        work.entries = _finished(path, work.facts)
        work.sweep()
        try:
            yield work
        finally:
            if not work.entries or not (path / "tokens").exists():
                shutil.rmtree(path)
                for parent in created:
                    if not any(parent.iterdir()):
                        parent.rmdir()


def _finished(path: Path, facts: dict[str, Any]) -> list[Entry]:
    """What state.json says, where it is of an equal run and all files are there."""
    state = path / "state.json"
    said = json.loads(state.read_text(encoding="utf-8")) if state.exists() else {}
    entries: list[Entry] = said.get("entries", []) if said.get("facts") == facts else []
    whole = all((path / e["file"]).exists() and (path / e["file"]).stat().st_size == e["bytes"] for e in entries)
    return entries if whole else []


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _write(path: Path, text: str) -> None:
    """The file, whole or not at all."""
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    sync(part)
    part.replace(path)
    sync(path.parent)
