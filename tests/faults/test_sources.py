"""What stages start from: runs that are not there, not finished, or taken at an earlier step; runs that are moved."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tests.harness import DEBUG, TOY, call, facts, saved
from vltk.run import RunFolder, load

OTHER = ["train", "toy.yaml", DEBUG, "name=other", "stages.first=null"]


@pytest.fixture
def toy(home: Path) -> Path:
    (home / "toy.yaml").write_text(TOY)
    return home


def test_a_run_that_is_not_there(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Said before the first stage trains."""
    assert call("train", "toy.yaml", DEBUG, "stages.second.init.image=runs/none/first") == 3
    assert "no run 'runs/none/first' here" in capsys.readouterr().err
    assert not (toy / "runs").exists()


def test_a_run_that_is_not_finished(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Refused, unless one of its checkpoints is named; which one belongs to what the new run is."""
    assert call("train", "toy.yaml", DEBUG, "stages.second=null") == 0
    RunFolder(Path("runs/toy/first")).note(status="stopped")
    assert call(*OTHER, "stages.second.init.image=runs/toy/first") == 2
    assert "runs/toy/first is not finished" in capsys.readouterr().err
    assert call(*OTHER, "stages.second.init.image=runs/toy/first@7") == 2
    assert "init.image: toy/first has no checkpoint of step 7; have: step-00000001" in capsys.readouterr().err
    assert call(*OTHER, "stages.second.init.image=runs/toy/first@1") == 0
    assert call(*OTHER, "stages.second.init.image=runs/toy/first@2") == 2
    assert "init.image: was runs/toy/first@1, is runs/toy/first@2" in capsys.readouterr().err


def test_an_earlier_step_of_an_earlier_stage(home: Path) -> None:
    """Its checkpoint is written and kept, whatever `checkpoint` says, and it is what the next stage starts from."""
    options = ["stages.text=null", "stages.joint=null", "stages.image.frozen.codes=codes@1"]
    assert call("train", "flava-tiny", DEBUG, *options, "stages.codes.steps=5", "checkpoint={every: 2, keep: 1}") == 0
    kept = {path.name for path in Path("runs/flava-tiny/codes/checkpoints").iterdir()}
    assert kept == {"step-00000001", "step-00000005"}
    assert facts("flava-tiny/image")["frozen"] == {"codes": "../codes@1"}
    early = saved(Path("runs/flava-tiny/codes/checkpoints/step-00000001"))["weights"]
    Path("runs").rename("elsewhere")  # a run may be moved with its stages
    helper = load("elsewhere/flava-tiny/image").helpers["codes"].state_dict()
    assert len(helper) > 10 and all(tensor.equal(early[f"model.{name}"]) for name, tensor in helper.items())


def test_a_run_of_an_older_vltk_goes_on(toy: Path) -> None:
    """Keys that came later have their default in it, and are no change of its recipe."""
    assert call("train", "toy.yaml", DEBUG, "stages.second=null") == 0
    folder = Path("runs/toy/first")
    facts, said = json.loads((folder / "run.json").read_text()), yaml.safe_load((folder / "recipe.yaml").read_text())
    for tree in (facts["identity"]["recipe"], said):
        del tree["average"], tree["model"]["image"]["drop_path"]
    (folder / "run.json").write_text(json.dumps(facts))
    (folder / "recipe.yaml").write_text(yaml.safe_dump(said))
    assert call("train", "toy.yaml", DEBUG, "stages.second=null") == 0
    assert call("train", "toy.yaml", DEBUG, "stages.second=null", "average=0.9") == 2
