"""The recipes under the other engine and in two processes: the losses of one plain process."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.harness import DEBUG, Child, call, facts, losses, rows, vltk_process
from vltk.run import RunFolder


def near(found: str, wanted: str) -> None:
    """The same steps, streams and losses, up to rounding."""
    assert len(losses(found)) == len(losses(wanted)) > 0
    for one, other in zip(losses(found), losses(wanted), strict=True):
        assert one[:2] == other[:2]
        assert one[2] == pytest.approx(other[2], rel=1e-4)


@pytest.mark.parametrize("zero", [1, 2])
def test_flava_under_deepspeed(zero: int, home: Path) -> None:
    """The joint stage as it is shipped, and one ZeRO stage lower; then the run goes on without DeepSpeed."""
    options = ["train", "flava", DEBUG, "stages.joint.steps=4"]
    assert call(*options, "name=plain") == 0
    child = Child(*options, "name=zero", f"stages.joint.deepspeed={{zero_optimization: {{stage: {zero}}}}}")
    assert child.wait(120) == 0, child.output.read_text()
    near("zero/joint", "plain/joint")
    assert facts("zero/joint")["status"] == "finished"


def test_checkpoints_pass_from_one_engine_to_the_other(home: Path) -> None:
    options = ["stages.joint.steps=4", "stages.joint.checkpoint.every=2"]
    assert call("train", "flava", DEBUG, *options, "name=plain") == 0
    shutil.copytree("runs/plain", "runs/moved")
    stage = Path("runs/moved/joint")
    shutil.rmtree(stage / "checkpoints" / "step-00000004")
    (stage / "model.safetensors").unlink()
    (stage / "run.json").write_text((stage / "run.json").read_text().replace('"finished"', '"running"'))
    child = Child(
        "train", "flava", DEBUG, *options, "name=moved", "stages.joint.deepspeed={zero_optimization: {stage: 2}}"
    )
    assert child.wait(120) == 0, child.output.read_text()
    assert "going on from step 2" in child.output.read_text()
    near("moved/joint", "plain/joint")


def test_weights_of_a_run_whose_checkpoints_are_in_parts(home: Path) -> None:
    """Two ranks of ZeRO-3 wrote them; one process without DeepSpeed exports them, whole."""
    options = ["clip-tiny", DEBUG, "steps=2"]
    assert call("train", *options, "name=plain") == 0
    done = vltk_process(
        "train", *options, "name=parts", "deepspeed={zero_optimization: {stage: 3}}", "--gpus", "2", timeout=180
    )
    assert done.returncode == 0, done.stderr
    near("parts/train", "plain/train")
    folder = Path("runs/parts/train/checkpoints/step-00000001")
    assert sorted(path.name for path in folder.iterdir()) == [
        "rank-00000.safetensors", "rank-00001.safetensors", "state.json"
    ]  # fmt: skip
    for run in ("plain", "parts"):
        assert call("export", "weights", f"{run}@1", f"{run}-weights") == 0
    exported, wanted = (load_file(f"{run}-weights/model.safetensors") for run in ("parts", "plain"))
    assert exported.keys() == wanted.keys()
    for name, tensor in wanted.items():
        torch.testing.assert_close(exported[name], tensor, rtol=1e-3, atol=1e-4, msg=name)
    with (folder / "rank-00001.safetensors").open("r+b") as file:
        file.truncate(100)
    assert call("export", "weights", "parts@1", "damaged") == 1 and not Path("damaged").exists()
    assert call("export", "weights", "parts") == 0 and Path("parts-train-2-weights/model.safetensors").exists()


def test_micro_batches(home: Path) -> None:
    """A step in parts has the losses of the whole one; the tokenizer, whose noise is a matter of the part, is whole."""
    options = ["train", "flava-tiny", DEBUG, "stages.joint.steps=8"]
    assert call(*options, "name=whole") == 0
    assert call(*options, "name=cut", "stages.joint.micro_batch=1") == 0
    near("cut/joint", "whole/joint")


def test_two_processes(home: Path) -> None:
    """`--gpus 2` on a CPU starts two processes joined by gloo. Gumbel noise is a matter of the rank: the tokenizer is
    taken from the run of one process, so that both see the same codes."""
    options = ["flava-tiny", DEBUG, "stages.joint.steps=8"]
    assert call("train", *options, "name=one") == 0
    shutil.copytree("runs/one/codes", "runs/two/codes")
    done = vltk_process("train", *options, "name=two", "--gpus", "2")
    assert done.returncode == 0, done.stderr
    assert "codes: finished before" in done.stdout and done.stdout.count("two/joint 8/8") == 1
    for stage in ("image", "text", "joint"):
        near(f"two/{stage}", f"one/{stage}")
    evaluated = [
        [(row["metric"], row["value"]) for row in rows(f"{run}/joint", "results.jsonl")] for run in ("one", "two")
    ]
    assert [metric for metric, _ in evaluated[0]] == [metric for metric, _ in evaluated[1]]


def test_a_mistake_in_two_processes_ends_both(home: Path) -> None:
    """Both would wait for each other for ten minutes if one of them stayed."""
    assert call("train", "clip-tiny", DEBUG, "name=two") == 0
    done = vltk_process("train", "clip-tiny", DEBUG, "name=two", "seed=1", "--gpus", "2", timeout=60)
    assert done.returncode == 2, done.stderr
    assert "seed: was 0, is 1" in done.stderr and "Traceback" not in done.stderr


def test_parts_that_do_not_fit_end_both(home: Path) -> None:
    """Said once, by the first; the launcher would end it if the other left before."""
    mistake = "streams.pairs.objectives.itm={}"
    done = vltk_process("train", "clip-tiny", DEBUG, "name=two", mistake, "--gpus", "2", timeout=60)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("objectives.itm: cannot be computed with the model clip") == 1
    assert "Traceback" not in done.stderr and not (home / "runs").exists()


def test_what_only_the_first_process_sees_ends_both(home: Path) -> None:
    with RunFolder(Path("runs/two/train")).locked():
        done = vltk_process("train", "clip-tiny", DEBUG, "name=two", "--gpus", "2", timeout=60)
    assert done.returncode == 1, done.stderr
    assert done.stderr.count("runs/two/train is in use by process") == 1 and "Traceback" not in done.stderr
