"""Ranks that differ in recipe, data or versions are named before the first step."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import vltk
from tests.processes import in_processes
from tests.toy import install
from tests.toy_recipes import SINGLE
from vltk import dist
from vltk.errors import VltkError
from vltk.recipe import glance
from vltk.train import alike
from vltk.train.together import Elsewhere


def said(**facts: Any) -> dict[str, Any]:
    return {
        "host": "node",
        "facts": {"version of": {"torch": "2.13"}, "data of stage": {"joint": {"coco": "ab"}}} | facts,
    }


def test_differences() -> None:
    alike._refuse([said(), said()])
    with pytest.raises(VltkError) as error:
        alike._refuse(
            [said(), said(), said(**{"version of": {"torch": "2.8"}, "data of stage": {"joint": {"coco": "x"}}})]
        )
    assert "  rank 2 on node: version of torch: rank 0 has 2.13, is 2.8\n" in str(error.value)
    assert "  rank 2 on node: data of stage joint.coco: rank 0 has ab, is x\n" in str(error.value)


def test_versions(tmp_path: Path) -> None:
    """A working tree that was changed keeps its version; its code tells."""
    assert set(alike.versions()) == {"vltk", "torch", "deepspeed", "python"}
    assert alike.versions()["vltk"].endswith(alike._code(Path(vltk.__file__).parent))
    (tmp_path / "launch").mkdir()
    (tmp_path / "launch/agent.py").write_text("BEAT = 2.0")
    before = alike._code(tmp_path)
    (tmp_path / "notes.txt").write_text("no code")
    assert alike._code(tmp_path) == before
    (tmp_path / "launch/agent.py").write_text("BEAT = 3.0")
    after = alike._code(tmp_path)
    (tmp_path / "launch/agent.py").rename(tmp_path / "agent.py")
    assert len({before, after, alike._code(tmp_path)}) == 3


def differing(folder: str) -> str:
    """Rank 1 reads another recipe."""
    patch = pytest.MonkeyPatch()
    own = Path(folder) / str(dist.rank())
    own.mkdir()
    install(own, patch)
    (own / "single.yaml").write_text(SINGLE.replace("steps: 3", f"steps: {3 + dist.rank()}"))
    try:
        alike.alike(glance(own / "single.yaml"), {})
    except VltkError as error:
        return str(error)
    except Elsewhere:
        return "elsewhere"
    finally:
        patch.undo()
    return "alike"


def test_two_processes(tmp_path: Path) -> None:
    found = in_processes(2, differing, tmp_path, str(tmp_path))
    assert "rank 1 on" in found and "recipe of stage train.steps: rank 0 has 3, is 4\n" in found, json.dumps(found)


def texts() -> list[str]:
    return dist.told("ä" * (3 * dist.rank()))


def test_told(tmp_path: Path) -> None:
    assert in_processes(2, texts, tmp_path) == ["", "äää"]
    assert dist.told("alone") == ["alone"]
