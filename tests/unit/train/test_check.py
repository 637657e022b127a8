"""Recipes whose stages do not fit: every mistake at its place, before anything is built or trained."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests import harness
from vltk.data.shard import write_dataset
from vltk.errors import RecipeError
from vltk.recipe import available, load
from vltk.train.check import check_stages

RECIPES = sorted(set(available()) - {"debug"})


@pytest.fixture(autouse=True)
def nothing_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VLTK_DATA", str(tmp_path))


def mistakes(name: str, *overrides: str) -> list[str]:
    """Every line of what is wrong."""
    with pytest.raises(RecipeError) as error:
        check_stages(load(name, overrides))
    assert error.value.exit_code == 2
    return error.value.problems


@pytest.mark.parametrize("name", RECIPES)
def test_shipped_recipes_fit_at_full_size_in_no_time(name: str) -> None:
    start = time.perf_counter()
    check_stages(load(name))
    assert time.perf_counter() - start < 15  # about 1 s


JOINT = "stages.joint."
PAIRS = f"{JOINT}streams.pairs"


@pytest.mark.parametrize(
    ("name", "options", "wanted"),
    [
        (
            "flava-tiny",
            [f"{JOINT}model.codes=300"],
            [
                "stages.joint.model.codes: 300 given, but the codebook codes has 256",
                "stages.joint.init.heads.mim: the ",
            ],
        ),
        (
            "flava",
            ["tokenizer.max_length=600"],
            ["stages.joint.tokenizer.max_length: 600 given, but model.text.max_length is 512"],
        ),
        (
            "flava-tiny",
            ["stages.text.streams.text.max_length=65"],
            ["stages.text.streams.text.max_length: 65 given, but model.text.max_length is 64"],
        ),
        (
            "flava-tiny",
            ["model.image.heads=5"],
            ["model.image.heads: 5 given, into which the width 128"],
        ),
        ("clip", ["model.text.heads=5"], ["model.text.heads: 5 given, into which the width 512 does not divide"]),
        (
            "clip-tiny",
            ["streams.pairs.objectives.mlm={}", "streams.pairs.objectives.itm={}"],
            [
                "streams.pairs.objectives.mlm: cannot be computed with the model clip: AttributeError: 'Clip' object ",
                "streams.pairs.objectives.itm: cannot be computed with the model clip: AttributeError: 'Clip' object ",
            ],
        ),
        (
            "flava-tiny",
            ["stages.image.frozen.codes=null"],
            ["stages.image.streams.image.objectives.mim: part 'mim' needs codes, which this place does not have"],
        ),
        (
            "flava-tiny",
            ["stages.image.image.randaugment=[2,5]"],
            ["stages.image.image.randaugment: moves what the image shows, but stream image sets image_for_codes"],
        ),
        ("clip", ["image.size=192"], ["image.size: 192 given, but model.image.image_size is 224"]),
        (
            "flava-tiny",
            [f"{PAIRS}.objectives.mlm={{}}"],
            ["stages.joint.streams.pairs: objectives mmm and mlm ask for the view 'text_masked' with "],
        ),
        (
            "flava-tiny",
            [f"{JOINT}init.text=image", f"{JOINT}init.vision=image", f"{JOINT}init.image=image@9999"],
            [
                "stages.joint.init.text: the weights of image do not fit:\n    none of them is of this part",
                "stages.joint.init.vision: the model has no part 'vision'; have: image, text, fusion, heads, ",
                "stages.joint.init.image: stage 'image' has steps 1 to ",
            ],
        ),
        (
            "flava-tiny",
            [f"{JOINT}model.image.width=64", f"{JOINT}init={{text: text}}", f"{JOINT}model.image.mask_token=false"],
            [
                "stages.joint.streams.image.objectives.mim: cannot be computed with the model flava: masked "
                "patches need an image encoder with mask_token: true"
            ],
        ),
        (
            "flava-tiny",
            ["stages.codes.image.size=50"],
            [
                "stages.codes.streams.image.objectives.dvae: cannot be computed with the model dvae: images of 50 "
                "pixels given, no multiple of the stride 8"
            ],
        ),
        (
            "flava-tiny",
            ["stages.text.tokenizer=null"],
            ["stages.text.streams.text: this stream makes text views: the stage needs `tokenizer: {vocab: ...}`"],
        ),
        (
            "flava-tiny",
            ["stages.text.streams.text.objectives.itm={}"],
            ["stages.text.streams.text.objectives.itm: cannot be computed with the model flava (image: null, "],
        ),
        (
            "flava-tiny",
            ["stages.image.model.fusion={part: joint}"],
            ["stages.image.model.fusion: needs both "],
        ),
        (
            "vqkd-tiny",
            ["stages.codes.model.image.patch=32", "stages.image.model.codes=300"],
            [
                "stages.codes.streams.image.objectives.vqkd: the teacher sees 6 x 6 patches (image_size 96, patch 16), "
                "the tokenizer 3 x 3 patches (image_size 96, patch 32)",
                "stages.image.model.codes: 300 given, but the codebook codes has 256",
            ],
        ),
        (
            "vqkd-tiny",
            ["stages.codes.frozen.teacher=null"],
            ["stages.codes.streams.image.objectives.vqkd: part 'vqkd' needs teacher, which this place does not have"],
        ),
    ],
)
def test_what_does_not_fit(name: str, options: list[str], wanted: list[str]) -> None:
    found = mistakes(name, *options)
    for text in wanted:
        assert any(f": {text}" in problem for problem in found), found


def test_all_at_once_each_at_its_line(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(
        "include: flava-tiny.yaml\n"
        "tokenizer:\n"
        "  max_length: 100\n"
        "stages:\n"
        "  image:\n"
        "    model: {codes: 64}\n"
        "  joint:\n"
        "    image: {size: 32}\n"
    )
    with pytest.raises(RecipeError) as error:
        check_stages(load("bad.yaml"))
    found = [problem.partition(" given")[0] for problem in error.value.problems if problem.startswith("bad.yaml")]
    assert found == [
        "bad.yaml:3: tokenizer.max_length: 100",  # of the stages text and joint
        "bad.yaml:6: stages.image.model.codes: 64",
        "bad.yaml:8: stages.joint.image.size: 32",
    ]


def test_either_tokenizer_stands_before_flavas_image_encoder(tmp_path: Path) -> None:
    """At full size; the teacher of VQ-KD is a run that is not there yet."""
    for kind in ("dvae", "vqkd"):
        (tmp_path / "mine.yaml").write_text(
            "include: flava/model.yaml\n"
            f"stages: {{codes: {{include: flava/{kind}.yaml}}, image: {{include: flava/mim.yaml}}}}\n"
        )
        check_stages(load("mine.yaml"))


def test_the_metric_that_decides() -> None:
    check_stages(load("clip-tiny", ["evaluate.best=dev text_to_image median rank"]))
    assert mistakes("clip-tiny", "evaluate.best=dev R@7") == [
        "command line 'evaluate.best=dev R@7': evaluate.best: task dev has no metric 'R@7'; have: "
        "image_to_text R@1, image_to_text R@5, image_to_text R@10, image_to_text median rank, "
        "text_to_image R@1, text_to_image R@5, text_to_image R@10, text_to_image median rank, mean recall"
    ]


@pytest.mark.parametrize(
    ("recipe", "task", "lacks"),
    [
        ("clip-tiny", "{part: caption, data: shapes/dev}", "caption needs a decoder that writes captions"),
        ("clip-tiny", "{part: retrieval, data: shapes/dev, rerank: 5}", "retrieval needs a matching head"),
        ("clip-tiny", "{part: tokenizer, train: shapes/dev, test: shapes/dev}", "tokenizer needs a codebook"),
        ("clip-tiny", "{part: masked_text, data: shapes/dev}", "masked_text needs a text encoder with an MLM head"),
        ("mlm-tiny", "{part: linear_probe, train: a, test: b, label: c}", "linear_probe needs an image encoder"),
        (
            "blip/captioner-tiny",
            "{part: retrieval, data: shapes/dev}",
            "retrieval needs embeddings of images and texts",
        ),
    ],
)
def test_a_task_that_asks_for_more_than_the_model_has(recipe: str, task: str, lacks: str) -> None:
    (mistake,) = mistakes(recipe, f"evaluate.tasks={{dev: {task}}}", "evaluate.best=null")
    assert f"evaluate.tasks.dev: {lacks}" in mistake and mistake.endswith(" has none")


def test_a_task_that_writes_longer_texts_than_the_model() -> None:
    told = mistakes("blip/captioner-tiny", "evaluate.tasks={dev: {part: caption, data: shapes/dev, max_length: 65}}")
    assert len(told) == 1 and told[0].endswith("dev.max_length: 65 given, but model.text.max_length is 64")


DINO = """\
name: whole
include: [flava/model.yaml]
precision: bf16
stages:
  image: {include: flava/dino.yaml}
  joint:
    init: {image: image}
    steps: 10
    tokenizer: {vocab: bert-base-uncased/vocab.txt}
    streams: {pairs: {data: [coco], batch_size: 8, objectives: {itc: {}}}}
