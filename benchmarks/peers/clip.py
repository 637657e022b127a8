"""transformers' CLIPModel (arXiv 2103.00020), trained by contrast alone, as its own `return_loss` computes it."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import CLIPConfig, CLIPModel

from benchmarks.peers.peer import Batch, Sizes, Words
from benchmarks.peers.photos import Photos, pad

LEGACY_EOS = 2  # with this id CLIPTextModel pools at the highest token id instead of at the end of the text


class Clip:
    """Two towers, the text tower causal and pooled at [SEP]."""

    name = "clip"

    def __init__(self, sizes: Sizes, words: Words, batch_size: int = 128) -> None:
        if words.sep == LEGACY_EOS:
            raise ValueError(f"CLIPTextModel does not pool at [SEP] with id {LEGACY_EOS}: reorder the vocabulary")
        self.batch_size, self.sizes, self.words = batch_size, sizes, words
        self.model = CLIPModel(_config(sizes, words)).train()
        self.model.set_attn_implementation("eager")  # 1.3 times faster a step than SDPA, in bf16 on CPU

    def draw(self, photos: Photos, indices: np.ndarray, crop: tuple[float, float], rng: np.random.Generator) -> Batch:
        ids, _ = pad(photos.draw_captions(indices, rng), self.words.pad)
        return {"pixel_values": photos.crops(indices, self.sizes.image, crop, rng), "input_ids": ids}

    def loss(self, batch: Batch) -> Tensor:
        loss: Tensor = self.model(**batch, return_loss=True).loss  # causal and pooled at [SEP]: needs no padding mask
        return loss

    @torch.no_grad()
    def after_step(self) -> None:
        self.model.logit_scale.clamp_(0, math.log(100))  # CLIP section 2.5

    def embed_image(self, pixels: Tensor) -> Tensor:
        return F.normalize(self.model.get_image_features(pixel_values=pixels).pooler_output.float(), dim=-1)

    def embed_text(self, ids: Tensor, real: Tensor) -> Tensor:
        return F.normalize(self.model.get_text_features(input_ids=ids).pooler_output.float(), dim=-1)


def _config(sizes: Sizes, words: Words) -> CLIPConfig:
    common = {
        "hidden_size": sizes.width,
        "num_attention_heads": sizes.heads,
        "intermediate_size": sizes.mlp,
        "projection_dim": sizes.width,
    }
    text = {
        "num_hidden_layers": sizes.text_depth,
        "vocab_size": words.size,
        "max_position_embeddings": sizes.max_length,
        "pad_token_id": words.pad,
        "bos_token_id": words.cls,
        "eos_token_id": words.sep,
    }
    vision = {"num_hidden_layers": sizes.image_depth, "image_size": sizes.image, "patch_size": sizes.patch}
    return CLIPConfig(text_config=common | text, vision_config=common | vision, projection_dim=sizes.width)
