"""Codes that a frozen tokenizer makes once of K fixed crops an image: making them, and reading them instead of it.

Objectives ask for the images that the tokenizer sees; where all data sets of a stream have its codes on disk, the
stream brings those instead, and the tokenizer is not called. The crops are the same, so the codes are.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import accumulate
from typing import Any

import numpy as np
import torch

from vltk import dist
from vltk.data.bar import Bar
from vltk.data.code_shards import CodeShards
from vltk.data.codes import Rule, StoredCodes, find, stored
from vltk.data.dataset import Dataset, open_dataset
from vltk.data.draft import fixed_crop
from vltk.data.image import BadSample, take_lanczos
from vltk.data.pixels import PixelCache
from vltk.data.remote import is_remote
from vltk.errors import VltkError
from vltk.log import say
from vltk.objectives._contract import Views
from vltk.recipe import ImageOptions, Stage
from vltk.run import Source
from vltk.train.together import decided, on_all, on_main

VIEW = "image_for_codes"
IMAGES = 64  # that the tokenizer sees at once
NO_CROPS = "codes are kept for fixed crops: say how many a sample has, as image.crops=8"


@dataclass(frozen=True)
class Coder:
    """The frozen tokenizer of a stage, its run, how the images are cut that it sees, and what to type for its codes."""

    codebook: Any
    run: str
    image: ImageOptions
    threads: int
    command: str
    images: int = IMAGES

    @classmethod
    def of(cls, stage: Stage, codebook: Any, run: Source, command: str) -> Coder:
        """`run`: where the stage has its tokenizer from."""
        name = run.name if run.step is None else f"{run.name}@{run.step}"
        return cls(codebook, name, stage.image, stage.loader.threads, command)

    def rule(self, size: int) -> Rule:
        """What codes of images of `size` pixels depend on. Raises VltkError without `image.crops`."""
        image = self.image
        if image.crops is None:
            raise VltkError(f"image.crops is not set: {NO_CROPS}")
        return Rule(self.digest, int(self.codebook.num_codes), size, image.crop, image.ratio, image.flip, image.crops)

    @cached_property
    def digest(self) -> str:
        """Of the tokenizer's weights, and of what is not in them."""
        book = self.codebook
        sha = hashlib.sha256(repr((type(book).__name__, book.num_codes, book.stride)).encode())
        for name, tensor in sorted(book.state_dict().items()):
            sha.update(repr((name, tuple(tensor.shape), str(tensor.dtype))).encode())
            sha.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
        return sha.hexdigest()

    @torch.no_grad()
    def codes(self, images: np.ndarray) -> np.ndarray:
        """(B, 3, S, S) uint8 -> (B, N), in fp32 as in training."""
        device = dist.device()
        with torch.autocast(device.type, enabled=False):
            found: np.ndarray = self.codebook.to(device).codes(torch.from_numpy(images).to(device)).cpu().numpy()
        return found


def command(recipe: str, stage: str, overrides: Iterable[str]) -> str:
    """What to type for the codes of a stage."""
    return shlex.join(["vltk", "data", "codes", recipe, stage, *overrides])


def from_disk(stage: Stage, views: Mapping[str, Views], coder: Coder) -> dict[str, Views]:
    """The views of each stream, with codes from the disk in place of images for the tokenizer where all data sets of
    the stream have them, as `loader.codes` says. Says so, or why those on disk do not fit; the same on every rank."""
    if stage.loader.codes == "make":
        make(coder, sizes(stage, views))
    found = {name: dict(own) for name, own in views.items()}
    asked = [name for name, own in views.items() if VIEW in own and stage.loader.codes != "never"]
    for name in asked:
        size = int(views[name][VIEW]["size"])
        folders, reasons = _folders(list(stage.streams[name].data), size, coder)
        if _everywhere(not reasons):
            del found[name][VIEW]
            found[name]["codes"] = {"maker": "codes", "folders": folders}
            made = f"by {coder.run}, {coder.rule(size).told} a sample"
            say(f"stream {name}: codes are read from the disk ({made}); the tokenizer is not called")
        elif not reasons or any(reasons.values()):
            told = "; ".join(f"those of {data} are {reason or 'absent'}" for data, reason in reasons.items())
            told = told or "not every process finds those on the disk"
            command = coder.command + ("" if coder.image.crops else " image.crops=K")
            say(f"stream {name}: codes are computed on the fly: {told}; to have them on the disk: {command}")
    return found


def sizes(stage: Stage, views: Mapping[str, Views]) -> dict[str, int]:
    """By data set, the pixels of the images that the tokenizer sees; without the data sets that it does not see."""
    asked = {name: int(own[VIEW]["size"]) for name, own in views.items() if VIEW in own}
    return {data: size for name, size in asked.items() for data in stage.streams[name].data}


def _folders(names: list[str], size: int, coder: Coder) -> tuple[dict[str, str], dict[str, str]]:
    """By data set, the folder of the codes that serve, and what is wrong with them: empty where it has none at all."""
    folders, reasons = dict[str, str](), dict[str, str]()
    for name in names:
        dataset = open_dataset(name)
        if coder.image.crops is None:
            reasons[name] = "of fixed crops, and image.crops is not set" if stored(dataset.folder)[0] else ""
            continue
        codes, reason = find(dataset, coder.rule(size))
        if codes is None:
            reasons[name] = reason
        else:
            folders[name] = codes.folder.name
    return folders, reasons


def _everywhere(here: bool) -> bool:
    """Whether it is so on all ranks."""
    return int(dist.sum_over_ranks(torch.tensor(int(here), device=dist.device()))) == dist.world()


