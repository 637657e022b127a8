"""transformers' FlavaForPreTraining (arXiv 2112.04482): contrast, masked words given the image, matching."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import FlavaConfig, FlavaForPreTraining

from benchmarks.peers.peer import Batch, Sizes, Words
from benchmarks.peers.photos import Photos, pad

UNMATCHED = 0.1  # share of pairs with another photo's caption, as TorchMultimodal's FLAVA example
MASKED = 0.15  # share of words masked, BERT's 80 / 10 / 10


class Flava:
    """Three encoders; losses as the model itself computes them."""

    name = "flava"

    def __init__(self, sizes: Sizes, words: Words, batch_size: int = 64) -> None:
        self.batch_size, self.sizes, self.words = batch_size, sizes, words
        self.model = FlavaForPreTraining(_config(sizes, words)).train()
        unread = ("mim_head", "mlm_head", "mmm_image_head")  # in no loss here: kept out of the optimizer
        for name in unread:
            getattr(self.model, name).requires_grad_(False)

    def draw(self, photos: Photos, indices: np.ndarray, crop: tuple[float, float], rng: np.random.Generator) -> Batch:
        matched = rng.random(len(indices)) >= UNMATCHED
        others = (indices + rng.integers(1, len(photos), len(indices))) % len(photos)
        ids, real = pad(photos.draw_captions(np.where(matched, indices, others), rng), self.words.pad)
        masked, labels = mask_words(ids, real, self.words, rng)
        return {
            "pixel_values": photos.crops(indices, self.sizes.image, crop, rng),
            "input_ids": ids,
            "input_ids_masked": masked,
            "attention_mask": real.long(),
            "mlm_labels": labels,
            "itm_labels": torch.from_numpy(matched).long(),
        }

    def loss(self, batch: Batch) -> Tensor:
        patches = (len(batch["input_ids"]), (self.sizes.image // self.sizes.patch) ** 2)
        loss: Tensor = self.model(
            **batch,
            mim_labels=torch.zeros(patches, dtype=torch.long),  # without labels it wants a codebook, even unread
            bool_masked_pos=torch.zeros(patches, dtype=torch.bool),
            return_loss=True,
        ).loss
        return loss

    def after_step(self) -> None:
        """Nothing: the model clamps its own logit_scale."""

    def embed_image(self, pixels: Tensor) -> Tensor:
        states = self.model.flava.get_image_features(pixel_values=pixels).pooler_output
        return F.normalize(states[:, 0].float(), dim=-1)

    def embed_text(self, ids: Tensor, real: Tensor) -> Tensor:
        states = self.model.flava.get_text_features(input_ids=ids, attention_mask=real.long()).pooler_output
        return F.normalize(states[:, 0].float(), dim=-1)


def mask_words(ids: Tensor, real: Tensor, words: Words, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """BERT's masking, at least one token a text: the masked ids (B, T) and the labels (B, T), -100 where none."""
    ordinary = (real & (ids != words.cls) & (ids != words.sep)).numpy()
    draws = np.where(ordinary, rng.random(ids.shape), 2.0)
    chosen = (draws < MASKED) | ((draws == draws.min(1, keepdims=True)) & ordinary)
    fate = rng.random(ids.shape)
    masked = np.where(chosen & (fate < 0.8), words.mask, ids.numpy())
    masked = np.where(chosen & (fate >= 0.9), rng.integers(words.size, size=ids.shape), masked)
    return torch.from_numpy(masked), ids.masked_fill(torch.from_numpy(~chosen), -100)


def _config(sizes: Sizes, words: Words) -> FlavaConfig:
    common = {"hidden_size": sizes.width, "num_attention_heads": sizes.heads, "intermediate_size": sizes.mlp}
    text = {
        "num_hidden_layers": sizes.text_depth,
        "vocab_size": words.size,
        "max_position_embeddings": sizes.max_length,
        "pad_token_id": words.pad,
    }
    image = {"num_hidden_layers": sizes.image_depth, "image_size": sizes.image, "patch_size": sizes.patch}
    return FlavaConfig(
        text_config=common | text,
        image_config=common | image,
        multimodal_config=common | {"num_hidden_layers": sizes.fusion_depth},
        hidden_size=sizes.width,
        projection_dim=sizes.width,
        init_codebook=False,
        mim_weight=0.0,
        mmm_image_weight=0.0,
    )
