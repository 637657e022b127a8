"""What a stage starts from: Hugging Face folders and runs, position tables of other lengths, and what is refused."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests import tiny
from tests.harness import DEBUG, call, facts, rows
from vltk.data.mixture import Mixture
from vltk.errors import RecipeError, VltkError
from vltk.parts import Choice, choose
from vltk.recipe import load
from vltk.run import load as load_run
from vltk.train.check import check_stages
from vltk.train.start import fit, nearly, unlike

transformers = pytest.importorskip("transformers")

TOWER = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
RECIPE = """\
name: mixed
include: [flava-tiny.yaml]
seed: 3
stages:
  image: null
  text: null
  joint:
    model:
      image: {mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5]}
      text: {norm: post}
    init: {image: theirs/vit, text: theirs/bert, heads.mlm: theirs/bert, heads.mim: null}
"""

ALONE = """\
include: [flava-tiny.yaml]
stages:
  image: null
  text: null
  joint: {init: null, streams: {contrast: {weight: 1}}}
"""


def encoder(part: str, **options: Any) -> Any:
    sizes = {"image_size": tiny.IMAGE} if part == "vit" else {"vocab": tiny.VOCAB, "max_length": 24}
    return choose("models/encoders", part, **{**tiny.TOWER, **sizes, **options}).build()


def bare(**image: Any) -> Choice:
    return choose("models/families", "bare", image={"part": "vit", **tiny.TOWER, "image_size": tiny.IMAGE, **image})


@pytest.fixture
def theirs(home: Path) -> Path:
    """A ViT of 64 pixels and a BERT with the words of `shapes`, both random, beside a recipe that starts from them."""
    torch.manual_seed(0)
    image = transformers.ViTConfig(**TOWER, image_size=64, patch_size=16)
    text = transformers.BertConfig(**TOWER, vocab_size=330, max_position_embeddings=24)
    tiny.randomised(transformers.ViTModel(image), 1).save_pretrained("theirs/vit")
    tiny.randomised(transformers.BertForMaskedLM(text), 2).save_pretrained("theirs/bert")
    shutil.copyfile(Path(os.environ["VLTK_DATA"], "shapes/vocab.txt"), "theirs/bert/vocab.txt")
    Path("mixed.yaml").write_text(RECIPE)
    return Path("theirs")


def mistakes(*overrides: str) -> str:
    with pytest.raises(RecipeError) as error:
        check_stages(load("mixed.yaml", [DEBUG, *overrides]))
    return "\n".join(error.value.problems)


def test_image_positions_are_resized_and_a_mask_token_may_be_missing() -> None:
    given = encoder("vit", image_size=96, mask_token=False).state_dict()
    found = fit(encoder("vit"), given)
    assert found.resized == {"positions": "positions 6x6 -> 4x4"} and found.random == ["mask_token"]
    assert not found.problems and found.taken["positions"].shape == (17, tiny.WIDTH)
    assert torch.equal(found.taken["positions"][0], given["positions"][0])
    assert found.said() == f"{len(given)} tensors, 1 resized (positions 6x6 -> 4x4), 1 at random: mask_token"
    found = fit(encoder("vit", mask_token=False), encoder("vit").state_dict())
    assert found.unused == ["mask_token"] and not found.problems


def test_tables_of_texts_are_cut_or_completed_at_random() -> None:
    own, long, short = encoder("bert"), encoder("bert", max_length=40), encoder("bert", max_length=10)
    found = fit(own, long.state_dict())
    assert torch.equal(found.taken["positions.weight"], long.positions.weight[:24])
    found = fit(own, short.state_dict())
    assert found.resized == {"positions.weight": "positions 10 -> 24, 14 of them at random"}
    wanted = torch.cat([short.positions.weight, own.positions.weight[10:]])
    assert torch.equal(found.taken["positions.weight"], wanted)


def test_everything_else_has_to_fit() -> None:
    found = fit(encoder("vit"), encoder("vit", width=16).state_dict())
    assert any("cls: shape (16,) given, the model wants (32,)" in line for line in found.problems)
    post = encoder("bert", norm="post").state_dict()
    assert fit(encoder("bert"), post).problems[0].startswith("transformer.norm.weight: missing")
    surplus = encoder("bert").state_dict() | {"positions.extra": torch.zeros(2)}
    assert fit(encoder("bert"), surplus).problems == ["positions.extra: not in the model, given (2,)"]


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ({"heads": 4}, "model.image.heads: 2 given, the weights have 4; set model.image.heads=4"),
        ({"activation": "quick_gelu"}, "model.image.activation: gelu given, the weights have quick_gelu; set "),
        ({"std": (1.0, 1.0, 1.0)}, "the weights have [1,1,1]; set model.image.std=[1,1,1]"),
        ({"embedding_norm": True}, "model.image.embedding_norm: false given, the weights have true; set "),
        ({"width": 16}, "model.image.width: 32 given, the weights have 16; set model.image.width=16"),
    ],
)
def test_weights_that_mean_something_else_in_another_encoder(option: dict[str, Any], said: str) -> None:
    (line,) = unlike(bare(), bare(**option), "image")
    assert said in line
    assert list(unlike(bare(), bare(), "image")) == list(unlike(bare(), bare(**option), "heads.mim")) == []


def test_another_eps_is_only_said() -> None:
    other = bare(eps=1e-6)
    assert list(unlike(bare(), other, "image")) == []
    assert list(nearly(bare(), other, "image")) == [
        "its norms add 1e-12, those that the weights were trained with 1e-06 (eps)"
    ]


def test_a_joint_stage_starts_from_any_mix(theirs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Image and words from Hugging Face, codes from a stage, the rest at random; and the list of all that."""
    assert call("train", "mixed.yaml", DEBUG) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "image: from theirs/vit: 30 tensors, 1 resized (positions 4x4 -> 2x2), 1 at random: mask_token" in said
    assert "positions 24 -> 32, 8 of them at random" in said
    assert "at random: logit_scale (1), fusion (19), heads.mim (6), heads.mmm_image (6), heads.mmm_text (6), " in said
    found = json.loads(Path("runs/mixed/joint/init.json").read_text())
    assert found["parts"]["image"]["random"] == ["mask_token"]
    assert found["parts"]["heads.mlm"]["source"] == "theirs/bert" and len(found["parts"]["heads.mlm"]["taken"]) == 6
    assert any(name.startswith("fusion.transformer") for name in found["random"])
    assert not any(name.startswith(("image.", "text.", "heads.mlm")) for name in found["random"])
    assert not Path("runs/mixed/codes/init.json").exists()

    assert call("train", "mixed.yaml", DEBUG, "stages.joint.optimizer.lr=0", "name=still") == 0
    after = load_file("runs/still/joint/model.safetensors")
    before: Any = transformers.BertForMaskedLM.from_pretrained("theirs/bert")
    assert torch.equal(after["text.words.weight"], before.bert.embeddings.word_embeddings.weight)
    assert torch.equal(after["heads.mlm.decoder.weight"], before.cls.predictions.decoder.weight)
    vision: Any = transformers.ViTModel.from_pretrained("theirs/vit")
    assert torch.equal(after["image.transformer.norm.bias"], vision.layernorm.bias)


