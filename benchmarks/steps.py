"""FLAVA at two sizes with the same weights here and in transformers, batches for both, and a training step of each."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from transformers import FlavaConfig, FlavaForPreTraining

from benchmarks.joint import STREAMS, Drawn
from benchmarks.kept import kept
from vltk.data.batch import padded_length
from vltk.errors import VltkError
from vltk.models.hf import flava
from vltk.models.weights import to_ours
from vltk.parts import Choice, choose
from vltk.recipe import Optimizer
from vltk.train.accumulate import run_step
from vltk.train.engines.torch import Torch
from vltk.train.optim import Group, groups
from vltk.train.pretraining import Pretraining
from vltk.train.setup import recompute

LR = 1e-5
BUCKET = 50_000_000  # numbers; DeepSpeed sets 2 GB aside by default
PADDED, LENGTH, SPREAD = 77, 20, 6  # tokens: what transformers pads to; texts have N(20, 6) of them
HIDDEN = 0.15  # of the words
UNMATCHED = 8  # one pair in so many
DRAWN = 8  # batches, over and over: texts have other lengths in each, so that ours meets other shapes
NAMES = {"global_contrastive": "itc"}  # theirs, ours, where they differ
Batch = dict[str, Tensor]


@dataclass(frozen=True)
class Size:
    """Of both models; hidden: patches that are masked; batch: what two CPU cores do in some seconds."""

    width: int
    heads: int
    image_depth: int
    text_depth: int
    fusion_depth: int
    image: int
    hidden: int
    batch: int
    patch: int = 16
    vocab: int = 30522
    codes: int = 8192

    @property
    def mlp(self) -> int:
        return 4 * self.width

    @property
    def patches(self) -> int:
        return (self.image // self.patch) ** 2


SIZES = {
    "base": Size(768, 12, 12, 12, 6, image=224, hidden=75, batch=8),  # FLAVA's (arXiv 2112.04482): ViT-B/16
    "tiny": Size(192, 3, 4, 4, 2, image=112, hidden=19, batch=32),
}


def enough(stream: str, count: int) -> int:
    """So many samples; raises VltkError where one loss of the stream would have none of them to learn from."""
    if stream == "pairs" and count < 2:
        raise VltkError(
            "a batch of one pair has none that matches beside the one that does not: type --batch 2 or more"
        )
    return count


def batches(size: Size, stream: str, count: int, length: int | None = None, number: int = 0) -> tuple[Batch, Batch]:
    """The same random samples as our loader makes a batch of them, and as transformers wants them: padded to `PADDED`,
    codes as labels. `stream`: image, text or pairs; length: of every text, instead of N(20, 6); number: of the batch.
    Raises VltkError where `count` is too few."""
    enough(stream, count)
    source = torch.Generator().manual_seed(number)
    ours: Batch = {}
    if stream != "text":
        ours["image"] = torch.randn(count, 3, size.image, size.image, generator=source)
        ours["image_masked_at"] = torch.rand(count, size.patches, generator=source).argsort(1) < size.hidden
        ours["codes"] = torch.randint(0, size.codes, (count, size.patches), generator=source)
    if stream != "image":
        ours |= _texts(size, count, source, length)
    if stream == "pairs":
        matched = torch.ones(count, dtype=torch.bool)
        matched[torch.randperm(count, generator=source)[: max(1, count // UNMATCHED)]] = False
        ours |= {"matched": matched, "positive": matched}
    return ours, _theirs(ours)


def _texts(size: Size, count: int, source: torch.Generator, length: int | None) -> Batch:
    """Padded as our loader does; the first and last token are never hidden, at least one of the others is."""
    lengths = (torch.randn(count, generator=source) * SPREAD + LENGTH).round().long().clamp(6, PADDED)
    if length is not None:
        lengths.fill_(length)
    longest = int(lengths.max())
    place = torch.arange(longest)
    ids = torch.randint(1000, size.vocab, (count, len(place)), generator=source)
    ids = ids.masked_fill(place >= lengths[:, None], 0)
    inside = (place > 0) & (place < lengths[:, None] - 1)
    order = torch.rand(ids.shape, generator=source).masked_fill(~inside, 2.0).argsort(1).argsort(1)
    hidden = order < (HIDDEN * lengths).round().clamp(min=1)[:, None]
    made = {"text": ids, "text_masked": ids.masked_fill(hidden, 103), "text_masked_at": hidden}
    more = padded_length(lengths.tolist(), PADDED) - longest
    return {name: pad(rows, (0, more)) for name, rows in made.items()} | {"text_length": lengths}


def _theirs(ours: Batch) -> Batch:
    given: Batch = {}
    if "image" in ours:
        given |= {"pixel_values": ours["image"], "bool_masked_pos": ours["image_masked_at"]}
        given["mim_labels"] = ours["codes"]
    if "text" in ours:
        more = max(0, PADDED - ours["text"].shape[1])
        ids, masked, hidden = (pad(ours[name], (0, more)) for name in ("text", "text_masked", "text_masked_at"))
        given |= {"input_ids": ids, "input_ids_masked": masked, "mlm_labels": ids.masked_fill(~hidden, -100)}
        given["attention_mask"] = (torch.arange(ids.shape[1]) < ours["text_length"][:, None]).long()
    if "matched" in ours:
        given["itm_labels"] = ours["matched"].long()
    return given


class Theirs:
    """transformers' FlavaForPreTraining on batches of `count` samples, under bf16 autocast with fused AdamW.

    codebook: its dVAE makes the codes in each step, which are given otherwise.
    """

    def __init__(self, size: Size, stream: str, count: int, codebook: bool = False) -> None:
        logging.getLogger("transformers").setLevel(logging.ERROR)
        self.model: Any = their_model(size, codebook).train()
        self._steps, self._batches = 0, [batches(size, stream, count, number=number)[1] for number in range(DRAWN)]
        for batch in self._batches if codebook else ():
            del batch["mim_labels"]
            batch["codebook_pixel_values"] = torch.rand(count, 3, *[8 * size.image // size.patch] * 2)
        trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self._optimizer = torch.optim.AdamW(trained, lr=LR, fused=True)

    def losses(self, low: bool, number: int = 0) -> dict[str, float]:
        """Of a batch, by our names, without a step; low: in bf16."""
        with torch.no_grad():
            found = self._forward(low, number).loss_info
        return {NAMES.get(name, name): float(loss) for name, loss in found.items() if loss is not None}

    def kept(self) -> float:
        """MiB of what forward keeps for backward on the first batch, weights left out."""
        return kept(lambda: self._forward(True, 0).loss, self.model) / 2**20

    def step(self) -> None:
        """Forward, backward, optimizer, on the next batch."""
        self._optimizer.zero_grad(set_to_none=True)
        self._forward(True, self._steps % DRAWN).loss.backward()
        self._optimizer.step()
        self._steps += 1

    def _forward(self, low: bool, number: int) -> Any:
        batch = dict(self._batches[number])
        if "mim_labels" in batch:
            batch["mim_labels"] = batch["mim_labels"].clone()  # it writes into them
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            return self.model(**batch)


class Ours:
    """The same weights and samples, trained by the torch engine as in any recipe; again: with activations that backward
    computes a second time; length: of every text; zero: by DeepSpeed's engine at that stage."""

    def __init__(
        self,
        size: Size,
        stream: str,
        count: int,
        again: bool = False,
        length: int | None = None,
        zero: int | None = None,
    ) -> None:
        theirs = their_model(size)
        self.model: Any = _choice(theirs).build()
        self.model.load_state_dict(as_ours(theirs, self.model))
        codes = Drawn()
        parts = {name: choose("objectives", name).build(model=self.model, codes=codes) for name in STREAMS[stream]}
        self._stream, self._steps = stream, 0
        self._batches = [batches(size, stream, count, length, number)[0] for number in range(DRAWN)]
        self._pretraining = Pretraining(self.model, {stream: parts}, codes.codes).train()
        if again:
            recompute(self._pretraining)
        reached = {stream: self._pretraining.reached(stream, batches(size, stream, 2)[0])}
        options = Optimizer(lr=LR, weight_decay=0.01, clip=None)
        self._engine = _engine(zero, self._pretraining, groups(self._pretraining, reached), options)

    def losses(self, low: bool, number: int = 0) -> dict[str, float]:
        """Of a batch, by name, without a step; low: in bf16."""
        batch = self._batches[number]
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=low):
            found = self._pretraining(self._stream, batch, 0)[0].sums
        counts = self._pretraining.counts(self._stream, batch)
        return {name: float(total / counts[name]) for name, total in found.items()}

    def kept(self) -> float:
        """MiB of what forward keeps for backward on the first batch, weights left out."""
        return kept(lambda: self._engine(self._stream, self._batches[0], 0)[0], self._pretraining) / 2**20

    def step(self) -> None:
        """Forward, backward, optimizer, on the next batch."""
        batch = self._batches[self._steps % DRAWN]
        run_step(self._engine, self._pretraining, self._stream, [batch], self._steps, seed=0)
        self._engine.step(LR, self._stream, self._steps)
        self._steps += 1


