"""Stopped in any way and at any moment, a run goes on to the weights of an unbroken one, bit for bit."""

from __future__ import annotations

import random
import re
import signal
import time
from pathlib import Path

import pytest

from tests.harness import DEBUG, Child, call, differing, facts, losses, start, weights

STAGE = "stages.joint."
OPTIONS = ["train", "flava-tiny", DEBUG, f"{STAGE}checkpoint.every=3", f"{STAGE}evaluate.every=7"]
OPTIONS += [f"{STAGE}evaluate.best=dev text_to_image R@1", f"{STAGE}model.image.dropout=0.1"]


def whole(steps: int) -> list[str]:
    """Trains `runs/whole` in one go; the command of a run of equal options, but for its name."""
    options = [*OPTIONS, f"{STAGE}steps={steps}"]
    child = Child(*options, "name=whole")
    assert child.wait() == 0, child.output.read_text()
    return options


def equals_whole(name: str) -> None:
    assert losses(f"{name}/joint") == losses("whole/joint")
    assert differing(f"{name}/joint", "whole/joint") == []
    for stage in ("codes", "image", "text", "joint"):
        assert weights(f"{name}/{stage}") == weights(f"whole/{stage}")


def logged(child: Child, name: str) -> int:
    """Steps of the joint stage that were logged so far, by all starts."""
    return (
        len(re.findall(rf"^{name}/joint \d+/", child.output.read_text(), re.MULTILINE)) if child.output.exists() else 0
    )


def until_it_trains(child: Child, name: str, steps: int = 1) -> None:
    """Returns once this process has logged so many steps of the joint stage."""
    before = logged(child, name)
    child.wait_until(lambda: logged(child, name) >= before + steps)


def killed(times: int, steps: int) -> None:
    """The first time at any moment since the start, later while the joint stage trains, evaluates or saves."""
    options = whole(steps)
    chance = random.Random(times)
    for number in range(times):
        child = Child(*options, "name=killed", pause=0.02)
        if number:
            until_it_trains(child, "killed", steps=chance.randint(4, 9))
        time.sleep(chance.uniform(0, 0.04 if number else 1.0))
        child.send(signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
    child = Child(*options, "name=killed")
    assert child.wait() == 0, child.output.read_text()
    assert "going on from step" in child.output.read_text()
    equals_whole("killed")


def test_kill_9_at_three_random_moments(home: Path) -> None:
    killed(3, steps=40)


@pytest.mark.slow
def test_kill_9_at_ten_random_moments(home: Path) -> None:
    killed(10, steps=120)


@pytest.mark.slow
def test_kill_9_between_two_stages_and_inside_one(home: Path) -> None:
    """Finished stages are skipped, the broken one goes on from its checkpoint."""
    options = [*OPTIONS, f"{STAGE}steps=4", "stages.text.steps=9"]
    assert Child(*options, "name=whole").wait() == 0
    text = Path("runs/killed/text")
    for happened in (
        lambda: Path("runs/killed/image/model.safetensors").exists() and facts("killed/image")["status"] == "finished",
        lambda: (text / "checkpoints/step-00000003").exists(),
    ):
        child = Child(*options, "name=killed", pause=0.05)
        child.wait_until(happened)
        child.send(signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
    assert facts("killed/text")["status"] != "finished"
    child = Child(*options, "name=killed")
    assert child.wait() == 0
    said = child.output.read_text().rpartition("codes: finished before, nothing to do")[2]
    assert "image: finished before, nothing to do" in said and "text: finished before" not in said
    assert re.search(r"going on from step \d+ \(runs/killed/text/", said)
    equals_whole("killed")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["Ctrl-C", "SIGTERM"])
def test_asked_to_stop_it_saves(number: int, code: int, home: Path) -> None:
    options = whole(steps=20)
    child = Child(*options, "name=asked", pause=0.05)
    until_it_trains(child, "asked")
    child.send(number)
    assert child.wait() == code, child.output.read_text()
    assert "stopped and saved; the same command goes on from here" in child.output.read_text()
    assert "Traceback" not in child.output.read_text()
    last = losses("asked/joint")[-1][0]
    assert last < 20
    assert (facts("asked/joint")["status"], facts("asked/joint")["step"]) == ("stopped", last)
    assert (home / f"runs/asked/joint/checkpoints/step-{last:08d}/state.json").exists()
    assert Child(*options, "name=asked").wait() == 0
    equals_whole("asked")


def test_a_second_ctrl_c_does_not_wait(home: Path) -> None:
    child = Child(*OPTIONS, "name=hasty", f"{STAGE}steps=20", pause=30)
    child.wait_until(lambda: (home / "runs/hasty/codes/metrics.jsonl").exists())
    child.send(signal.SIGINT)
    time.sleep(1.0)  # two signals at once would be one
    child.send(signal.SIGINT)
    assert child.wait(10) == 130, child.output.read_text()


def test_two_processes_stop_together(home: Path) -> None:
    """SIGTERM to the process that started them, as a scheduler sends it."""
    options = ["clip-tiny", DEBUG, "steps=2000", "checkpoint.every=2000", "--gpus", "2"]
    process = start("train", *options)
    deadline = time.monotonic() + 60
    while not losses("clip-tiny/train") and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 143 and "Traceback" not in said, said
    last = losses("clip-tiny/train")[-1][0]
    assert (facts("clip-tiny/train")["status"], facts("clip-tiny/train")["step"]) == ("stopped", last)
    assert last < 2000 and (home / f"runs/clip-tiny/train/checkpoints/step-{last:08d}").exists()


@pytest.mark.parametrize(("number", "codes"), [(signal.SIGINT, {130}), (signal.SIGTERM, {143, -15})], ids=str)
def test_stopped_before_it_trains(number: int, codes: set[int], home: Path) -> None:
    """While it still imports torch there is nothing to save, but no traceback either."""
    process = start(*OPTIONS, "name=early")
    while "libtorch" not in Path(f"/proc/{process.pid}/maps").read_text():
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(number)
    _, said = process.communicate(timeout=30)
    assert process.returncode in codes and "Traceback" not in said


def test_a_folder_in_use_is_refused(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = whole(steps=20)
    child = Child(*options, "name=busy", pause=0.1)
    until_it_trains(child, "busy")
    assert call(*options, "name=busy") == 1
    said = capsys.readouterr().err
    assert f"runs/busy/joint is in use by process {child.process.pid}; wait for it" in said and "name=OTHER" in said
    assert child.wait() == 0
    equals_whole("busy")
    assert call(*options, "name=busy") == 0
    assert "joint: finished before, nothing to do" in capsys.readouterr().out
