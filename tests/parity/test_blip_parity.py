"""The mixture of encoder and decoder against transformers' BLIP: LM logits, ITM and ITC at tiny random size.

transformers never puts [ENC] at position 0 for ITM, so here it stands in the ids that theirs are given.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests import tiny
from vltk.convert import import_hf
from vltk.errors import VltkError
from vltk.models import inference
from vltk.models.hf import blip
from vltk.models.hf.reading import read_model, shapes
from vltk.models.tokens import Text
from vltk.models.weights import mismatches, to_theirs
from vltk.run import take_weights

transformers = pytest.importorskip("transformers")
WORDS, VOCAB = tiny.VOCAB, tiny.VOCAB + 2
DEC, ENC, SEP = VOCAB - 2, VOCAB - 1, 3


def theirs(kind: str, folder: Path) -> Any:
    """Their model at random weights, saved in `folder`; text of another width than the image."""
    tower: dict[str, Any] = {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
    text = {**tower, "hidden_size": 24, "vocab_size": VOCAB, "max_position_embeddings": 24}
    config = transformers.BlipConfig(
        text_config={**text, "bos_token_id": DEC, "sep_token_id": SEP, "pad_token_id": 0},
        vision_config={**tower, "hidden_size": 32, "image_size": tiny.IMAGE, "patch_size": 16},
        image_text_hidden_size=20,
    )
    model = tiny.randomised(getattr(transformers, kind)(config), seed=2, std=0.2)
    for part in model.modules():
        if isinstance(part, nn.LayerNorm):
            part.weight.data.add_(1)
    model.save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]) + "\n", "utf-8")
    return model


def ours(folder: Path) -> Any:
    read = read_model(folder)
    model: Any = read.model.build()
    take_weights(model, read.weights(), str(folder))
    return model.eval()


def batch() -> tuple[Tensor, Text, Tensor]:
    made = tiny.batch(6)
    return made["image"], Text(made["text"], made["text_length"]), Text(made["text"], made["text_length"]).real.long()


@pytest.mark.parametrize("grad", [False, True])
def test_lm_logits(grad: bool, tmp_path: Path) -> None:
    other, own = theirs("BlipForConditionalGeneration", tmp_path), ours(tmp_path)
    images, texts, real = batch()
    ids = texts.ids.clone()
    ids[:, 0] = DEC
    with torch.set_grad_enabled(grad):
        wanted = other(pixel_values=images, input_ids=ids, attention_mask=real).logits
        (image,) = own.encode_images(images, [None], [None])
        found = own.predict(own.decode(own.ground(image), texts).hidden)
    torch.testing.assert_close(found[texts.real], wanted[texts.real], atol=2e-5, rtol=1e-5)
    if grad:
        (found[texts.real].square().sum()).backward()
        (wanted[texts.real].square().sum()).backward()
        there = other.text_decoder.bert.embeddings.word_embeddings.weight.grad
        torch.testing.assert_close(own.text.shared.words.weight.grad, there, rtol=1e-3, atol=1e-3)


def test_a_caption_token_by_token(tmp_path: Path) -> None:
    """transformers without a cache, ours with one; beams repeat, reorder and end."""
    other, own = theirs("BlipForConditionalGeneration", tmp_path), ours(tmp_path)
    images, texts, _ = batch()
    ids = texts.ids.clone()
    ids[:, 0] = DEC
    captions = inference.begin_captions(own, images)
    rows = torch.arange(6)
    for first, last, chosen in ((0, 2, None), (2, 3, [0, 0, 1, 5, 5, 5, 2]), (3, 4, [6, 1, 3, 4]), (4, 5, [2, 0])):
        if chosen is not None:
            captions, rows = captions.take(torch.tensor(chosen)), rows[torch.tensor(chosen)]
        found = inference.next_logits(own, ids[rows, first:last], captions)
        with torch.no_grad():
            wanted = other(pixel_values=images[rows], input_ids=ids[rows, :last]).logits[:, -1]
        torch.testing.assert_close(found, wanted, atol=2e-5, rtol=1e-5)
    assert len(captions) == 2 and len(captions.memory[0][0]) == 2


def test_itm_with_enc_at_position_0(tmp_path: Path) -> None:
    other, own = theirs("BlipForImageTextRetrieval", tmp_path), ours(tmp_path)
    images, texts, real = batch()
    ids = texts.ids.clone()
    ids[:, 0] = ENC
    every = torch.arange(6)
    with torch.no_grad():
        wanted = other(pixel_values=images, input_ids=ids, attention_mask=real).itm_score
        without = other(pixel_values=images, input_ids=texts.ids, attention_mask=real).itm_score
    found = inference.match_pairs(own, images, texts, every, every)
    torch.testing.assert_close(found, wanted[:, 1] - wanted[:, 0], atol=2e-5, rtol=1e-5)
    torch.testing.assert_close(found.sigmoid(), wanted.softmax(1)[:, 1], atol=1e-5, rtol=0)  # the filter's probability
    assert (found - (without[:, 1] - without[:, 0])).abs().max() > 0.1


def test_itm_of_pairs_by_number(tmp_path: Path) -> None:
    other, own = theirs("BlipForImageTextRetrieval", tmp_path), ours(tmp_path)
    images, texts, real = batch()
    ids = texts.ids.clone()
    ids[:, 0] = ENC
    image_rows, text_rows = torch.tensor([5, 0, 0, 2]), torch.tensor([1, 1, 4, 2])
    with torch.no_grad():
        given = {"input_ids": ids[text_rows], "attention_mask": real[text_rows]}
        wanted = other(pixel_values=images[image_rows], **given).itm_score
    found = inference.match_pairs(own, images, texts, image_rows, text_rows)
    torch.testing.assert_close(found, wanted[:, 1] - wanted[:, 0], atol=2e-5, rtol=1e-5)


def test_itc(tmp_path: Path) -> None:
    other, own = theirs("BlipForImageTextRetrieval", tmp_path), ours(tmp_path)
    images, texts, real = batch()
    with torch.no_grad():
        given = {"pixel_values": images, "input_ids": texts.ids, "attention_mask": real}
        wanted = other(**given, use_itm_head=False).itm_score
    image = inference.image_embeddings(own, images)
    text = inference.text_embeddings(own, texts.ids, texts.lengths)
    torch.testing.assert_close(image @ text.T, wanted, atol=2e-6, rtol=0)


def test_one_half_is_no_whole(tmp_path: Path) -> None:
    theirs("BlipForConditionalGeneration", tmp_path / "captions")
    theirs("BlipForImageTextRetrieval", tmp_path / "retrieval")
    images, texts, _ = batch()
    with pytest.raises(VltkError, match=r"no encoder of text \(model.text.encoder: false\)"):
        inference.image_embeddings(ours(tmp_path / "captions"), images)
    with pytest.raises(VltkError, match=r"no decoder of text \(model.text.decoder: false\)"):
        inference.begin_captions(ours(tmp_path / "retrieval"), images)


@pytest.mark.parametrize("kind", ["BlipForConditionalGeneration", "BlipForImageTextRetrieval"])
def test_an_imported_folder_is_a_run(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    theirs(kind, tmp_path / "theirs")
    import_hf(Path("theirs"), "mine")
    from vltk.run import load

    trained: Any = load("mine")
    assert trained.image.size == tiny.IMAGE and trained.model.text.vocab == VOCAB
    wanted = ours(tmp_path / "theirs").state_dict()
    assert all(tensor.equal(wanted[name]) for name, tensor in trained.model.state_dict().items())


def test_what_cannot_be_expressed(tmp_path: Path) -> None:
    model = theirs("BlipForConditionalGeneration", tmp_path)
    model.config.text_config.hidden_act = "relu"
    model.config.text_config.bos_token_id = 7
    model.config.save_pretrained(tmp_path)
    with pytest.raises(VltkError, match=r"(?s)text_config\.hidden_act: 'relu' given.*text_config\.bos_token_id: 7"):
        read_model(tmp_path)


@pytest.mark.parametrize("kind", ["BlipForConditionalGeneration", "BlipForImageTextRetrieval"])
def test_every_tensor_has_its_place_at_the_published_size(kind: str) -> None:
    """BLIP with ViT-B at 384 pixels: names and shapes alone."""
    config = transformers.BlipConfig(text_config={"num_attention_heads": 12}, vision_config={}, architectures=[kind])
    with torch.device("meta"):
        there = {name: tensor for name, tensor in getattr(transformers, kind)(config).state_dict().items()}
    choice = blip.model(config, {})
    like = shapes(choice)
    assert mismatches(to_theirs(blip.links(choice), like), blip.ours(there)) == []
    temperature = int(kind == "BlipForImageTextRetrieval")
    assert sum(t.numel() for t in like.values()) == (223_971_644, 223_744_258)[temperature] + temperature
