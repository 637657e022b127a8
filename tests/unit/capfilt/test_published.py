"""A job whose captioner and filter are Hugging Face folders, as transformers saves BLIP: no run of vltk in it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests import tiny
from tests.harness import call
from tests.unit.capfilt.jobs import recipe, samples
from vltk import run
from vltk.capfilt import score
from vltk.capfilt.job import load
from vltk.capfilt.known import known
from vltk.capfilt.models import Model
from vltk.data.dataset import open_dataset
from vltk.data.image import evaluation_image
from vltk.data.shard import Record, write_dataset
from vltk.errors import VltkError
from vltk.eval.features import Subject
from vltk.eval.protocols.caption import Caption
from vltk.models.encoders.vit import CLIP_MEAN, CLIP_STD

transformers = pytest.importorskip("transformers")

SIDE, CAPTIONS, RETRIEVAL = 32, "BlipForConditionalGeneration", "BlipForImageTextRetrieval"


def published(kind: str, folder: Path, words: list[str]) -> Any:
    """Theirs at random weights with its tokenizer, whose last two tokens are [DEC] and [ENC], saved in `folder`."""
    vocab = {word: number for number, word in enumerate([*words, "[DEC]", "[ENC]"])}
    tower: dict[str, Any] = {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
    ids = {"bos_token_id": vocab["[DEC]"], "sep_token_id": vocab["[SEP]"], "pad_token_id": 0}
    text = {**tower, "hidden_size": 24, "vocab_size": len(vocab), "max_position_embeddings": 48}
    config = transformers.BlipConfig(
        text_config=text | ids,
        vision_config={**tower, "hidden_size": 32, "image_size": SIDE, "patch_size": 16},
        image_text_hidden_size=20,
    )
    model = tiny.randomised(getattr(transformers, kind)(config), seed=5, std=0.3)
    for part in model.modules():
        if isinstance(part, nn.LayerNorm):
            part.weight.data.add_(1)
    model.save_pretrained(folder)
    marks = {"bos_token": "[DEC]", "additional_special_tokens": ["[ENC]"]}
    transformers.BertTokenizer(vocab=vocab, do_lower_case=True, **marks).save_pretrained(folder)
    return model.eval()


@pytest.fixture
def theirs(own_data: Path) -> dict[str, Any]:
    torch.set_num_threads(1)
    words = (own_data / "shapes" / "vocab.txt").read_text(encoding="utf-8").splitlines()
    kinds = {"writer": CAPTIONS, "judge": RETRIEVAL}
    return {name: published(kind, own_data.parent / name, words) for name, kind in kinds.items()}


def told(folder: Path, **changes: Any) -> Path:
    """The recipe of the job: all that is readable is kept."""
    given = {"captioner": "writer", "filter": "judge", "data": {"shapes/dev": {}}} | changes
    return recipe(folder, select={"part": "itm", "threshold": 0.0}, **given)


def one_sample() -> list[Record]:
    sample = open_dataset("shapes/dev").read(0)
    return [Record(sample.key, sample.image, sample.texts)]


def test_all_steps_with_public_weights(theirs: dict[str, Any], own_data: Path) -> None:
    """By the command line, without --force; a score is transformers' own with [ENC] before the text."""
    path = told(own_data.parent)
    assert call("capfilt", str(path)) == 0
    made, job = samples("clean"), load(path)
    assert len(made) == 12 and (own_data.parent / "runs" / "try" / "report.html").is_file()
    assert all(len(sample.texts) >= 5 for sample in made.values())  # those of `shapes`, and what was written
    rows = [row for row in score.tables(job).read("shapes/dev/00000") if row["text"] is not None]
    assert {row["source"] for row in rows} == {"web", "generated"} and len({row["itm"] for row in rows}) > 20
    facts = Model("filter", "judge", job).facts
    assert facts["image_size"] == SIDE and facts["tokenizer"] and len(facts["weights"]) == 64

    row = next(row for row in rows if row["source"] == "web")
    tokenizer = transformers.AutoTokenizer.from_pretrained("judge")
    ids = tokenizer(row["text"], return_tensors="pt").input_ids
    ids[0, 0] = tokenizer.convert_tokens_to_ids("[ENC]")
    dataset = open_dataset("shapes/dev")
    image = next(one.image for one in map(dataset.read, range(len(dataset))) if one.key == row["key"])
    mean, std = (torch.tensor(values)[:, None, None] for values in (CLIP_MEAN, CLIP_STD))
    pixels = (torch.from_numpy(evaluation_image(image, SIDE)) / 255 - mean) / std
    with torch.no_grad():
        logits = theirs["judge"](input_ids=ids, pixel_values=pixels[None]).itm_score[0]
    assert row["itm"] == pytest.approx(float(logits.softmax(-1)[1]), abs=1e-5)


