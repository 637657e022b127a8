"""Tiny models with random weights, batches without a loader, and an engine that does nothing but backward."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vltk.parts import choose
from vltk.train.pretraining import Pretraining

WIDTH, PATCHES, VOCAB, CODES, IMAGE = 32, 16, 50, 40, 64
TOWER: dict[str, Any] = {"width": WIDTH, "depth": 2, "heads": 2, "mlp": 48}


class Cached:
    """A codebook whose codes are always in the batch."""

    stride = 8

    def __init__(self) -> None:
        self.calls = 0

    def codes(self, images: Tensor) -> Tensor:
        self.calls += 1
        return torch.zeros(len(images), PATCHES, dtype=torch.long)


class Bare:
    """An engine's verbs over a plain module: backward, and nothing else."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.module(*args, **kwargs)

    def backward(self, loss: Tensor, last: bool) -> None:
        loss.backward()


def flava(seed: int = 0, **options: Any) -> Any:
    """A FLAVA of width 32 on images of 64 pixels (16 patches), every parameter random."""
    given = {
        "image": {"part": "vit", **TOWER, "image_size": IMAGE},
        "text": {"part": "bert", **TOWER, "vocab": VOCAB, "max_length": 24},
        "fusion": {"part": "joint", **TOWER},
        "codes": CODES,
        "embedding": 24,
    }
    return randomised(choose("models/families", "flava", **(given | options)).build(), seed)


def clip(seed: int = 0, activation: str = "quick_gelu") -> Any:
    """A CLIP of the same sizes."""
    image = {"part": "vit", **TOWER, "image_size": IMAGE, "eps": 1e-5, "activation": activation}
    image |= {"patch_bias": False, "mask_token": False, "embedding_norm": True}
    text = {"part": "causal", **TOWER, "vocab": VOCAB, "max_length": 24, "activation": activation}
    return randomised(choose("models/families", "clip", image=image, text=text, embedding=24).build(), seed)


def blip(seed: int = 0, **options: Any) -> Any:
    """A BLIP of the same sizes, whose last two tokens are [DEC] and [ENC]; options replace parts of it."""
    given = {
        "image": {"part": "vit", **TOWER, "image_size": IMAGE},
        "text": {"part": "med", **TOWER, "vocab": VOCAB + 2, "max_length": 24},
        "embedding": 24,
    }
    return randomised(choose("models/families", "blip", **(given | options)).build(), seed)


def albef(seed: int = 0, **options: Any) -> Any:
    """An ALBEF of the same sizes; options replace parts of it."""
    given = {
        "image": {"part": "vit", **TOWER, "image_size": IMAGE},
        "text": {"part": "bert", **TOWER, "vocab": VOCAB, "max_length": 24, "norm": "post"},
        "fusion": {"part": "cross", **TOWER},
        "embedding": 24,
    }
    return randomised(choose("models/families", "albef", **(given | options)).build(), seed)


def finetuned(seed: int = 0, **options: Any) -> Any:
    """The encoders of `flava` under a head of three outputs; options replace parts of it."""
    given = {
        "image": {"part": "vit", **TOWER, "image_size": IMAGE},
        "text": {"part": "bert", **TOWER, "vocab": VOCAB, "max_length": 24},
        "fusion": {"part": "joint", **TOWER},
        "outputs": 3,
        "head_width": 20,
        "dropout": 0.0,
    }
    return randomised(choose("models/families", "finetuned", **(given | options)).build(), seed, std=0.2)


def labelled(size: int = 6, seed: int = 0, kind: str = "class") -> dict[str, Tensor]:
    """Pairs with a class of three, a `score` of 0 to 5, or three soft `answers` each."""
    generator = torch.Generator().manual_seed(300 + seed)
    classes = torch.randint(0, 3, (size,), generator=generator)
    soft = torch.rand(size, 3, generator=generator)
    made = {"class": {"label": classes}, "score": {"label": 5 * soft[:, 0]}, "answers": {"answers": soft}}
    return batch(size, seed=seed) | made[kind]


def vqkd(seed: int = 0) -> Any:
    """A VQ-KD tokenizer of 16 codes for the same images and patches."""
    image = {"part": "vit", **TOWER, "image_size": IMAGE, "eps": 1e-6, "mask_token": False}
    model: Any = choose("models/codebooks", "vqkd", image=image, codes=16, code_width=8).build()
    table = torch.randn(model.codebook.shape, generator=torch.Generator().manual_seed(seed))
    model.codebook.copy_(nn.functional.normalize(table, dim=1))
    return randomised(model, seed, std=0.2)


def distilling(**options: Any) -> Pretraining:
    """Its training, with the image encoder of a FLAVA as the teacher."""
    model = vqkd()
    part: Any = choose("objectives", "vqkd", decoder_depth=1, **options).build(model=model, teacher=flava(seed=1))
    randomised(part.decoder, seed=2, std=0.1)
    return Pretraining(model, {"all": {"vqkd": part}}).train()


