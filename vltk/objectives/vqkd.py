"""Vector-quantised knowledge distillation: training of BEiT v2's visual tokenizer (arXiv 2208.06366 section 2.1).

From microsoft/unilm beit2 modeling_vqkd.py and norm_ema_quantizer.py: 1 - cosine between a small decoder's prediction
from the codes and the features of a frozen teacher, gradients straight through the choice of a code, a commitment
loss, and a table of codes that starts by k-means and follows the mean encoding of each code. There the table changes
within each forward pass and a code that nothing is nearest to is left alone; here it changes behind a step, of which it
has seen everything, and `revive` gives unused codes new work.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from vltk import dist
from vltk.errors import RecipeError
from vltk.models.codebooks._kmeans import kmeans, summed
from vltk.models.codebooks._usage import counted
from vltk.models.encoded import Encoded
from vltk.models.layers import Transformer, init_weights
from vltk.models.passes import Read
from vltk.objectives._contract import Batch, Losses

Share = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(gt=0)]


class VectorQuantizedDistillation(nn.Module):
    """Codes from which the patch features of `teacher` (patch tokens after its final norm) can be told; over images.

    decoder_depth: blocks of the decoder, which is as wide as the encoder. commitment: weight of the mean square between
    an encoding and its code. decay: of the table of codes, a step. iterations: of k-means, over the encodings of the
    first step, which itself has random codes. revive: a code that fewer encodings choose a step (a moving average by
    `decay`) takes the place of an encoding drawn from the step; 0 in BEiT v2.
    The teacher comes from `frozen`; it may take images of another size, but must cut them into as many patches.
    """

    hits: Tensor
    started: Tensor

    def __init__(
        self,
        model: Any,
        teacher: Any,
        *,
        decoder_depth: Count = 3,
        commitment: float = 1.0,
        decay: Share = 0.99,
        iterations: Count = 10,
        revive: float = 0.0,
        weight: float = 1.0,
    ) -> None:
        super().__init__()
        own, other = model.image, _image_encoder(teacher)
        if own.grid != other.grid:
            raise RecipeError(
                f"the teacher sees {_told(other)}, the tokenizer {_told(own)}: set model.image.image_size and "
                "model.image.patch so that there are as many patches"
            )
        self.views: dict[str, dict[str, Any]] = {"image": {"maker": "image"}}
        if own.image_size != other.image_size:
            self.views["image_for_teacher"] = {"maker": "image_for_teacher", "size": other.image_size}
        patches = own.grid[0] * own.grid[1]
        self.decoder = _Decoder(model.code_width, own.width, decoder_depth, patches, other.width)
        self.commitment, self.decay, self.iterations = commitment, decay, iterations
        self.revive, self.weight = revive, weight
        self.register_buffer("hits", torch.zeros(model.num_codes))  # encodings of each code a step, moving average
        self.register_buffer("started", torch.tensor(False))
        self._beside = (model, teacher)  # a tuple: no submodules

    def reads(self, views: set[str]) -> set[Read]:
        return set()

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        images = batch["image"].new_tensor(len(batch["image"]), dtype=torch.long)
        return {"distillation": images, "commitment": images}

    def forward(self, encoded: Encoded, step: int) -> Losses:
        model, batch = encoded.model, encoded.batch
        encodings = model.encode(batch["image"])  # (B, N, W)
        codes = model.nearest(encodings)  # (B, N)
        chosen = model.codebook[codes]  # (B, N, W)
        predicted = self.decoder(encodings + (chosen - encodings).detach())
        distance = 1 - F.cosine_similarity(predicted.float(), self._features(batch), dim=-1)  # (B, N)
        commitment = (chosen - encodings).square().mean(-1)
        sums = {
            "distillation": self.weight * distance.mean(1).sum(),
            "commitment": self.weight * self.commitment * commitment.mean(1).sum(),
        }
        kept = {"vqkd encodings": encodings.detach().flatten(0, 1), "vqkd codes": codes.flatten()}
        return Losses(sums, codes=counted(codes, model.num_codes), kept=kept)

    @torch.no_grad()
    def after_step(self, kept: Mapping[str, Sequence[Tensor]], step: int) -> dict[str, Tensor]:
        """The table follows what its step has encoded, on all ranks and in all micro-batches."""
        encodings, codes = (torch.cat(list(kept[name])) for name in ("vqkd encodings", "vqkd codes"))
        if self.started:
            self._follow(encodings, codes)
            self._revive(encodings, step)
        else:
            self._start(encodings)
        return {}

    def _start(self, encodings: Tensor) -> None:
        """K-means over the encodings of the step."""
        table = self._beside[0].codebook
        centres, counts = kmeans(dist.gather(encodings), table, self.iterations, unit=True)
        table.copy_(dist.from_main(centres))
        self.hits.copy_(dist.from_main(counts))
        self.started.fill_(True)

    def _follow(self, encodings: Tensor, codes: Tensor) -> None:
        """Each chosen code moves towards the mean direction of the encodings (n, W) of this rank and the others."""
        table = self._beside[0].codebook
        counts, sums = (dist.sum_over_ranks(part) for part in summed(encodings, codes, len(table)))
        moved = F.normalize(self.decay * table + (1 - self.decay) * F.normalize(sums, dim=1), dim=1)
        table.copy_(torch.where(counts[:, None] > 0, moved, table))
        self.hits.mul_(self.decay).add_(counts, alpha=1 - self.decay)

    def _revive(self, encodings: Tensor, step: int) -> None:
        """Codes that are hardly chosen any more become encodings of the step, drawn by its number alone."""
        if not self.revive:
            return
        whole = dist.gather(encodings)
        drawn = torch.randperm(len(whole), generator=torch.Generator().manual_seed(step)).to(whole.device)
        unused = (self.hits < self.revive).nonzero().flatten()[: len(whole)]
        self._beside[0].codebook[unused] = whole[drawn[: len(unused)]]
        self.hits[unused] = 1.0

    @torch.no_grad()
    def _features(self, batch: Batch) -> Tensor:
        """(B, N, D) fp32."""
        images = batch.get("image_for_teacher", batch["image"])
        tokens = self._beside[1].encode_images(images, [None], [None])[0]
        return tokens.normed[:, 1:].float()


class _Decoder(nn.Module):
    """Codes as vectors (B, N, W) -> features of the teacher (B, N, D); without BEiT v2's CLS token, which nobody reads.

    Heads are 64 wide where the width allows it, and layers four times as wide inside, as in every ViT of that paper.
    """

    def __init__(self, code_width: int, width: int, depth: int, patches: int, features: int) -> None:
        super().__init__()
        heads = next(count for count in range(max(1, width // 64), 0, -1) if width % count == 0)
        self.input = nn.Linear(code_width, width)
        self.positions = nn.Parameter(torch.zeros(patches, width))
        self.transformer = Transformer(width, depth, heads, 4 * width, eps=1e-6)
        self.output = nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, features))
        init_weights(self)
        nn.init.normal_(self.positions, std=0.02)

    def forward(self, codes: Tensor) -> Tensor:
        hidden = self.transformer(self.input(codes) + self.positions, None, [None])[0]
        return self.output(self.transformer.norm(hidden))


def _image_encoder(teacher: Any) -> Any:
    """Raises RecipeError where the teacher has none."""
    encoder = getattr(teacher, "image", None)
    if encoder is None or not hasattr(teacher, "encode_images"):
        raise RecipeError("the model that frozen.teacher names has no image encoder: take a run or stage with one")
    return encoder


def _told(encoder: Any) -> str:
    across, down = encoder.grid
    return f"{across} x {down} patches (image_size {encoder.image_size}, patch {encoder.patch})"