def test_the_weights_of_a_folder_are_part_of_the_identity(theirs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("train", "mixed.yaml", DEBUG) == 0
    known = facts("mixed/joint")["identity"]["sources"]
    assert set(known) == {"theirs/vit", "theirs/bert", "codes"}
    assert call("train", "mixed.yaml", DEBUG) == 0
    assert "joint: finished before, nothing to do" in capsys.readouterr().out
    model = transformers.ViTModel.from_pretrained("theirs/vit")
    model.layernorm.bias.data.add_(1)
    model.save_pretrained("theirs/vit")
    assert call("train", "mixed.yaml", DEBUG) == 2
    assert f"sources.theirs/vit: was {known['theirs/vit']}, is " in capsys.readouterr().err


def test_misfits_are_found_before_training(theirs: Path) -> None:
    found = mistakes("stages.joint.model.text.norm=pre", "stages.joint.model.image.mean=[0.4,0.4,0.4]")
    assert "init.text: the weights of theirs/bert do not fit:" in found
    assert "model.text.norm: pre given, the weights have post; set model.text.norm=post" in found
    assert "init.image: the weights of theirs/vit do not fit:" in found
    assert "model.image.mean: [0.4,0.4,0.4] given, the weights have [0.5,0.5,0.5]; set model.image.mean=" in found
    found = mistakes("stages.joint.model.text.vocab=400")
    assert "set model.text.vocab=330" in found
    found = mistakes("stages.joint.frozen.codes=theirs/vit")
    assert "frozen.codes: theirs/vit is no codebook but the model bare (text: null)" in found
    found = mistakes("stages.joint.init.fusion=theirs/bert", "stages.joint.init.image=theirs/vit@3")
    assert "init.fusion: the weights of theirs/bert do not fit:\n    none of them is of this part" in found
    assert "theirs/vit@3: a Hugging Face folder has no steps" in found


def test_another_vocabulary_is_found_before_training(theirs: Path) -> None:
    words = Path("theirs/bert/vocab.txt").read_text().splitlines()
    words[7], words[8] = words[8], words[7]
    Path("theirs/bert/vocab.txt").write_text("\n".join(words) + "\n")
    found = mistakes()
    assert found.count(f"token 7 is {words[8]!r} here and {words[7]!r} where the weights were trained") == 2


def test_pickles_and_damaged_files_are_found_before_training(theirs: Path) -> None:
    file = Path("theirs/vit/model.safetensors")
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    assert "theirs/vit/model.safetensors: damaged or cut short" in mistakes()
    file.unlink()
    Path("theirs/vit/pytorch_model.bin").write_bytes(b"\x80\x04N.")
    assert "pytorch_model.bin: a pickle can run any code and is never read" in mistakes()


def test_heads_that_nothing_has_trained_are_named(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By the run that has them, by one that starts from them, and by their scores; not once they are trained."""
    Path("alone.yaml").write_text(ALONE)
    without = ["train", "alone.yaml", DEBUG, "stages.joint.streams.text=null"]
    assert call(*without, "name=first") == 0
    never = facts("first/joint")["untrained"]
    assert len(never) == 6 and all(name.startswith("heads.mlm.") for name in never)
    assert load_run("first/joint").untrained == set(never)

    init = "init: {image: null, text: null, heads.mim: null, heads.mlm: runs/first/joint}"
    Path("alone.yaml").write_text(ALONE.replace("init: null", init))
    capsys.readouterr()
    assert call(*without, "name=second") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "heads.mlm: from runs/first/joint: 6 tensors, 6 of them never trained there: decoder.bias, " in said
    assert facts("second/joint")["untrained"] == never
    assert call("eval", "second/joint", "--tasks", "masked_text:shapes/train,retrieval:shapes/train") == 0
    table = Path("runs/second/joint/evaluations/tasks.md").read_text().splitlines()
    assert [line for line in table if "masked_text" in line and line.endswith("| heads.mlm was never trained |")]
    assert not [line for line in table if "retrieval" in line and "never" in line]

    assert call("train", "alone.yaml", DEBUG, "name=third") == 0
    assert "untrained" not in facts("third/joint")


def test_a_folder_serves_as_a_frozen_teacher(theirs: Path) -> None:
    """Found again by those that read the run, with the very weights."""
    assert call("train", "mixed.yaml", DEBUG, "stages.joint.frozen.teacher=theirs/vit") == 0
    teacher = load_run("mixed/joint").helpers["teacher"]
    vision: Any = transformers.ViTModel.from_pretrained("theirs/vit")
    assert torch.equal(teacher.state_dict()["image.transformer.norm.weight"], vision.layernorm.weight)


def test_a_run_that_has_not_finished_starts_nothing(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is named, with what to do; one of its checkpoints may be named instead."""
    Path("alone.yaml").write_text(ALONE)
    assert call("train", "alone.yaml", DEBUG, "name=other") == 0
    path = Path("runs/other/joint/run.json")
    path.write_text(path.read_text().replace('"finished"', '"stopped"'))
    assert call("train", "alone.yaml", DEBUG, "stages.joint.init.image=runs/other/joint") == 2
    said = capsys.readouterr().err
    assert "runs/other/joint is not finished, so nothing can start from it: finish it first, or name one of" in said
    assert "runs/other/joint@STEP" in said
    assert call("train", "alone.yaml", DEBUG, "stages.joint.init.image=runs/other/joint@1") == 0
    assert json.loads(Path("runs/alone/joint/init.json").read_text())["parts"]["image"]["step"] == 1


def test_the_order_of_the_streams_is_logged(home: Path) -> None:
    Path("alone.yaml").write_text(ALONE)
    options = [DEBUG, "stages.joint.steps=9", "stages.joint.log_every=4", "stages.joint.checkpoint.every=5"]
    assert call("train", "alone.yaml", *options) == 0
    logged = [(step, row["stream"]) for row in rows("alone/joint") for step in row["steps"]]
    stage = load("alone.yaml", options).stages["joint"]
    order = Mixture({name: stream.weight for name, stream in stage.streams.items()}, 9, stage.seed)
    assert sorted(logged) == [(step + 1, order.stream_at(step)) for step in range(9)]
    assert len({stream for _, stream in logged}) > 1


def test_no_such_folder(theirs: Path) -> None:
    with pytest.raises(VltkError, match="no run 'theirs/none' here"):
        load_run("theirs/none")


ANEW = """\
include: [{recipe}.yaml]
name: anew
model: {{image: {{mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5]}}}}
init: {{image: theirs/vit, text: theirs/bert, {more}: theirs/bert}}
optimizer: {{lr: 0}}
"""


@pytest.mark.parametrize(
    ("recipe", "more", "said", "place"),
    [
        ("blip-tiny", "heads.lm", "words 330 -> 332, 2 of them at random", "text.shared.blocks.2"),
        ("albef-tiny", "fusion", "at random: blocks.*.cross.key_value.bias, ", "fusion.blocks.0"),
    ],
)
def test_blip_and_albef_start_from_a_bert_and_a_vit(
    theirs: Path, capsys: pytest.CaptureFixture[str], recipe: str, more: str, said: str, place: str
) -> None:
    """Three layers for BLIP's text, two and one for ALBEF's halves; what stayed new is said and stands in init.json."""
    text = transformers.BertConfig(**TOWER | {"num_hidden_layers": 3}, vocab_size=330, max_position_embeddings=24)
    bert = tiny.randomised(transformers.BertForMaskedLM(text), 3)
    bert.save_pretrained(theirs / "bert")
    Path("anew.yaml").write_text(ANEW.format(recipe=recipe, more=more))
    assert call("train", "anew.yaml", DEBUG, *(["model.text.depth=3"] if recipe == "blip-tiny" else [])) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert said in out and "image: from theirs/vit: 30 tensors, 1 resized (positions 4x4 -> 2x2)" in out
    found = json.loads(Path("runs/anew/train/init.json").read_text())
    assert any(".cross." in name for own in found["parts"].values() for name in own["random"])
    assert {name.split(".")[1] for name in found["random"]} - {"mmm_text"} == {"contrast", "itm"}
    after = load_file("runs/anew/train/model.safetensors")
    assert torch.equal(after[f"{place}.mlp_norm.weight"], bert.bert.encoder.layer[2].output.LayerNorm.weight)


def test_blip_starts_from_a_run_of_masked_words(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whose norms stand behind the sums, as BERT's; another order of norms is refused."""
    alone = "include: [flava-tiny.yaml]\nname: {0}\nstages: {{codes: null, image: null, joint: null, text: {{{1}}}}}\n"
    for name, said in (("words", "model: {text: {norm: post}}"), ("flava", "")):
        Path(f"{name}.yaml").write_text(alone.format(name, said))
        assert call("train", f"{name}.yaml", DEBUG) == 0
    given = ["train", "blip-tiny", DEBUG, "optimizer.lr=0"]
    assert call(*given, "init={text: runs/words/text, heads.lm: runs/words/text}") == 0
    before, after = (load_file(f"runs/{name}/model.safetensors") for name in ("words/text", "blip-tiny/train"))
    qkv = before["text.transformer.blocks.1.attention.qkv.weight"]
    assert all(torch.equal(after[f"text.{half}.1.attention.qkv.weight"], qkv) for half in ("encoder", "decoder"))
    positions = before["text.positions.weight"] + before["text.types.weight"][0]
    assert torch.equal(after["text.shared.positions.weight"], positions)
    assert torch.equal(after["heads.lm.dense.weight"], before["heads.mlm.dense.weight"])
    capsys.readouterr()
    assert call(*given, "init={text: runs/flava/text}", "name=other") == 2
    assert (
        "model.text.part: med given, the weights are those of bert, norm: pre; of one with norm: post they fit"
        in capsys.readouterr().err
    )
