"""The run folder: how runs are named, and how they name their helpers."""

from __future__ import annotations

from pathlib import Path

import pytest

from vltk.errors import Missing, VltkError
from vltk.run import RunFolder, existing, find, helper_folders, helper_spec, split_step


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def made(path: str) -> RunFolder:
    folder = RunFolder(Path(path))
    folder.path.mkdir(parents=True)
    folder.recipe.touch()
    return folder


@pytest.mark.parametrize(
    ("spec", "text", "step"),
    [
        ("flava", "flava", None),
        ("flava/joint@100", "flava/joint", 100),
        ("/data/me@lab/runs/flava", "/data/me@lab/runs/flava", None),
        ("/data/me@5/runs/flava", "/data/me@5/runs/flava", None),
        ("/data/me@lab/runs/flava@7", "/data/me@lab/runs/flava", 7),
    ],
)
def test_a_step_stands_behind_the_last_name(spec: str, text: str, step: int | None) -> None:
    assert split_step(spec) == (text, step)


def test_runs_are_found_with_and_without_a_step() -> None:
    made("runs/toy/joint")
    made("me@lab/toy")
    assert find("toy@12") == RunFolder(Path("runs/toy/joint"), 12)
    assert find("me@lab/toy") == RunFolder(Path("me@lab/toy"))
    with pytest.raises(VltkError, match="what follows @ is a step, a number; given: last"):
        find("toy@last")
    with pytest.raises(Missing, match="no run 'none' here; have: toy"):
        find("none@3")


def test_helpers_of_one_run_move_with_it(home: Path) -> None:
    joint, codes, far = made("runs/toy/joint"), made("runs/toy/codes"), made("elsewhere/codes")
    near = RunFolder(codes.path, 30)
    frozen = {"codes": helper_spec(joint, near), "teacher": helper_spec(joint, far)}
    assert frozen == {"codes": "../codes@30", "teacher": str(home / "elsewhere/codes")}
    joint.note(frozen=frozen)
    joint.note(home=str(joint.path.resolve()))
    assert helper_folders(RunFolder(joint.path.rename("copied")))["codes"].path == home / "runs/toy/codes"
    Path("copied").rename("runs/toy/joint")
    Path("runs/toy").rename("moved")
    found = helper_folders(RunFolder(Path("moved/joint")))
    assert found == {"codes": RunFolder(Path("moved/codes"), 30), "teacher": RunFolder(home / "elsewhere/codes")}


def test_a_folder_in_use_is_seen() -> None:
    folder = made("toy")
    assert not folder.in_use()
    with folder.locked():
        assert folder.in_use()
    assert not folder.in_use()


def test_runs_of_a_sweep_are_named(home: Path) -> None:
    made("runs/toy/joint")
    own = made("runs/starts/plain-0/first")
    link = home / "runs/starts/fresh-0/second"
    link.parent.mkdir()
    link.symlink_to("../plain-0/first")
    assert set(existing()) == {"toy", "starts/plain-0", "starts/fresh-0"}
    assert find("starts/plain-0") == own and find("starts/fresh-0").path.resolve() == own.path.resolve()
    joint = made("runs/starts/fresh-0/joint")
    assert helper_spec(joint, RunFolder(Path("runs/starts/fresh-0/second"))) == "../second"


def test_facts_are_added_and_taken_out() -> None:
    folder = made("toy")
    folder.note(status="failed", error="no")
    folder.note(status="running", error=None)
    assert folder.facts() == {"status": "running"}
    with pytest.raises(ValueError, match="Out of range"):
        folder.note(value=float("nan"))
