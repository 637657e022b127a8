"""Memory by ZeRO stage, traffic, times and layouts, by hand on a stage of round numbers."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.harness import DEBUG, call
from vltk.errors import VltkError
from vltk.plan import gpus, host, show
from vltk.plan.count import Comparing, Line, StageCount, StreamCount
from vltk.plan.gpus import GIB, Gpu
from vltk.plan.layouts import CONTEXT, LOST, Layout, best, counts, largest, needed, unfit
from vltk.plan.memory import BUCKET, memory, saving
from vltk.plan.pace import ADAMW, Assumptions, Measured, pace
from vltk.plan.traffic import traffic
from vltk.recipe import Checkpoints, load

NOTHING = Comparing(0, 0, 0)
GPU = Gpu(name="toy", memory=16, bf16=100, fp32=10, memory_bandwidth=1000, link=100, network=10)


def stream(**changed: Any) -> StreamCount:
    """1 MB a sample and 8 MB beside; gradients of 40 of 100 M numbers, which are not all there at the peak."""
    own = StreamCount(
        name="pairs", batch_size=1024, share=1.0, tokens=None, work={("image", "bfloat16"): 1e9}, embedding={},
        kept=Line(0, 1e6), peak=Line(8e6, 1e6), together=Line(20e6, 1e6), comparing=NOTHING, comparing_work=NOTHING,
        gathered=0, inputs=1000, active=40_000_000,
    )  # fmt: skip
    return replace(own, **changed)


def stage(*, deepspeed: dict[str, Any] | None = None, **changed: Any) -> StageCount:
    """100 M numbers, 80 M of them trained, a frozen helper and an average."""
    own = load("clip-tiny").stages["train"].model_copy(update={"deepspeed": deepspeed, "steps": 1000})
    made = StageCount(
        name="train", stage=own, components={"image": 100_000_000}, reached=80_000_000, buffers=0,
        helpers={"codes": 50_000_000}, replicas={"average": 400_000_000}, largest=("image.head", 10_000_000),
        gathers=10, streams={"pairs": stream()}, torch_only=False, has_blocks=True,
    )  # fmt: skip
    return replace(made, **changed)


@pytest.mark.parametrize(
    ("zero", "weights", "gradients", "moments", "masters", "gather", "buckets"),
    [
        (None, 400e6, 160e6, 640e6, 0, 0, 160e6),
        (0, 400e6, 160e6, 640e6, 0, 0, 160e6),
        (1, 400e6, 160e6, 160e6, 80e6, 0, 4 * BUCKET),
        (2, 400e6, 40e6, 160e6, 80e6, 0, 4 * BUCKET),
        (3, 100e6, 80e6, 160e6, 80e6, 160e6, 4 * BUCKET),
    ],
)
def test_what_each_stage_keeps_on_one_of_four(
    zero: int | None, weights: float, gradients: float, moments: float, masters: float, gather: float, buckets: float
) -> None:
    own = stage()
    found = memory(own, own.streams["pairs"], Layout(4, zero, 64))
    wanted = {
        "weights": weights, "gradients": gradients, "moments": moments, "masters": masters, "replicas": 400e6,
        "helpers": 50e6, "inputs": 256e3, "activations": 72e6, "gather": gather, "buckets": buckets,
    }  # fmt: skip
    assert dict(found.parts) == wanted
    assert found.states == weights + moments + masters + 450e6
    flat = 160e6 if zero in (None, 0) else 0
    held = 4 * BUCKET if zero in (1, 2, 3) else 0
    assert found.peak == found.states + 256e3 + held + gather + max(72e6 + gradients, gradients + flat)


def test_one_micro_batch_makes_its_gradients_while_activations_go() -> None:
    own = stage()
    whole = memory(own, own.streams["pairs"], Layout(1, None, 1024))
    assert whole.peak == whole.states + 1024e3 + 20e6 + 1024e6
    cut = memory(own, own.streams["pairs"], Layout(1, None, 512))
    assert cut.peak == cut.states + 1024e3 + 160e6 + 8e6 + 512e6


def test_offload_moves_moments_and_masters_to_the_host() -> None:
    asked = {"zero_optimization": {"stage": 2, "offload_optimizer": {"device": "cpu"}, "reduce_bucket_size": 1000}}
    own = stage(deepspeed=asked)
    found = memory(own, own.streams["pairs"], Layout(4, 2, 64))
    assert (found.parts["moments"], found.parts["masters"], found.parts["buckets"]) == (0, 0, 4000)
    assert found.offloaded == 160e6 + 80e6


def test_comparing_is_of_all_gpus_samples() -> None:
    own = stage(streams={"pairs": stream(comparing=Comparing(400, 2, 1))})
    local, whole = 256, 1024
    size = 400 * local * whole + 2 * whole + local
    once = memory(own, own.streams["pairs"], Layout(4, 2, 256)).parts["activations"]
    assert once == 256e6 + size
    huge = stage(streams={"pairs": stream(comparing=Comparing(4000, 0, 0))})
    cut = memory(huge, huge.streams["pairs"], Layout(4, 2, 64))
    assert cut.parts["activations"] == 4000 * local * whole


def test_saving_copies_weights_and_moments() -> None:
    """Each process its share of them, and of the average."""
    assert saving(stage()) == 400e6 + 640e6 + 400e6
    assert saving(stage(), gpus=4) == saving(stage()) / 4


def test_a_checkpoint_written_beside_training_adds_its_copy() -> None:
    """Written in the step, it adds what it takes more than activations and gradients did."""
    own = stage()
    waiting = own.stage.model_copy(update={"checkpoint": Checkpoints(asynchronous=False)})
    training, copy = host.steps(own, 64), saving(own)
    assert host.at_most(own, 64) == training + copy + host.ahead(own)
    states = memory(own, own.streams["pairs"], Layout(1, None, 64)).states
    assert host.at_most(replace(own, stage=waiting), 64) == max(training, states + copy) + host.ahead(own)


@pytest.mark.parametrize(
    ("zero", "gradients", "weights"),
    [(None, 240e6, 0), (1, 240e6, 240e6), (2, 960e6, 240e6), (3, 480e6, 960e6)],
)
def test_traffic_of_rings(zero: int | None, gradients: float, weights: float) -> None:
    """Of four GPUs with four micro-batches: 3/4 of 160 MB of gradients and 320 MB of weights, once or twice."""
    own = stage()
    sent = traffic(own, own.streams["pairs"], Layout(4, zero, 64))
    assert sent == {"gradients": gradients, "weights": weights, "embeddings": 0}
    assert sum(traffic(own, own.streams["pairs"], Layout(1, zero, 64)).values()) == 0


def test_embeddings_go_to_every_gpu_and_back() -> None:
    own = stage(streams={"pairs": stream(gathered=4096)})
    assert traffic(own, own.streams["pairs"], Layout(4, None, 256))["embeddings"] == 2 * 4096 * 256 * 3


def test_a_step_by_hand() -> None:
    own = stage(replicas={})
    found = pace(own, own.streams["pairs"], Layout(1, None, 256), GPU, Assumptions(mfu=0.5))
    assert found.compute == pytest.approx(1024 * 1e9 / 50e12)
    assert found.optimizer == pytest.approx(ADAMW * 40e6 / 1000e9)
    assert found.traffic == 0
    four = pace(own, own.streams["pairs"], Layout(4, None, 256), GPU, Assumptions(mfu=0.5, latency=0))
    assert four.compute == pytest.approx(found.compute / 4)
    assert four.traffic == pytest.approx(240e6 / 100e9)
    nodes = pace(own, own.streams["pairs"], Layout(16, None, 64), GPU, Assumptions(latency=1e-3))
    assert nodes.traffic == pytest.approx(2 * 160e6 * 15 / 16 / 10e9 + 4e-3)


def test_measured_times_stand_instead_of_mfu() -> None:
    own = stage(replicas={})
    assumed = Assumptions(measured={("train", "pairs"): Measured(0.01, 0.5)})
    assert pace(own, own.streams["pairs"], Layout(4, None, 256), GPU, assumed).seconds >= 0.01 * 256 + 0.5
    with pytest.raises(VltkError, match="add --calibrate"):
        pace(own, own.streams["pairs"], Layout(1, None, 256), gpus.find("cpu"), Assumptions())


def test_accumulation_embeds_twice_where_samples_are_compared() -> None:
    own = stage(streams={"pairs": stream(embedding={("image", "bfloat16"): 3e8})})
    once, cut = (pace(own, own.streams["pairs"], Layout(1, None, n), GPU, Assumptions()).compute for n in (1024, 512))
    assert cut == pytest.approx(1.3 * once)


def test_the_largest_micro_batch_just_fits() -> None:
    own = stage()
    for zero, room in ((None, 3), (2, 5.2)):
        found = largest(own, 1, zero, replace_memory(room), Assumptions())
        assert found is not None and 1 <= found.micro_batch < 1024
        assert needed(own, found, Assumptions()) <= room * GIB
        rounds = found.rounds(own.streams["pairs"])
        assert needed(own, Layout(1, zero, -(-1024 // (rounds - 1))), Assumptions()) > room * GIB
    assert largest(own, 1, None, replace_memory(2), Assumptions()) is None
    tight = memory(own, own.streams["pairs"], Layout(1, None, 1)).peak * (1 + LOST) + CONTEXT * GIB
    assert needed(own, Layout(1, None, 1), Assumptions()) == tight


def test_a_micro_batch_is_one_that_runs() -> None:
    """600 samples go in 3 parts of 200 wherever 200 to 299 fit; in groups of 75 in 4 of 150."""
    found = largest(stage(streams={"pairs": stream(batch_size=600)}), 1, None, replace_memory(2.9), Assumptions())
    assert found is not None and found.micro_batch == 200
    grouped = stage(streams={"pairs": stream(batch_size=600, group=75)})
    found = largest(grouped, 1, None, replace_memory(2.9), Assumptions())
    assert found is not None and found.micro_batch == 150
    assert best(grouped, 8, GPU, Assumptions()) is not None and best(grouped, 24, GPU, Assumptions()) is None
    said = str(unfit([grouped], 24, GPU, Assumptions()))
    assert "24 GPUs cannot share the batches of stage train equally (pairs 600 in groups of 75)" in said
    assert "with 75 samples at a time it needs" in str(unfit([grouped], 1, replace_memory(2), Assumptions()))


def replace_memory(size: float) -> Gpu:
    return GPU.model_copy(update={"memory": size})


def test_the_least_of_zero_among_equals() -> None:
    own = stage()
    chosen = best(own, 4, GPU.model_copy(update={"link": 1e6, "memory_bandwidth": 1e6}), Assumptions(latency=0))
    assert chosen is not None and chosen.layout == Layout(4, None, 256)
    slow = best(own, 4, GPU, Assumptions(latency=0))
    assert slow is not None and slow.layout.zero == 3
    assert best(own, 3, GPU, Assumptions()) is None
    assert list(counts(1000)) == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000]


def test_what_fits_nowhere_says_what_would() -> None:
    huge = stage(
        components={"image": 5_000_000_000}, reached=5_000_000_000, streams={"pairs": stream(active=5_000_000_000)}
    )
    error = unfit([huge], 2, GPU, Assumptions())
    assert error is not None
    text = str(error)
    assert "stage train fits no layout on 2 x toy" in text
    assert "stages.train.checkpoint_activations=true lowers the activations" in text
    again = huge.stage.model_copy(update={"checkpoint_activations": True})
    for other in (replace(huge, stage=again), replace(huge, has_blocks=False)):
        assert "checkpoint_activations" not in str(unfit([other], 2, GPU, Assumptions()))
    assert "the smallest that would: " in text and "which has 16" in text
    split = unfit([stage()], 3, GPU, Assumptions())
    assert split is not None and "3 GPUs cannot share the batches of stage train equally (pairs 1024)" in str(split)
    assert unfit([stage()], 4, GPU, Assumptions()) is None


def test_the_gpus_are_data() -> None:
    every = gpus.every()
    assert {"h100-80g", "h200-141g", "a100-40g", "a100-80g", "l40s", "a10", "v100-32g", "rtx4090"} == every.keys()
    assert all(gpu.source and gpu.memory_bandwidth and gpu.fp16 for gpu in every.values())
    assert every["a100-80g"].rate("convolution") == 156e12 and every["v100-32g"].rate("convolution") == 15.7e12
    with pytest.raises(VltkError, match="v100-32g has no rate for bfloat16; set precision=fp32"):
        every["v100-32g"].rate("bfloat16")
    with pytest.raises(VltkError, match="no GPU 'a100-80'; did you mean 'a100-80g'.*have: .*cpu"):
        gpus.find("a100-80")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--gpu", "a100"], "no GPU 'a100'; did you mean 'a100-40g' or 'a100-80g'?"),
        (["--gpu", "l40"], "no GPU 'l40'; did you mean 'l40s'?"),
        (["--days", "0"], "'--days'"),
        (["deepspeed={zero_optimization: {stage: 9}}"], "should be one of the numbers 0, 1, 2, 3, given 9"),
        (["deepspeed={zero_optimization: [3]}"], "deepspeed.zero_optimization: '[3]' should be a mapping"),
        (
            ["deepspeed={zero_optimization: {stage: 1, offload_param: {device: cpu}}}"],
            "deepspeed.zero_optimization.offload_param: ZeRO stage 1 has no such option",
        ),
        (["--gpu", "cpu"], "how fast this machine is has to be measured: add --calibrate"),
        (["--gpus", "3"], "3 GPUs cannot share the batches"),
        (["--tokens", "2"], "--tokens 2: a text has at least 3"),
        (["--calibrate"], "--calibrate measures this machine"),
        (["model.text.max_length=8"], "max_length"),
    ],
)
def test_mistakes(arguments: list[str], said: str, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("plan", "clip-tiny", DEBUG, *arguments) != 0
    assert said in capsys.readouterr().err


def test_tables_and_json(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import json

    assert call("plan", "flava-tiny", DEBUG, "--gpus", "2", "--days", "1000") == 0
    shown = capsys.readouterr().out
    for words in ("parameters, FLOPs a sample", "frozen codes", "largest micro_batch", "by number of GPUs", "Cheapest"):
        assert words in shown
    assert call("plan", "flava-tiny", DEBUG, "--gpus", "2", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in found["stages"]] == ["codes", "image", "text", "joint"]
    assert found["stages"][3]["memory"].keys() == {"torch", "ZeRO-1", "ZeRO-2", "ZeRO-3"}
    assert found["days"] == pytest.approx(sum(one["days"] for one in found["stages"]))
    assert [row["gpus"] for row in found["scaling"]][-1] == 1024


def test_what_to_type_is_of_the_number_it_stands_beside() -> None:
    def layouts(gpus: int, micro_batch: int, zero: int | None) -> dict[str, Any]:
        own = {"layout": "ZeRO-1", "zero": 1, "micro_batch": 64, "gpus": gpus, "fits": True}
        return {"own": own, "chosen": {"zero": zero, "micro_batch": micro_batch, "gpus": gpus}}

    assert list(show.typed(8, {"joint": layouts(8, 341, None)})) == [
        "On 8 GPUs, stage joint (ZeRO-1, micro_batch 64): for the chosen layout: micro_batch=341 deepspeed=null"
    ]
    plan = {
        "assumed": Assumptions().__dict__ | {"link_gb_s": 1, "network_gb_s": 1, "node": 8},
        "gpus": 64,
        "stages": [{"name": "joint", "saving": 0} | layouts(64, 128, 1)],
        "cheapest": {"gpus": 8, "days": 1, "gpu_hours": 192, "stages": {"joint": layouts(8, 341, 2)}},
    }
    said = [line for line in show.ending(plan) if line.startswith("On ")]
    assert [line.partition(" (")[0] for line in said] == ["On 64 GPUs, stage joint", "On 8 GPUs, stage joint"]
    assert said[0].endswith(": micro_batch=128")
    assert said[1].endswith(": micro_batch=341 deepspeed.zero_optimization.stage=2")


def test_no_number_of_the_scaling_is_cut() -> None:
    """In a pipe there are 80 columns; the layouts of four stages go on in the next line."""
    chosen = {"layout": "torch", "micro_batch": 512}
    stages = {name: {"chosen": chosen} for name in ("codes", "image", "text", "joint")}
    row = {"gpus": 1024, "days": 563.8, "gpu_hours": 13530.1, "stages": stages}
    screen = Console(width=80, file=io.StringIO())
    screen.print(show.scaling({"scaling": [row], "cheapest": None}))
    said = screen.file.getvalue()
    assert all(word in said for word in ("GPUs", "GPU-hours", "efficiency", "1024", "563.8", "13,530.1", "100%"))
    assert said.count("x512") == 4 and "\u2026" not in said


def test_short_times_are_no_zeros() -> None:
    assert [show.span(time) for time in (13530.12, 1.0, 0.52, 0.000123)] == ["13,530.1", "1.0", "0.52", "0.00012"]


def test_a_calibration_measures_this_machine(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import json

    assert call("plan", "clip-tiny", DEBUG, "--gpus", "1", "--gpu", "cpu", "--calibrate", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    [measured] = found["assumed"]["measured"].values()
    step = measured["sample"] * 4 + measured["end"]
    assert 0 < step < 10 and found["stages"][0]["step"] == pytest.approx(step)
    sizes = found["calibration"]["train"]
    assert sizes["planned"] == pytest.approx(sizes["measured"], rel=0.2)
    assert not (home / "runs").exists()