def test_the_class_says_the_role(theirs: dict[str, Any], own_data: Path) -> None:
    job = load(told(own_data.parent))
    with pytest.raises(VltkError, match=f"the captioner judge is a {RETRIEVAL}, .*: give a {CAPTIONS}; --force takes"):
        Model("captioner", "judge", job)
    with pytest.raises(VltkError, match=f"the filter writer is a {CAPTIONS}, .*: give a {RETRIEVAL}; --force takes"):
        Model("filter", "writer", job)


def test_what_it_cannot_do_is_said_before_anything_is_written(
    theirs: dict[str, Any], own_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """--force takes another class, but no model without the head."""
    assert call("capfilt", str(told(own_data.parent, filter="writer")), "--force") == 1
    assert "the filter writer has no matching head (ITM)" in capsys.readouterr().err
    assert not (own_data.parent / "runs" / "try").exists()
    assert call("capfilt", str(told(own_data.parent, captioner="judge")), "--force") == 1
    assert "the captioner judge does not write texts, it has no decoder" in capsys.readouterr().err


def test_a_captioner_is_no_filter_by_similarity(
    theirs: dict[str, Any], own_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(recipe(own_data.parent, captioner=None, filter="writer", data={"shapes/dev": {}}))
    assert call("capfilt", path, "select={part: topk, k: 2, by: itc}") == 1
    assert "the filter writer has no contrastive embeddings (ITC)" in capsys.readouterr().err
    assert not (own_data.parent / "runs").exists() and not (own_data / "clean").exists()


def test_texts_longer_than_the_captioner_s_are_refused_before_anything_is_written(
    theirs: dict[str, Any], own_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(told(own_data.parent))
    assert call("capfilt", path, "caption.max_length=49") == 1
    message = "the captioner writer: caption.max_length 49 given, but the model takes texts of at most 48 tokens"
    assert message in capsys.readouterr().err
    assert call("capfilt", path, "caption.max_length=3", "caption.min_length=0") == 1
    assert "caption.max_length 3 counts the prompt, which has 4 tokens" in capsys.readouterr().err
    assert not (own_data.parent / "runs").exists()
    Model("captioner", "writer", load(path, ["caption.max_length=48"]))
    with pytest.raises(VltkError, match=r"the run writer: max_length 49 given, .* at most 48 tokens.*: lower it"):
        protocol = Caption(data="shapes/dev", max_length=49)
        protocol(Subject(run.load("writer"), 0))


def test_a_text_longer_than_the_filter_s_is_read_up_to_its_length(theirs: dict[str, Any], own_data: Path) -> None:
    sample = open_dataset("shapes/dev").read(0)
    tokenizer = run.load("judge").tokenizer
    words = [" ".join(["a red square"] * count) for count in (tokenizer.max_length, 2 * tokenizer.max_length)]
    write_dataset(own_data / "long", [Record("one", sample.image, words)], {"kind": "test"})
    path = told(own_data.parent, captioner=None, data={"long": {}}, gates={"max_repeat": None})
    assert call("capfilt", str(path)) == 0
    first, second = score.tables(load(path)).read("long/00000")
    assert first["itm"] == second["itm"] is not None and [first["text"], second["text"]] == words


@pytest.mark.parametrize(
    ("judge", "name", "on"),
    [
        ("judge", "coco", "COCO or Flickr30k"),
        ("judge", "my/mscoco-2014", "COCO or Flickr30k"),
        ("blip-itm-base-flickr", "flickr30k/test", "Flickr30k"),
        ("blip-itm-base-flickr", "coco", None),
        ("judge", "cocoa", None),
    ],
)
def test_public_weights_and_what_they_are_published_for(
    theirs: dict[str, Any], own_data: Path, judge: str, name: str, on: str | None
) -> None:
    place = own_data.parent
    (place / "judge").rename(place / judge)
    write_dataset(own_data / name, one_sample(), {"kind": "test"})
    found = known(Model("filter", judge, load(told(place, filter=judge, data={name: {}}))))
    said = f"the filter {judge} is a {RETRIEVAL}, which is published fine-tuned on {on}: .* knows {name}, which this"
    assert len(found.unknown) == 1 and bool(found.told) == (on is not None)
    assert all(re.match(said, told) for told in found.told)


def test_imported_weights_are_known_by_what_they_came_from(theirs: dict[str, Any], own_data: Path) -> None:
    place = own_data.parent
    assert call("import", "hf", "judge", "taken") == 0
    write_dataset(own_data / "web", one_sample(), {"kind": "mirror", "card": "coco"})
    (found,) = known(Model("filter", "taken", load(told(place, filter="taken", data={"web": {}})))).told
    assert found.startswith(f"the filter taken is a {RETRIEVAL}, which is published fine-tuned on COCO or Flickr30k")


def test_a_folder_without_a_tokenizer(theirs: dict[str, Any], own_data: Path) -> None:
    (own_data.parent / "judge" / "tokenizer.json").unlink()
    with pytest.raises(VltkError, match=r"the filter judge has no tokenizer that vltk reads: put its vocab\.txt"):
        Model("filter", "judge", load(told(own_data.parent)))
