"""Every shipped recipe loads, runs two steps of each stage at toy size, and resumes bit for bit."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.harness import DEBUG, RECIPES, call, differing, facts, losses, rows, saved, stages_of, weights
from vltk.checkpoint import Saved
from vltk.recipe import load as load_recipe
from vltk.recipe_files import shipped
from vltk.run import load
from vltk.train.signals import Signals

FILES = {"recipe.yaml", "run.json", "metrics.jsonl", "model.safetensors", "checkpoints"}


@pytest.fixture
def stopping(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[bool], None]]:
    """Says whether training is to stop after each step, as Ctrl-C would make it."""

    def switch(on: bool) -> None:
        monkeypatch.setattr(Signals, "asked", (lambda self: signal.SIGINT) if on else (lambda self: 0))

    yield switch


def test_the_shipped_recipes() -> None:
    assert RECIPES == [
        "albef",
        "albef-tiny",
        "blip",
        "blip-flickr8k",
        "blip-tiny",
        "clip",
        "clip-tiny",
        "dino-tiny",
        "dvae-flickr8k",
        "flava",
        "flava-flickr8k",
        "flava-small",
        "flava-tiny",
        "mim-tiny",
        "mlm-tiny",
        "vqkd-tiny",
    ]


@pytest.mark.parametrize("name", RECIPES)
def test_it_has_no_mistakes(name: str, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("recipe", "check", name) == 0
    assert "no mistakes; stages: " in capsys.readouterr().out


def test_every_ramp_ends_before_its_stage() -> None:
    """Of `alpha`, the teacher's share; what includes a longer recipe has its ramp too."""
    filters = [f"blip/{path.stem}" for path in (shipped() / "blip").glob("filter*.yaml")]
    ramps = {
        name: (part.alpha_steps, stage.steps)
        for name in (*RECIPES, *filters)
        for stage in load_recipe(name).stages.values()
        for stream in stage.streams.values()
        for part in stream.objectives.values()
        if hasattr(part, "alpha_steps")
    }
    assert {"albef", "blip", "blip/filter", "blip/filter-tiny", "blip/filter-flickr8k"} <= ramps.keys()
    assert {name: ramp for name, ramp in ramps.items() if ramp[0] > ramp[1] / 3} == {}


@pytest.mark.parametrize("name", RECIPES)
def test_two_steps_and_a_resumed_run_equals_an_unbroken_one(
    name: str, home: Path, stopping: Callable[[bool], None]
) -> None:
    assert call("train", name, DEBUG, "name=whole") == 0
    stages = stages_of("whole")
    for stage in stages:
        folder = Path("runs") / stage
        wanted = FILES | ({"vocab.txt"} if load(stage).tokenizer else set())
        assert wanted <= {path.name for path in folder.iterdir()}
        assert facts(stage)["status"] == "finished"
        assert {path.name for path in (folder / "checkpoints").iterdir()} == {"step-00000001", "step-00000002"}
        assert [row["step"] for row in rows(stage)] == [1, 2]
        assert load(stage).step == 2
    assert (home / "runs" / "whole" / "report.html").stat().st_size > 10_000

    stopping(True)  # after every step, the last one included; the same command goes on
    ends = [
        call("train", name, DEBUG, "name=broken", "loader.threads=3", "loader.prefetch=5")
        for _ in range(2 * len(stages))
    ]
    assert set(ends) == {130}
    assert call("train", name, DEBUG, "name=broken") == 0
    for stage in stages:
        broken = stage.replace("whole", "broken")
        assert losses(broken) == losses(stage)
        assert differing(broken, stage) == [] and weights(broken) == weights(stage)