"""


def test_an_image_encoder_of_dino_goes_into_the_joint_stage(tmp_path: Path) -> None:
    """Its head is the objective's, so the model is the same."""
    (tmp_path / "whole.yaml").write_text(DINO)
    check_stages(load("whole.yaml"))


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (
            ["streams.photos.objectives.dino.local_size=18"],
            "streams.photos.objectives.dino: local_size: 18 given, which is no multiple of the encoder's patch 8",
        ),
        (["model.image=null"], "streams.photos.objectives.dino: does not go with the model flava (image: null, "),
    ],
)
def test_mistakes_of_dino(options: list[str], wanted: str) -> None:
    (problem,) = mistakes("dino-tiny", *options)
    assert wanted in problem


def test_a_teacher_is_shared_by_all_streams_of_a_stage_and_excludes_an_average() -> None:
    more = "streams.more={data: [cifar10/test], batch_size: 8, objectives: {dino: {local_size: 16, momentum: 0.5}}}"
    (problem,) = mistakes("dino-tiny", more)
    assert problem.endswith(
        ": streams.more.objectives.dino: shares one teacher with streams.photos.objectives.dino: give both the same "
        "momentum and result"
    )
    assert problem.startswith("command line 'streams.more=")
    same = "streams.more={data: [cifar10/test], batch_size: 8, objectives: {dino: {local_size: 16, momentum: 0.99}}}"
    assert mistakes("dino-tiny", same, "average=0.99") == [
        "command line 'average=0.99': average: the run ends with the teacher of streams.photos.objectives.dino; take "
        "one of the two out"
    ]


