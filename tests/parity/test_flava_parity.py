"""FLAVA's six losses and all gradients against transformers' FlavaForPreTraining, every parameter random, fp32."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests import tiny
from vltk.models.hf import flava
from vltk.models.tokens import Text
from vltk.models.weights import to_ours, to_theirs
from vltk.parts import choose
from vltk.train.accumulate import run_step

transformers = pytest.importorskip("transformers")

NAMES = {"itc": "global_contrastive"}  # ours, theirs, where they differ
PAIRS = ("itc", "itm", "mmm")
ZERO = 1e-7  # norm of a gradient that is zero but for rounding


@pytest.fixture(scope="module")
def twin() -> Any:
    """Their model at the size of `tiny.flava`, random in every parameter."""
    tower = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
    config = transformers.FlavaConfig(
        image_config={**tower, "image_size": tiny.IMAGE, "patch_size": 16, "vocab_size": tiny.CODES},
        text_config={**tower, "vocab_size": tiny.VOCAB, "max_position_embeddings": 24},
        multimodal_config=tower,
        hidden_size=32,
        projection_dim=24,
        init_codebook=False,
    )
    model = transformers.FlavaForPreTraining(config)
    tiny.randomised(model, seed=1)
    for name, parameter in model.named_parameters():
        if name.endswith(("layernorm_before.weight", "layernorm_after.weight", "LayerNorm.weight")):
            parameter.data.add_(1)
    return model


@pytest.fixture(scope="module")
def ours(twin: Any) -> Any:
    choice = choose("models/families", "flava", **flava.options(twin.config))
    model = choice.build().eval()
    model.load_state_dict(to_ours(flava.links(choice), flava.ours(twin.state_dict()), model.state_dict()))
    return model


def run_theirs(twin: Any, batch: dict[str, Tensor], image: bool, text: bool) -> tuple[dict[str, Tensor], Any]:
    """Their losses by our names and their gradients by their names."""
    twin.zero_grad(set_to_none=True)
    given: dict[str, Tensor] = {}
    if image:
        given |= {"pixel_values": batch["image"], "bool_masked_pos": batch["image_masked_at"]}
        given |= {"mim_labels": batch["codes"].clone()}
    if text:
        length = batch["text_length"]
        given |= {"input_ids": batch["text"], "input_ids_masked": batch["text_masked"]}
        given |= {"attention_mask": (torch.arange(batch["text"].shape[1]) < length[:, None]).long()}
        given |= {"mlm_labels": batch["text"].where(batch["text_masked_at"], torch.tensor(-100))}
    if image and text and "matched" in batch:
        given["itm_labels"] = batch["matched"].long()
    out = twin(**given)
    out.loss.backward()
    losses = {key: value.detach() for key, value in out.loss_info.items() if value is not None}
    named = twin.named_parameters(remove_duplicate=False)  # each bias of a head has two names
    return losses, {name: p.grad for name, p in named if p.grad is not None}


def run_ours(model: Any, batch: dict[str, Tensor], names: tuple[str, ...]) -> tuple[dict[str, Tensor], Any]:
    """Our losses and gradients by our names; a step of a single micro-batch."""
    model.zero_grad(set_to_none=True)
    pretraining = tiny.pretraining(model, *names)
    record = run_step(tiny.Bare(pretraining), pretraining, "all", [batch], step=0, seed=0)
    return {NAMES.get(name, name): loss for name, loss in record.losses.items()}, tiny.gradients(model)


def differences(
    model: Any, twin: Any, batch: dict[str, Tensor], names: tuple[str, ...], image: bool = True, text: bool = True
) -> tuple[float, float]:
    """The largest relative difference of a loss, and of a gradient tensor against its norm; both sets must agree."""
    theirs, their_gradients = run_theirs(twin, batch, image, text)
    found, our_gradients = run_ours(model, batch, names)
    assert set(found) == set(theirs)
    loss = max(abs(found[key] - theirs[key]).item() / max(abs(theirs[key]).item(), 1e-6) for key in theirs)
    choice = choose("models/families", "flava", **flava.options(twin.config))
    zeros = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    mapped = to_theirs(flava.links(choice), zeros | our_gradients)
    worst = 0.0
    for key, gradient in mapped.items():
        wanted = their_gradients.get(key, torch.zeros_like(gradient))
        if wanted.norm() < ZERO:  # not reached; or the bias of keys, which softmax cannot see
            assert gradient.norm() < ZERO, key
            continue
        worst = max(worst, ((gradient - wanted).norm() / wanted.norm()).item())
    return loss, worst


LENGTHS = (12, 7, 4, 9, 12, 5)
CASES = {
    "mixed labels, pads": (6, LENGTHS, (1, 0, 1, 1, 0, 1)),
    "all match": (6, LENGTHS, (1,) * 6),
    "none matches": (6, LENGTHS, (0,) * 6),
    "no pads": (5, (9,) * 5, (1, 1, 0, 1, 0)),
    "one pair": (1, (8,), (1,)),
}


@pytest.mark.parametrize("case", CASES)
def test_pairs(ours: Any, twin: Any, case: str) -> None:
    size, lengths, matched = CASES[case]
    loss, gradient = differences(ours, twin, tiny.batch(size, lengths, matched), PAIRS)
    assert loss < 1e-6
    assert gradient < 1e-5


def test_pairs_without_itm(ours: Any, twin: Any) -> None:
    loss, gradient = differences(ours, twin, tiny.batch(6, LENGTHS), ("itc", "mmm"))
    assert loss < 1e-6
    assert gradient < 1e-5


def test_images_alone(ours: Any, twin: Any) -> None:
    loss, gradient = differences(ours, twin, tiny.batch(), ("mim",), text=False)
    assert loss < 1e-6
    assert gradient < 1e-5


def test_texts_alone(ours: Any, twin: Any) -> None:
    loss, gradient = differences(ours, twin, tiny.batch(), ("mlm",), image=False)
    assert loss < 1e-6
    assert gradient < 1e-5


def test_hidden_states_and_embeddings(ours: Any, twin: Any) -> None:
    """Of each encoder at real tokens, before and after its final norm; projections; contrastive and match logits."""
    batch = tiny.batch(6, LENGTHS)
    text = Text(batch["text"], batch["text_length"])
    with torch.no_grad():
        image_tokens = ours.encode_images(batch["image"], [None], [None])[0]
        text_tokens = ours.encode_texts([text], [None])[0]
        fused = ours.fuse(image_tokens, text_tokens, text)
        theirs = twin(
            input_ids=batch["text"],
            pixel_values=batch["image"],
            attention_mask=text.real.long(),
            skip_unmasked_multimodal_encoder=False,
            return_loss=False,
        )
        similarity = ours.scale() * ours.embed_image(image_tokens) @ ours.embed_text(text_tokens).T
        match = ours.match(fused)
    fused_real = torch.cat([torch.ones(6, 2 + tiny.PATCHES, dtype=torch.bool), text.real], dim=1)
    close: dict[str, Any] = {"atol": 2e-5, "rtol": 0}
    torch.testing.assert_close(image_tokens.normed, theirs.image_embeddings, **close)
    torch.testing.assert_close(image_tokens.before_norm, theirs.image_output.hidden_states[-1], **close)
    torch.testing.assert_close(text_tokens.normed[text.real], theirs.text_embeddings[text.real], **close)
    torch.testing.assert_close(fused.normed[fused_real], theirs.multimodal_embeddings[fused_real], **close)
    torch.testing.assert_close(similarity, theirs.contrastive_logits_per_image, **close)
    torch.testing.assert_close(match, twin.itm_head(theirs.multimodal_embeddings), **close)


def test_base_size_has_the_published_parameter_counts() -> None:
    with torch.device("meta"):
        choice = choose("models/families", "flava", image="vit", text="bert", fusion="joint")
        model = choice.build()
    pooler, counted = 590_592, {name: count(part) for name, part in model.named_children()}
    assert counted["image"] == 86_390_016 - pooler
    assert counted["text"] == 109_483_776 - pooler
    assert counted["fusion"] == 43_120_128 - pooler + 2 * 590_592
    assert counted["image_projection"] == counted["text_projection"] == 590_592
    heads = {name: count(head) for name, head in model.heads.items()}
    assert heads["mim"] == heads["mmm_image"] == 6_891_776
    assert heads["mlm"] == heads["mmm_text"] == 24_063_546
    assert heads["itm"] == 592_130
    assert count(model) == 303_859_063 - 3 * pooler


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
