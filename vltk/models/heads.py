"""Prediction heads. They belong to the model, as export, filtering and re-ranking need them (not to objectives)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from vltk.models.layers import init_weights

MAX_LOGIT_SCALE = math.log(100)  # CLIP (arXiv 2103.00020 section 2.5), FLAVA


class PredictionHead(nn.Module):
    """Linear, GELU, norm, linear to the vocabulary: words or codes at masked positions (BERT's; FLAVA's four)."""

    def __init__(self, width: int, vocab: int, eps: float, init_std: float = 0.02) -> None:
        super().__init__()
        self.dense = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, eps=eps)
        self.decoder = nn.Linear(width, vocab)
        init_weights(self, init_std)

    def forward(self, tokens: Tensor) -> Tensor:
        """(K, D) -> (K, V)."""
        return self.decoder(self.norm(nn.functional.gelu(self.dense(tokens))))


class TiedHead(nn.Module):
    """As PredictionHead, but its last layer has the embeddings of the words as weights (BERT's)."""

    def __init__(self, width: int, vocab: int, eps: float, init_std: float = 0.02) -> None:
        super().__init__()
        self.dense = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, eps=eps)
        self.bias = nn.Parameter(torch.zeros(vocab))
        init_weights(self, init_std)

    def forward(self, tokens: Tensor, words: Tensor) -> Tensor:
        """(..., D), words (V, D) -> (..., V)."""
        x = self.norm(nn.functional.gelu(self.dense(tokens)))
        return nn.functional.linear(x, words, self.bias)


class Pooler(nn.Module):
    """Linear, tanh: the one vector that BERT and ViT make of their CLS."""

    def __init__(self, width: int, init_std: float = 0.02) -> None:
        super().__init__()
        self.dense = nn.Linear(width, width)
        init_weights(self, init_std)

    def forward(self, cls: Tensor) -> Tensor:
        """(B, D) -> (B, D)."""
        return torch.tanh(self.dense(cls))


class MatchHead(nn.Module):
    """Linear, tanh, linear to two classes: 1 means that image and text belong together."""

    def __init__(self, width: int, init_std: float = 0.02) -> None:
        super().__init__()
        self.dense = nn.Linear(width, width)
        self.classifier = nn.Linear(width, 2)
        init_weights(self, init_std)

    def forward(self, cls: Tensor) -> Tensor:
        """(B, D) -> (B, 2)."""
        return self.classifier(torch.tanh(self.dense(cls)))


class ContrastHead(nn.Module):
    """Projections (with bias) of image and text, and the temperature that is learned itself (ALBEF, BLIP)."""

    def __init__(
        self, image_width: int, text_width: int, embedding: int, temperature: float = 0.07, init_std: float = 0.02
    ) -> None:
        super().__init__()
        self.image = nn.Linear(image_width, embedding)
        self.text = nn.Linear(text_width, embedding)
        init_weights(self, init_std)
        self.temperature = nn.Parameter(torch.tensor(temperature))

    def scale(self) -> Tensor:
        """() 1 / temperature, which is held in [0.001, 0.5]; the gradient passes the clamp, so it can come back."""
        held = self.temperature + (self.temperature.clamp(0.001, 0.5) - self.temperature).detach()
        return 1 / held


def clamped_scale(logit_scale: Tensor) -> Tensor:
    """exp(logit_scale) with the logarithm held in [0, ln 100]; the gradient passes the clamp, so it can come back."""
    held = logit_scale + (logit_scale.clamp(0, MAX_LOGIT_SCALE) - logit_scale).detach()
    return held.exp()
