"""What is counted of shapes alone: parameters and FLOPs against closed formulas, and memory as it grows."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from tests.harness import DEBUG, RECIPES, ROOT
from vltk.models.layers import Block
from vltk.plan.count import PROBES, SIZES, Comparing, Line, StageCount, count
from vltk.plan.make import Wishes, counted, plan
from vltk.plan.stage import How
from vltk.plan.trace import Trace
from vltk.plan.values import Values
from vltk.recipe import load

WIDTH, HEADS, MLP, TOKENS, BATCH = 96, 4, 384, 50, 3


@pytest.fixture(scope="module")
def joint() -> StageCount:
    """FLAVA's joint stage at the paper's size."""
    recipe = load("flava", ["stages.image=null", "stages.text=null", "stages.joint.init=null"])
    return list(count(recipe, How()))[-1]


def test_a_block_costs_what_the_formula_says() -> None:
    """Forward N (4 D^2 + 2 D M) + 2 N^2 D multiplications a sample, backward twice that; two FLOPs each."""
    with FakeTensorMode():
        block, x = Block(WIDTH, HEADS, MLP, 1e-6, "gelu", 0.0), torch.empty(BATCH, TOKENS, WIDTH, requires_grad=True)
        names = {part: name for name, part in block.named_modules() if name}
        with Trace(names, Values(), block.named_parameters()) as trace:
            block(x).sum().backward()
    products = TOKENS * (4 * WIDTH**2 + 2 * WIDTH * MLP) + 2 * TOKENS**2 * WIDTH
    assert sum(trace.work.values()) == 3 * 2 * BATCH * products
    of = {name: sum(flops for (owner, _), flops in trace.work.items() if owner == name) for name in names.values()}
    assert of["mlp.0"] == of["mlp.2"] == 3 * 2 * BATCH * TOKENS * WIDTH * MLP
    assert of["attention.qkv"] == 3 * of["attention.out"] == 3 * 3 * 2 * BATCH * TOKENS * WIDTH**2
    assert of["attention"] == 3 * 2 * BATCH * 2 * TOKENS**2 * WIDTH
    assert trace.reached == {name for name, _ in block.named_parameters()}
    assert trace.gradients == 4 * sum(parameter.numel() for parameter in block.parameters())


def test_bytes_are_counted_while_they_live() -> None:
    with FakeTensorMode(), Trace({}, Values()) as trace:
        kept = torch.empty(100)
        (torch.empty(1000) + 1).sum()
        assert trace.alive == 4 * 100
        view = kept[:10]
        del kept
        assert trace.alive == 4 * 100
        del view
        assert trace.alive == 0
    assert trace.peak >= 4 * (100 + 2 * 1000)


def test_masks_decide_how_many_rows_run() -> None:
    mask = torch.tensor([[True, False, True], [False, False, True]])
    values = Values()
    with FakeTensorMode():
        shapes, hidden = torch.empty(2, 3, dtype=torch.bool), torch.empty(2, 3, 8)
        values.know(shapes, mask)
        with Trace({}, values):
            assert hidden[shapes].shape == (3, 8)
            assert int((~shapes).sum(1).max()) == 2
            assert hidden[torch.cat([shapes, shapes], 1)[:, 3:]].shape == (3, 8)


def test_flavas_parameters(joint: StageCount) -> None:
    """transformers' FlavaForPreTraining without its codebook and its three poolers; fusion has the two projections."""
    pooler = 590_592
    assert joint.components == {
        "logit_scale": 1,
        "image": 86_390_016 - pooler,
        "text": 109_483_776 - pooler,
        "fusion": 43_120_128 - pooler + 2 * pooler,
        "image_projection": 590_592,
        "text_projection": 590_592,
        "heads.mim": 6_891_776,
        "heads.mlm": 24_063_546,
        "heads.mmm_image": 6_891_776,
        "heads.mmm_text": 24_063_546,
        "heads.itm": 592_130,
    }
    assert joint.parameters == joint.reached == 303_859_063 - 3 * pooler
    assert joint.largest == ("model.heads.mlm.decoder", 30522 * 769)


