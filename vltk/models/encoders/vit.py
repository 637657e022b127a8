"""Vision transformer (arXiv 2010.11929), with BEiT's mask token and the few switches that CLIP's needs.

FLAVA's (arXiv 2112.04482, section 3.1; transformers modeling_flava.py): patches -> mask token -> CLS -> positions.
CLIP's (transformers modeling_clip.py): no patch bias, a norm after the embeddings, quick GELU, eps 1e-5.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from vltk.errors import RecipeError, VltkError
from vltk.models.layers import Rows, Transformer, init_weights
from vltk.models.positions import resized
from vltk.models.tokens import Tokens

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)  # openai/CLIP clip.py, used by FLAVA too
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


class VisionTransformer(nn.Module):
    """Images (B, 3, H, W) -> CLS and patch tokens (B, 1 + N, D), N = (H / patch) (W / patch).

    Sides are multiples of the patch; where they are not image_size, the positions are interpolated. uint8 images are
    normalised here with `mean` and `std`; float images are taken as normalised already.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        *,
        width: int = 768,
        depth: int = 12,
        heads: int = 12,
        mlp: int = 3072,
        image_size: int = 224,
        patch: int = 16,
        eps: float = 1e-12,
        activation: Literal["gelu", "quick_gelu"] = "gelu",
        dropout: float = 0.0,
        drop_path: float = 0.0,
        init_std: float = 0.02,
        patch_bias: bool = True,
        mask_token: bool = True,
        embedding_norm: bool = False,
        mean: tuple[float, float, float] = CLIP_MEAN,
        std: tuple[float, float, float] = CLIP_STD,
    ) -> None:
        super().__init__()
        if image_size % patch:
            raise RecipeError(f"image_size: {image_size} given, which is no multiple of patch {patch}")
        self.width, self.patch, self.image_size = width, patch, image_size
        self.grid = (image_size // patch, image_size // patch)
        self.patch_projection = nn.Linear(3 * patch * patch, width, bias=patch_bias)
        self.cls = nn.Parameter(torch.zeros(width))
        self.mask_token = nn.Parameter(torch.zeros(width)) if mask_token else None
        self.positions = nn.Parameter(torch.zeros(1 + self.grid[0] * self.grid[1], width))
        self.embedding_norm = nn.LayerNorm(width, eps=eps) if embedding_norm else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.transformer = Transformer(width, depth, heads, mlp, eps, activation, dropout, drop_path)
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(std)[:, None, None], persistent=False)
        init_weights(self, init_std)
        for table in (self.cls, self.mask_token, self.positions):
            if table is not None:  # ours: FLAVA's zeros meet norms with eps 1e-12, whose gradient explodes
                nn.init.normal_(table, std=0.02)

    def embed(self, images: Tensor, masks: list[Tensor | None]) -> Tensor:
        """images (B, 3, H, W), one mask (B, N) or None a pass -> (P * B, 1 + N, D); the passes share the projection."""
        patches = self.patch_projection(self._patchify(self._normalise(images)))  # (B, N, D)
        passes = [patches if mask is None else self._hide(patches, mask) for mask in masks]
        x = torch.cat(passes) if len(passes) > 1 else passes[0]
        grid = (images.shape[-2] // self.patch, images.shape[-1] // self.patch)
        x = torch.cat([self.cls.to(x.dtype).expand(len(x), 1, -1), x], dim=1) + resized(self.positions, self.grid, grid)
        return self.dropout(self.embedding_norm(x))

    def encode(self, images: Tensor, masks: list[Tensor | None], reads: list[Rows | None]) -> list[Tokens]:
        """One pass a mask, all in one batch; `reads` says which of the 1 + N rows of each pass are read."""
        hidden = self.transformer(self.embed(images, masks), None, reads)
        return [Tokens(h, self.transformer.norm, rows) for h, rows in zip(hidden, reads, strict=True)]

    def _normalise(self, images: Tensor) -> Tensor:
        return images if images.is_floating_point() else (images / 255 - self.mean) / self.std

    def _patchify(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, N, 3 * patch * patch), each patch channel by channel, as a convolution sees it."""
        size = self.patch
        if images.shape[-2] % size or images.shape[-1] % size:
            raise VltkError(f"images of {tuple(images.shape[-2:])} given, which are no multiples of the patch {size}")
        cut = images.unflatten(3, (-1, size)).unflatten(2, (-1, size))  # (B, 3, h, p, w, p)
        return cut.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)

    def _hide(self, patches: Tensor, mask: Tensor) -> Tensor:
        if self.mask_token is None:
            raise VltkError("masked patches need an image encoder with mask_token: true")
        return torch.where(mask[..., None], self.mask_token.to(patches.dtype), patches)
