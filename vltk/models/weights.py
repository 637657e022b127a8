"""Weights under other names: a map between our tensors and another program's, and the safetensors files of a folder.

A map is a list of `Link`s, read in both directions. Nothing here ever unpickles.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from vltk.errors import VltkError

FILE, INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLES = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt")

Weights = dict[str, Tensor]


@dataclass(frozen=True)
class Link:
    """One tensor of ours and what it is called elsewhere.

    theirs: several names where ours is made of them, one below the other (queries, keys and values);
    shape: theirs, where the same numbers lie in another shape (a convolution's kernel, leading ones).
    """

    ours: str
    theirs: tuple[str, ...]
    shape: tuple[int, ...] | None = None


def both(ours: str, *theirs: str) -> list[Link]:
    """Weight and bias of a layer."""
    return [Link(f"{ours}.{kind}", tuple(f"{name}.{kind}" for name in theirs)) for kind in ("weight", "bias")]


def blocks(ours: str, theirs: str, depth: int, names: Mapping[str, tuple[str, ...]]) -> list[Link]:
    """The layers of `depth` blocks; `names`: their names of each layer of a block of ours."""
    return [
        link
        for i in range(depth)
        for layer, others in names.items()
        for link in both(f"{ours}.{i}.{layer}", *(f"{theirs}.{i}.{other}" for other in others))
    ]


def to_theirs(links: Iterable[Link], ours: Mapping[str, Tensor]) -> Weights:
    """Our tensors under their names and in their shapes; works on meta tensors too."""
    found: Weights = {}
    for link in links:
        tensor = ours[link.ours]
        if link.shape is not None:
            tensor = tensor.reshape(link.shape)
        found |= zip(link.theirs, tensor.chunk(len(link.theirs)) if tensor.dim() else (tensor,), strict=True)
    return found


def to_ours(links: Iterable[Link], theirs: Mapping[str, Tensor], like: Mapping[str, Tensor]) -> Weights:
    """The reverse, in fp32 and in the shapes of `like`; every name and shape must have been checked."""
    found: Weights = {}
    for link in links:
        parts = [theirs[name] for name in link.theirs]
        tensor = torch.cat(parts) if len(parts) > 1 else parts[0]
        found[link.ours] = tensor.reshape(like[link.ours].shape).float().contiguous()
    return found


def read_folder(folder: Path) -> Weights:
    """All tensors of a folder's model.safetensors, or of the shards that its index lists.

    Raises VltkError where there are none (pickles are named, not read) or where a file is damaged.
    """
    return {name: tensor for path in files_of(folder) for name, tensor in _read(path).items()}


def read_shapes(folder: Path) -> Weights:
    """The same names and shapes from the heads of the files, as tensors without memory. Raises as `read_folder`."""
    return {name: tensor for path in files_of(folder) for name, tensor in _read_head(path).items()}


def files_of(folder: Path) -> list[Path]:
    """The safetensors files that hold a folder's weights. Raises VltkError where there are none."""
    if (folder / FILE).is_file():
        return [folder / FILE]
    if (folder / INDEX).is_file():
        shards = json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"]
        return [folder / shard for shard in dict.fromkeys(shards.values())]
    pickles = sorted(path.name for pattern in PICKLES for path in folder.glob(pattern))
    if pickles:
        raise VltkError(
            f"{folder} holds its weights as {', '.join(pickles)}: a pickle can run any code and is never read. Where "
            "you trust its source, load it there with from_pretrained and write safetensors with save_pretrained"
        )
    have = ", ".join(sorted(path.name for path in folder.iterdir())) or "nothing"
    raise VltkError(f"{folder} has neither {FILE} nor {INDEX}; have: {have}")


def write_file(weights: Mapping[str, Tensor], path: Path) -> None:
    """One safetensors file, marked as from_pretrained wants it. Raises OSError where it cannot be written."""
    try:
        save_file({name: t.detach().cpu().contiguous() for name, t in weights.items()}, path, {"format": "pt"})
    except SafetensorError as error:
        raise OSError(f"{path}: {error}") from error


def mismatches(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> list[str]:
    """One line a tensor that is missing, unknown or of another shape."""
    lines = [f"{name}: missing, the model wants {tuple(t.shape)}" for name, t in wanted.items() if name not in given]
    lines += [f"{name}: not in the model, given {tuple(t.shape)}" for name, t in given.items() if name not in wanted]
    return lines + [
        f"{name}: shape {tuple(given[name].shape)} given, the model wants {tuple(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in given and given[name].shape != tensor.shape
    ]


def _read(path: Path) -> Weights:
    with _told(path):
        return load_file(path)


def _read_head(path: Path) -> Weights:
    with _told(path), safe_open(path, "pt") as file:
        return {name: torch.empty(file.get_slice(name).get_shape(), device="meta") for name in file.keys()}  # noqa: SIM118


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """What is wrong with a file that cannot be read."""
    try:
        yield
    except FileNotFoundError:
        raise VltkError(f"{path}: listed in {INDEX}, but not there") from None
    except SafetensorError as error:
        raise VltkError(f"{path}: damaged or cut short ({error}); fetch it again") from error
