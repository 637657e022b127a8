"""Checkpoints: safetensors and JSON, written whole or not at all, each process its own part, never pickled.

`step-00001000/` holds `rank-00000.safetensors` and so on, a file a process, and `state.json` (step, facts, and size and
sha256 of each file). A file holds pieces: runs of numbers of tensors that are known by kind (weights, moments, steps,
replicas) and name, so that any number of processes can read what any other number wrote. Everything is written as
`step-00001000.part`, forced to disk and renamed: a folder without the suffix is complete unless the disk damaged it.
"""

from vltk.checkpoint.folder import Checkpoint, damage, files_of, newest_good, path_of, paths, steps
from vltk.checkpoint.pieces import Piece, shared, snapshot
from vltk.checkpoint.reading import Saved
from vltk.checkpoint.writing import begin, finish, give_up, has_shares, not_written, restore, set_aside, write_share

__all__ = [
    "Checkpoint",
    "Piece",
    "Saved",
    "begin",
    "damage",
    "files_of",
    "finish",
    "give_up",
    "has_shares",
    "newest_good",
    "not_written",
    "path_of",
    "paths",
    "restore",
    "set_aside",
    "shared",
    "snapshot",
    "steps",
    "write_share",
]
