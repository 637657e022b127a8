"""The commands of README.md work as they stand there; training is cut to two steps by `include=debug.yaml`."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer

from tests.harness import DEBUG, ROOT, SIZES, call, stages_of
from vltk.cli import app
from vltk.data.sources import shapes
from vltk.recipe import available

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
COMMANDS = [line for block in BLOCKS for line in block.splitlines() if line.startswith("vltk ")]


@pytest.fixture
def workshop(tmp_path: Path) -> Path:
    """A folder with all that the README supposes: photos with captions and split lists, pictures, books."""
    for name, part in (("photos", "dev"), ("pictures", "images")):
        (tmp_path / name).mkdir()
        records = list(shapes.records(0, part, SIZES[part]))
        for record in records:
            assert record.image is not None
            (tmp_path / name / f"{record.key}.jpg").write_bytes(record.image)
        if part == "dev":
            names = [f"{record.key}.jpg\n" for record in records]
            (tmp_path / "train.txt").write_text("".join(names[:8]))
            (tmp_path / "dev.txt").write_text("".join(names[8:]))
            lines = [f'{record.key}.jpg,"{text}"' for record in records for text in record.texts]
            (tmp_path / "captions.csv").write_text("\n".join(["image,caption", *lines]) + "\n")
    (tmp_path / "books").mkdir()
    stories = [record.texts[0] for record in shapes.records(0, "text", SIZES["text"])]
    (tmp_path / "books" / "one.txt").write_text("\n".join(stories))
    return tmp_path


def test_its_commands_run(workshop: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """In order: what one line makes, the next ones use."""
    monkeypatch.chdir(workshop)
    monkeypatch.delenv("VLTK_DATA", raising=False)
    generate = shapes.generate
    monkeypatch.setattr(shapes, "generate", lambda root, **options: generate(root, sizes=SIZES, **options))
    assert len(COMMANDS) > 10
    for line in COMMANDS:
        words = shlex.split(line, comments=True)[1:]
        words, written = (words[:-2], words[-1]) if ">" in words else (words, None)
        capsys.readouterr()
        assert call(*words, *([DEBUG] if words[0] == "train" else [])) == 0, line
        if written:
            (workshop / written).write_text(capsys.readouterr().out)
    assert stages_of("flava-tiny") == [f"flava-tiny/{stage}" for stage in ("codes", "image", "text", "joint")]
    for path in ("runs/flava-tiny/report.html", "runs/mine/joint/model.safetensors", "data/mine/vocab.txt"):
        assert (workshop / path).exists(), path
    assert "shapes-largest-color" in (workshop / "runs/flava-tiny/joint/results.jsonl").read_text()


def test_its_table_names_every_command() -> None:
    group = typer.main.get_command(app)
    named = re.findall(r"`vltk ([^`]+)`", README)
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        lines = [text for text in named if text.split()[0] == name]
        if command.hidden:
            continue
        assert lines, f"README.md says nothing of vltk {name}"
        for below in getattr(command, "commands", {}):
            assert any(re.search(rf"\b{below}\b", text) for text in lines), (
                f"README.md says nothing of vltk {name} {below}"
            )


def test_its_links_and_make_targets_exist() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", README):
        assert (ROOT / target).exists(), target
    for target in re.findall(r"^make (\w+)", "\n".join(BLOCKS), re.MULTILINE):
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE), target


def test_its_recipes_are_those_shipped() -> None:
    line = README.partition("Recipes: ")[2].partition("\n\n")[0]
    assert set(re.findall(r"`([\w-]+)`", line)) == set(available()) - {"debug"}
