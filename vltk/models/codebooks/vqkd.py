"""BEiT v2's visual tokenizer (arXiv 2208.06366 section 2.1): a patch becomes the code nearest by cosine.

Details from microsoft/unilm beit2 modeling_vqkd.py and norm_ema_quantizer.py: patch tokens after the final norm, a
linear layer, tanh, a linear layer to `code_width`; encodings and codes are of length 1. Its codes stand for features of
a teacher and not for pixels: there is no way back to an image. The objective `vqkd` trains it.
"""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vltk.errors import VltkError
from vltk.models.codebooks._kmeans import nearest
from vltk.models.layers import init_weights
from vltk.parts import Choice, From


class VqKd(nn.Module):
    """Images (B, 3, S, S) -> one code a patch (B, N), by an image encoder and a table (K, code_width).

    init_std: of the layers between encoder and table. The table is a buffer, not trained by gradient.
    """

    codebook: Tensor
    reconstructs = False
    against_collapse = "train it again, with revive of the objective vqkd (as 0.1), another teacher, or a lower rate"

    def __init__(
        self,
        *,
        image: Annotated[Choice, From("models/encoders")],
        codes: int = 8192,
        code_width: int = 32,
        init_std: float = 0.02,
    ) -> None:
        super().__init__()
        self.image = image.build()
        width = self.image.width
        self.projection = nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, code_width))
        init_weights(self.projection, init_std)
        self.num_codes, self.code_width, self.stride = codes, code_width, self.image.patch
        self.register_buffer("codebook", F.normalize(torch.randn(codes, code_width), dim=1))

    def encode(self, images: Tensor) -> Tensor:
        """(B, 3, S, S), uint8 or normalised as the encoder wants them -> (B, N, code_width) fp32, of length 1."""
        tokens = self.image.encode(images, [None], [None])[0].normed[:, 1:]
        with torch.autocast(images.device.type, enabled=False):
            return F.normalize(self.projection(tokens.float()), dim=-1)

    @torch.no_grad()
    def nearest(self, encodings: Tensor) -> Tensor:
        """(..., code_width) of length 1 -> (...) int64: the code of largest cosine, of equal ones the first."""
        with torch.autocast(encodings.device.type, enabled=False):
            return nearest(encodings.flatten(0, -2), self.codebook).view(encodings.shape[:-1])

    @torch.no_grad()
    def codes(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, N) int64, row by row."""
        return self.nearest(self.encode(images))

    def decode_codes(self, codes: Tensor) -> Tensor:
        """Raises VltkError."""
        raise VltkError("a vqkd's codes stand for features of its teacher, not for pixels: there is no way back")

    def reconstruct(self, images: Tensor) -> Tensor:
        """Raises VltkError."""
        return self.decode_codes(images)