def randomised(module: nn.Module, seed: int, std: float = 0.05) -> nn.Module:
    """Every parameter N(0, std), norms 1 + N: zero starts would hide errors of order, masking and bias."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.copy_(std * torch.randn(parameter.shape, generator=generator))
            if name.endswith("norm.weight"):
                parameter.add_(1)
            if name.endswith("logit_scale"):
                parameter.add_(2)
            if name.endswith("temperature"):
                parameter.abs_().add_(0.1)
    return module.eval()


def batch(
    size: int = 6, lengths: Sequence[int] = (12, 7, 4, 9, 12, 5), matched: Sequence[int] | None = None, seed: int = 0
) -> dict[str, Tensor]:
    """Pairs with every view: mask counts differ from sample to sample; `matched` (0 or 1 each) adds the ITM labels."""
    generator = torch.Generator().manual_seed(100 + seed)
    length = torch.tensor(list(lengths)[:size])
    longest = int(length.max())
    real = torch.arange(longest) < length[:, None]
    ids = torch.randint(5, VOCAB, (size, longest), generator=generator) * real
    ids[:, 0] = 2
    hidden = (torch.rand(size, longest, generator=generator) < 0.4) & real
    hidden[:, 0] = False
    hidden[:, 1] = True
    image_masked = torch.rand(size, PATCHES, generator=generator) < 0.4
    image_masked[:, 3] = True
    made = {
        "image": torch.randn(size, 3, IMAGE, IMAGE, generator=generator),
        "image_masked_at": image_masked,
        "codes": torch.randint(0, CODES, (size, PATCHES), generator=generator),
        "text": ids,
        "text_masked": torch.where(hidden, 4, ids),
        "text_masked_at": hidden,
        "text_length": length,
    }
    made |= {
        "image_id": torch.arange(size) + 1000 * seed,
        "image_lot": torch.rand(size, generator=generator, dtype=torch.float64),
        "text_lot": torch.rand(size, generator=generator, dtype=torch.float64),
    }
    if matched is not None:
        flags = torch.tensor(list(matched)[:size], dtype=torch.bool)
        made |= {"matched": flags, "positive": flags if flags.any() else torch.ones_like(flags)}
    return made


HEAD: dict[str, Any] = {"outputs": 24, "head_width": 20, "bottleneck": 8, "init_std": 0.2}
DINO: dict[str, Any] = {**HEAD, "local_size": 32, "local_crops": 3, "momentum": 0.9, "freeze_last": 3}


def crops(size: int = 6, seed: int = 0) -> dict[str, Tensor]:
    """What DINO reads: two crops of 64 pixels of each image, and three of 32."""
    generator = torch.Generator().manual_seed(200 + seed)
    base = torch.randn(size, 1, 3, 1, 1, generator=generator)  # crops of one image are alike
    return {
        "crops": base + 0.5 * torch.randn(size, 2, 3, IMAGE, IMAGE, generator=generator),
        "local_crops": base + 0.5 * torch.randn(size, 3, 3, IMAGE // 2, IMAGE // 2, generator=generator),
    }


def dino(model: Any, steps: int = 20, average: float | None = None, **options: Any) -> Pretraining:
    """DINO with a head of 24 outputs in one stream, `all`; the head begins at the same weights each time."""
    torch.manual_seed(7)
    part = choose("objectives", "dino", **(DINO | options)).build(model=model, steps=steps)
    return Pretraining(model, {"all": {"dino": part}}, average=average)


FOLLOWS: dict[str, Any] = {"momentum": 0.9, "alpha_steps": 4}
GROUPED: dict[str, dict[str, Any]] = {  # options of the objectives of BLIP and ALBEF, for batches of 6
    "itc_momentum": {"queue": 16, "among": 3, **FOLLOWS},
    "itm_hard": {"among": 3},
    "lm": {},
    "mlm_momentum": FOLLOWS,
}
BLIP, ALBEF = ("itc_momentum", "itm_hard", "lm"), ("itc_momentum", "itm_hard", "mlm_momentum")


def grouped(model: Any, *names: str, steps: int = 20, **options: dict[str, Any]) -> Pretraining:
    """Objectives of BLIP or ALBEF in one stream, `all`; queues begin at the same noise each time. Options by name."""
    torch.manual_seed(7)
    parts = {
        name: choose("objectives", name, **(GROUPED[name] | options.get(name, {}))).build(model=model, steps=steps)
        for name in names
    }
    return Pretraining(model, {"all": parts})


def pretraining(model: Any, *names: str, codes: Any = None) -> Pretraining:
    """The objectives `names` with their defaults in one stream, `all`."""
    provided = {"model": model, "codes": codes or Cached()}
    parts = {name: choose("objectives", name).build(**provided) for name in names}
    return Pretraining(model, {"all": parts}, provided["codes"].codes)


def gradients(module: nn.Module) -> dict[str, Tensor]:
    """By parameter name, those that have one."""
    return {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}