def _engine(zero: int | None, pretraining: Pretraining, found: list[Group], options: Optimizer) -> Any:
    if zero is None:
        return Torch(pretraining, found, options, "bf16")
    from vltk.train.engines.deepspeed import DeepSpeed

    buckets = {"reduce_bucket_size": BUCKET} if zero else {}
    return DeepSpeed(pretraining, found, options, "bf16", {"zero_optimization": {"stage": zero} | buckets})


def as_ours(theirs: nn.Module, ours: nn.Module) -> dict[str, Tensor]:
    """The weights of theirs by the names of ours."""
    return to_ours(flava.links(_choice(theirs)), flava.ours(theirs.state_dict()), ours.state_dict())


def _choice(theirs: Any) -> Choice:
    return choose("models/families", "flava", **flava.options(theirs.config))


def their_model(size: Size, codebook: bool = False) -> Any:
    """The same random weights each time."""
    torch.manual_seed(0)
    return FlavaForPreTraining(_config(size, codebook))


def _config(size: Size, codebook: bool) -> FlavaConfig:
    common = {"hidden_size": size.width, "num_attention_heads": size.heads, "intermediate_size": size.mlp}
    return FlavaConfig(
        image_config=common
        | {"num_hidden_layers": size.image_depth, "image_size": size.image, "patch_size": size.patch}
        | {"vocab_size": size.codes},
        text_config=common | {"num_hidden_layers": size.text_depth, "vocab_size": size.vocab},
        multimodal_config=common | {"num_hidden_layers": size.fusion_depth},
        hidden_size=size.width,
        projection_dim=size.width,
        init_codebook=codebook,
    )