def test_all_streams_of_a_joint_stage_resume(home: Path, stopping: Callable[[bool], None]) -> None:
    """Nine steps meet pairs, text and images; dropout draws its noise anew; the best weights are kept by a metric."""
    longer = [
        DEBUG,
        "stages.joint.streams.contrast=null",
        "stages.joint.steps=9",
        "stages.joint.checkpoint.every=4",
        "stages.joint.evaluate.every=3",
    ]
    longer += ["stages.joint.model.image.dropout=0.2", "stages.joint.evaluate.best=dev text_to_image R@1"]
    assert call("train", "flava-tiny", *longer, "name=whole") == 0
    assert {row["stream"] for row in rows("whole/joint")} == {"pairs", "text", "image"}
    stopping(True)
    while call("train", "flava-tiny", *longer, "name=broken") == 130:
        assert len(losses("broken/joint")) < 10
    assert losses("broken/joint") == losses("whole/joint")
    assert differing("broken/joint", "whole/joint") == [] and weights("broken/joint") == weights("whole/joint")
    timeless = [
        [{**row, "seconds": 0, "run": ""} for row in rows(f"{run}/joint", "results.jsonl")]
        for run in ("whole", "broken")
    ]
    assert timeless[0] == timeless[1] and {row["step"] for row in timeless[0]} == {3, 6, 9}
    assert facts("broken/joint")["weights_step"] == facts("whole/joint")["weights_step"]


@pytest.mark.parametrize("threads", [1, 3])
def test_loader_threads_leave_the_result_alone(threads: int, home: Path) -> None:
    options = [DEBUG, "steps=3", "streams.pairs.batch_size=16"]
    assert call("train", "clip-tiny", *options, "name=plain", "loader.threads=2") == 0
    assert call("train", "clip-tiny", *options, "name=other", f"loader.threads={threads}") == 0
    assert losses("plain/train") == losses("other/train")
    assert weights("plain/train") == weights("other/train")


def test_a_vocabulary_may_be_smaller_than_the_model_allows(home: Path) -> None:
    """As `vltk data vocab` makes where the texts have too few words: the model predicts ids that are no token."""
    options = ["stages.codes=null", "stages.image=null", "stages.joint=null", "stages.text.model.text.vocab=30522"]
    assert call("train", "flava-tiny", DEBUG, "name=small", *options) == 0
    assert facts("small/text")["status"] == "finished"


def test_the_fine_tunings_of_blip(home: Path, stopping: Callable[[bool], None]) -> None:
    """Both from runs/blip, at another size of images; each holds its half of the text model alone; both resume."""
    assert call("train", "blip", DEBUG, "name=blip") == 0
    before = load_file(home / "runs/blip/train/model.safetensors")
    for name, other in (("captioner", "encoder"), ("filter", "decoder")):
        options = [DEBUG, "image.size=48", "model.image.image_size=48"]
        assert call("train", f"blip/{name}", *options, "name=whole") == 0
        tuned = load_file(home / "runs/whole/train/model.safetensors")
        assert {key.split(".")[1] for key in tuned if key.startswith("text.")} == {"shared", "encoder", "decoder"} - {
            other
        }
        assert {key for key in tuned if key not in before} == set()
        begun = rows("whole/train")[0]
        assert set(begun["losses"]) == ({"lm"} if name == "captioner" else {"itc", "itm"})
        found = json.loads((home / "runs/whole/train/init.json").read_text())
        assert found["random"] == [] and found["parts"]["image"]["resized"]
        stopping(True)
        while call("train", f"blip/{name}", *options, "name=broken") == 130:
            assert len(losses("broken/train")) < 3
        stopping(False)
        assert losses("broken/train") == losses("whole/train") and weights("broken/train") == weights("whole/train")
        for run in ("whole", "broken"):
            shutil.rmtree(home / "runs" / run)


