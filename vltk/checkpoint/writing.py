"""How a checkpoint comes to be: the folder is begun, every process writes its file, and one of them finishes it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vltk.checkpoint.folder import FORMAT, STATE, mark, part_of, path_of, paths, step_of
from vltk.checkpoint.pieces import Piece
from vltk.checkpoint.tensor_file import write
from vltk.errors import VltkError
from vltk.whole import sync, whole


@contextmanager
def not_written(folder: Path, step: int) -> Iterator[None]:
    """Says in words that a checkpoint could not be written, and which one is still there."""
    try:
        yield
    except OSError as error:
        last = next(iter(paths(folder)), None)
        raise VltkError(
            f"checkpoint of step {step} not written to {folder}: {error}\n"
            + (f"  {last.name} is untouched: free space and start again to go on from it" if last else "  free space")
        ) from error


def begin(folder: Path, step: int) -> None:
    """Makes the folder that all processes write into; for the main one alone, before the others write.

    What a killed save left behind goes. Raises VltkError.
    """
    with not_written(folder, step):
        folder.mkdir(parents=True, exist_ok=True)
        restore(folder)
        for left in folder.glob("step-*.part"):
            shutil.rmtree(left)
        part_of(folder, step).mkdir()


def restore(folder: Path) -> None:
    """Gives checkpoints their names back that a killed save was about to replace by others of the same step."""
    for left in folder.glob("step-*.old.part"):
        final = left.with_name(left.name.removesuffix(".old.part"))
        if not final.exists():
            left.rename(final)


def write_share(folder: Path, step: int, pieces: Sequence[Piece], rank: int = 0) -> None:
    """One process's file, and beside it a note of its size and sha256 that says that it is whole. Raises VltkError."""
    name, part = _file(rank), part_of(folder, step)
    cut = {_key(piece): [piece.start, *piece.shape] for piece in pieces if not piece.is_whole}
    tensors = {_key(p): p.numbers.reshape(p.shape) if p.is_whole else p.numbers for p in pieces}
    with not_written(folder, step):
        written = write(part / name, tensors, {"pieces": json.dumps(cut)})
        sync(part / name)
        with whole(_note(part, rank)) as note:
            note.write_text(json.dumps(asdict(written)))


def has_shares(folder: Path, step: int, world: int) -> bool:
    """Whether every process has written its file."""
    return all(_note(part_of(folder, step), rank).exists() for rank in range(world))


def finish(
    folder: Path,
    step: int,
    facts: Mapping[str, Any],
    world: int = 1,
    keep: int = 1,
    keep_every: int | None = None,
    wanted: Collection[int] = (),
) -> Path:
    """Makes `folder/step-...` of the files of `world` processes; for the main one alone, once all are there.

    facts: plain data. Of this one and the older ones the newest `keep` stay, those of every `keep_every`-th step, and
    the `wanted`. Later ones do not count: they were found damaged, and the run went on from an older one.
    Raises VltkError where writing fails; older checkpoints are then as they were.
    """
    part = part_of(folder, step)
    with not_written(folder, step):
        notes = [_note(part, rank) for rank in range(world)]
        files = {_file(rank): json.loads(note.read_text()) for rank, note in enumerate(notes)}
        described = {"format": FORMAT, "step": step, "facts": facts, "files": files}
        text = json.dumps(described | {"sha256": mark(described)}, indent=1)
        (part / STATE).write_text(text, encoding="utf-8")
        sync(part / STATE)
        for note in notes:
            note.unlink()
        sync(part)
        final = _replace(part, path_of(folder, step))
        for old in [path for path in paths(folder) if step_of(path) <= step][keep:]:
            if step_of(old) not in wanted and not (keep_every and step_of(old) % keep_every == 0):
                shutil.rmtree(old)
    return final


def set_aside(folder: Path, step: int) -> None:
    """Takes a checkpoint that leads nowhere out of those to go on from; it stays as `step-....ruined`. Raises
    VltkError."""
    aside = folder / f"{path_of(folder, step).name}.ruined"
    with not_written(folder, step):
        shutil.rmtree(aside, ignore_errors=True)
        os.rename(path_of(folder, step), aside)
        sync(folder)


def give_up(folder: Path, step: int) -> None:
    """Removes what was written of a checkpoint that will not be finished."""
    shutil.rmtree(part_of(folder, step), ignore_errors=True)


def _replace(part: Path, final: Path) -> Path:
    """Renames the finished folder; one of the same step, from before a restart, makes room."""
    old = final.with_name(f"{final.name}.old.part")
    if final.exists():
        os.rename(final, old)
    os.rename(part, final)
    sync(final.parent)
    shutil.rmtree(old, ignore_errors=True)
    return final


def _file(rank: int) -> str:
    return f"rank-{rank:05d}.safetensors"


def _note(part: Path, rank: int) -> Path:
    return part / f"rank-{rank:05d}.json"


def _key(piece: Piece) -> str:
    return f"{piece.kind}/{piece.name}"