def make(coder: Coder, wanted: Mapping[str, int]) -> None:
    """The codes of data sets, of images of so many pixels, by all processes together.

    What is there and whole stays (its files are read), what is damaged or was begun is completed.
    Raises VltkError for data sets that codes cannot be kept of, Missing for absent ones.
    """
    for name, size in wanted.items():
        dataset = open_dataset(name, skips=False)
        _check(dataset)
        rule = coder.rule(size)
        codes, _ = find(dataset, rule)
        if codes is not None and decided(partial(_whole, codes)):
            say(f"{name}: its codes are there ({codes.folder})")
        else:
            _make(coder, CodeShards(dataset, rule if codes is None else codes.rule))


def _whole(codes: StoredCodes) -> bool:
    return not any(codes.problems())


def _check(dataset: Dataset) -> None:
    if is_remote(dataset.name):
        raise VltkError(
            f"codes are kept beside a data set, and {dataset.name} is a URL: copy the data set to the data folder, or "
            f"index its tars from here: vltk data shard '{dataset.name}/shards/{{00000..99999}}.tar' NAME"
        )
    if not dataset.has_images:
        raise VltkError(f"the data set {dataset.name!r} has samples without image, which have no codes: leave it out")


def _make(coder: Coder, work: CodeShards) -> None:
    grid = work.rule.size // coder.codebook.stride
    facts = {"run": coder.run, "command": coder.command, "codes": grid**2}
    done: list[StoredCodes] = []
    with ExitStack() as held:
        on_main(partial(held.enter_context, work.locked()))
        on_main(work.begin)
        on_all(partial(_fill, coder, work))
        on_main(lambda: done.append(work.finish(facts)))
    for codes in done:
        counts = f"{codes.facts['samples']:,} samples, {codes.rule.told}"
        say(f"{codes.folder}: codes of {counts}; {codes.facts['bad']:,} images could not be decoded")


def _fill(coder: Coder, work: CodeShards) -> None:
    """This process's share of the shards."""
    starts = [0, *accumulate(shard["samples"] for shard in work.shards)]
    mine = [shard for shard in range(dist.rank(), len(work.shards), dist.world()) if work.lacks(shard)]
    done = 0
    with (
        Bar(f"codes of {work.dataset.name}", sum(work.shards[shard]["samples"] for shard in mine)) as bar,
        ThreadPoolExecutor(coder.threads, "vltk-codes") as threads,
    ):

        def tell(count: int) -> None:
            nonlocal done
            done += count
            if bar.due():
                bar.show(done, f"{done:,} samples, {bar.rate(done)}")

        for number, shard in enumerate(mine):
            work.dataset.store.fetch_ahead(mine[number : number + 2])
            rows = range(starts[shard], starts[shard + 1])
            work.write(shard, *codes_of(coder, work.dataset, rows, work.rule, threads, tell))


def codes_of(
    coder: Coder,
    dataset: Dataset,
    rows: range,
    rule: Rule,
    threads: Executor,
    tell: Callable[[int], object] = lambda count: None,
) -> tuple[np.ndarray, list[int]]:
    """Of these samples `(samples, K, N)`, and which of them, from 0, have no image that decodes: those are 0.

    tell: hears how many samples are done since it was told last.
    """
    patches = (rule.size // coder.codebook.stride) ** 2
    made, bad = np.zeros((len(rows), rule.crops, patches), rule.dtype), list[int]()
    for part, images, failed in _batches(coder, dataset, rows, rule, threads):
        codes = coder.codes(images).reshape(-1, rule.crops, patches)[: len(part)]
        made[part.start - rows.start : part.stop - rows.start] = codes
        bad += [row - rows.start for row in failed]
        tell(len(part))
    made[bad] = 0
    return made, bad


def _batches(
    coder: Coder, dataset: Dataset, rows: range, rule: Rule, threads: Executor
) -> Iterator[tuple[range, np.ndarray, list[int]]]:
    """Samples, their crops `(B, 3, S, S)` and which are bad; B is the same throughout, and the next one is in the
    making while a batch is looked at."""
    count = max(1, coder.images // rule.crops)
    begun: list[tuple[range, np.ndarray, list[Future[bool]]]] = []
    for start in range(0, len(rows), count):
        part = rows[start : start + count]
        images = np.zeros((count, rule.crops, 3, rule.size, rule.size), np.uint8)
        works = [threads.submit(_cut, coder.image, dataset, row, out) for row, out in zip(part, images, strict=False)]
        begun.append((part, images, works))
        if len(begun) == 2:
            yield _finished(*begun.pop(0))
    yield from (_finished(*one) for one in begun)


def _finished(part: range, images: np.ndarray, works: list[Future[bool]]) -> tuple[range, np.ndarray, list[int]]:
    bad = [row for row, work in zip(part, works, strict=True) if not work.result()]
    return part, images.reshape(-1, *images.shape[2:]), bad


def _cut(image: ImageOptions, dataset: Dataset, row: int, out: np.ndarray) -> bool:
    """The K crops of a sample into `(K, 3, S, S)`, as the view `image_for_codes` makes them; False for a bad image."""
    sample = dataset.read(row)
    try:
        pixels = PixelCache(0).decoded(dataset, row, sample)
    except BadSample:
        return False
    height, width = pixels.shape[:2]
    for number, crop in enumerate(out):
        box = fixed_crop(height, width, image, sample.key, number)
        crop[...] = take_lanczos(pixels, box, crop.shape[-1]).transpose(2, 0, 1)
    return True