@pytest.mark.parametrize(("micro_batch", "world"), [("50", "1"), ("75", "16")])
def test_a_split_that_cuts_groups_is_refused(
    micro_batch: str, world: str, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything trains, in the processes that share it too."""
    monkeypatch.setenv("WORLD_SIZE", world)
    given = ["recipe", "check", "blip", f"micro_batch={micro_batch}"]
    if world == "16":
        given.append("streams.pairs.batch_size=1600")
    assert call(*given) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "the view 'peers' wants groups of 75" in said and "set micro_batch to a multiple of 75" in said
    assert call("recipe", "check", "blip", "micro_batch=150", "streams.pairs.batch_size=2400") == 0


def test_the_queue_is_part_of_a_checkpoint(home: Path) -> None:
    given = ["name=queued", "streams.contrast=null", "streams.pairs.objectives.itc_momentum.queue=6"]
    assert call("train", "blip-tiny", DEBUG, *given) == 0
    held = [saved(home / f"runs/queued/train/checkpoints/step-{step:08d}") for step in (1, 2)]
    queue, ids, at = (f"objectives.pairs.itc_momentum.{name}" for name in ("image_queue", "queue_ids", "queue_at"))
    assert [int(state["weights"][at]) for state in held] == [4, 2]
    assert [int((state["weights"][ids] < 0).sum()) for state in held] == [2, 0]
    assert held[0]["weights"][queue][2:4].equal(held[1]["weights"][queue][2:4])
    assert not held[0]["weights"][queue][:2].equal(held[1]["weights"][queue][:2])
    assert not any("queue" in name for name in held[0]["teacher"])
    assert not any("queue" in name for name in load_file(home / "runs/queued/train/model.safetensors"))


DINO = """\
name: whole
include: [flava/model.yaml]
tokenizer: {vocab: bert-base-uncased/vocab.txt, max_length: 16}
stages:
  image: {include: flava/dino.yaml}
  joint:
    init: {image: image}
    steps: 2
    streams: {pairs: {data: [coco], batch_size: 4, objectives: {itc: {}}}}
"""


def test_dino_in_place_of_mim(home: Path, stopping: Callable[[bool], None], capsys: pytest.CaptureFixture[str]) -> None:
    """The stage of full size cut down: it ends with the teacher's encoder, which joint takes; and it resumes."""
    (home / "whole.yaml").write_text(DINO)
    longer = [DEBUG, "stages.image.steps=3", "stages.image.streams.photos.objectives.dino.freeze_last=1"]
    assert call("train", "whole.yaml", *longer) == 0
    assert "image: " in capsys.readouterr().out
    state, facts_ = saved(place := home / "runs/whole/image/checkpoints/step-00000003"), Saved(place).facts
    final = load_file(home / "runs/whole/image/model.safetensors")
    assert facts_["result"] == "teacher" and final and not any("head.mlp" in name for name in final)
    assert all(tensor.equal(state["teacher"][f"model.{name}"]) for name, tensor in final.items())
    assert any(not tensor.equal(state["weights"][f"model.{name}"]) for name, tensor in final.items())
    assert "objectives.photos.dino.centre" in state["weights"]
    row = rows("whole/image")[-1]
    assert {"teacher_entropy", "teacher_student_kl", "mean_target_entropy"} <= set(row["metrics"])
    stopping(True)
    while call("train", "whole.yaml", *longer, "name=broken") == 130:
        assert len(losses("broken/image")) < 4
    for stage in ("image", "joint"):
        assert losses(f"broken/{stage}") == losses(f"whole/{stage}")
        assert weights(f"broken/{stage}") == weights(f"whole/{stage}")


def test_the_student_may_end_the_run(home: Path) -> None:
    options = [DEBUG, "streams.photos.objectives.dino.result=student"]
    assert call("train", "dino-tiny", *options, "name=student") == 0
    state = saved(home / "runs/student/train/checkpoints/step-00000002")
    final = load_file(home / "runs/student/train/model.safetensors")
    assert all(tensor.equal(state["weights"][f"model.{name}"]) for name, tensor in final.items())
    assert set(state) == {"weights", "exp_avg", "exp_avg_sq", "steps", "teacher"}