@pytest.mark.parametrize(("stream", "products"), [("image", 54.2e9), ("text", 150.5e9), ("pairs", 184.7e9)])
def test_flavas_flops(joint: StageCount, stream: str, products: float) -> None:
    """Multiplications of what the losses need, from the shapes; the last blocks run only at rows that are read."""
    work = joint.streams[stream].work
    own = sum(flops for (part, _), flops in work.items() if not part.startswith("frozen")) / 2
    assert 0.92 * products < own < products
    codes = sum(flops for (part, _), flops in work.items() if part == "frozen codes") / 2
    assert codes == (0 if stream == "text" else pytest.approx(26.06e9, rel=1e-3))


def test_the_tokenizers_codes_are_convolutions_in_fp32(joint: StageCount) -> None:
    assert {kind for (part, kind) in joint.streams["image"].work if part == "frozen codes"} == {"convolution"}
    assert {kind for (part, kind) in joint.streams["image"].work if part == "image"} == {"bfloat16"}


def test_lines_and_comparisons_are_read_off_exactly() -> None:
    line = Line.through(*(7 + 3 * size for size in SIZES))
    assert (line.fixed, line.each, line.at(100)) == (7, 3, 307)
    known = Comparing(pair=2, every=5, own=11)
    read = Comparing.through([known.at(*probe) for probe in PROBES])
    assert (read.pair, read.every, read.own) == pytest.approx((2, 5, 11))
    assert known.at(4, 3) == 2 * 4 * 12 + 5 * 12 + 11 * 4


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_can_be_planned(name: str, home: Path) -> None:
    """Cut down to toy size; its parameters are those of the models themselves."""
    recipe = load(name, [DEBUG])
    grouped = any(stream.group > 1 for stage in recipe.stages.values() for stream in stage.streams.values())
    found = plan(recipe, Wishes(gpus=1 if grouped else 2))  # 4 samples in a group are for one GPU
    for stage in found["stages"]:
        model = recipe.stages[stage["name"]].model.build()
        own = {part: n for part, n in stage["parameters"].items() if not part.startswith("objective")}
        assert sum(own.values()) == sum(parameter.numel() for parameter in model.parameters())
        assert stage["days"] > 0 and all(stream["flops"] > 0 for stream in stage["streams"].values())
    possible = [row["gpu_hours"] for row in found["scaling"] if row["days"] is not None]
    assert min(possible) <= found["cheapest"]["gpu_hours"] <= 1.02 * min(possible)


def test_a_teacher_and_an_average_are_replicas(home: Path) -> None:
    [dino] = counted(load("dino-tiny", [DEBUG]), How())
    assert dino.replicas["teacher"] >= 4 * dino.parameters
    assert any(part == "teacher" for part, _ in dino.streams["photos"].work)
    averaged = counted(load("flava-flickr8k", [DEBUG]), How())[-1]
    assert averaged.replicas.keys() == {"average"} and averaged.replicas["average"] >= 4 * averaged.parameters


def test_checkpointing_keeps_less_and_computes_more(home: Path) -> None:
    wide = [DEBUG, "model.image.depth=6", "model.image.width=64", "model.image.heads=4"]
    ways = [wide, [*wide, "checkpoint_activations=true"]]
    [plain], [again] = (counted(load("clip-tiny", way), How()) for way in ways)
    kept, less = (stage.streams["pairs"] for stage in (plain, again))
    assert less.kept.each < 0.5 * kept.kept.each
    assert 1.2 * kept.flops < less.flops < 4 / 3 * kept.flops + 1


def test_fused_attention_keeps_no_scores(home: Path) -> None:
    [plain], [fused] = (
        counted(load("clip-tiny", [DEBUG, "image.size=96", "model.image.image_size=96"]), How(fused=on))
        for on in (False, True)
    )
    assert fused.streams["pairs"].flops == plain.streams["pairs"].flops
    assert fused.streams["pairs"].kept.each < plain.streams["pairs"].kept.each


def test_shorter_texts_cost_less(home: Path) -> None:
    recipe = load("clip-tiny", [DEBUG])
    [long], [short] = counted(recipe, How()), counted(recipe, How(), tokens=8)
    assert (long.streams["pairs"].tokens, short.streams["pairs"].tokens) == (16, 8)
    assert short.streams["pairs"].flops < long.streams["pairs"].flops


@pytest.mark.slow
def test_the_papers_size_is_planned_without_memory(tmp_path: Path) -> None:
    """Its weights alone would be 1.1 GiB, four times that in training."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "vltk", "plan", "flava", "--gpus", "64"], cwd=tmp_path, env=environment,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = status
    assert status == 0
    assert usage.ru_maxrss < 1.2 * 2**20
    assert usage.ru_utime < 30