def test_names_that_torch_has_itself() -> None:
    """Streams and objectives are modules by their names."""
    found = mistakes(
        "clip-tiny",
        "streams.train={data: [shapes/train], batch_size: 8, objectives: {itc: {}}}",
        "streams.pairs.objectives={itc: null, values: {part: itc}}",
    )
    assert [problem.partition("': ")[2] for problem in found] == [
        "streams.pairs.objectives.values: the name 'values' is an attribute of torch's modules: take another one",
        "streams.train: the name 'train' is an attribute of torch's modules: take another one",
    ]


def test_fewer_images_than_a_batch(tmp_path: Path) -> None:
    write_dataset(tmp_path / "cifar10" / "train", harness.scenes("images"), {"kind": "stand-in"})
    (problem,) = mistakes("dino-tiny")
    wanted = "streams.photos.batch_size: 128 given, but dino takes no sample twice in a step, and cifar10/train has 24"
    assert problem.endswith(wanted)
    check_stages(load("dino-tiny", ["streams.photos.batch_size=24"]))


def test_fewer_images_than_a_data_sets_share_of_a_batch(tmp_path: Path) -> None:
    for name in ("train", "test"):
        write_dataset(tmp_path / "cifar10" / name, harness.scenes("images"), {"kind": "stand-in"})
    options = ["streams.photos.batch_size=40", "streams.photos.data={cifar10/train: 3, cifar10/test: 1}"]
    (problem,) = mistakes("dino-tiny", *options)
    assert problem.endswith("takes no sample twice in a step, and cifar10/train, with 30 of them, has 24")
    check_stages(load("dino-tiny", [options[0], "streams.photos.data=[cifar10/train, cifar10/test]"]))
