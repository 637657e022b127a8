"""Who may import whom in vltk, and what must stay out of a quick start: held by reading the imports of every file."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import vltk

PACKAGE = Path(vltk.__file__).parent
LEAVES = {"", "errors", "strict", "log", "dist", "parts", "whole", "pulse", "meeting"}  # "" is vltk/__init__.py
EVERYTHING = LEAVES | {
    "capfilt", "caption", "convert", "data", "doctor", "eval", "hf", "identity", "launch", "models", "needs",
    "objectives", "pipeline", "recipe", "report", "run", "train",
}  # fmt: skip
MAY_IMPORT = {
    "": {"errors"},
    "errors": set(),
    "strict": {"errors"},
    "log": set(),
    "meeting": {"errors"},
    "dist": {"meeting"},
    "pulse": {"dist"},
    "whole": set(),
    "parts": {"errors", "strict"},
    "recipe": LEAVES,
    "data": LEAVES,
    "models": LEAVES,
    "objectives": LEAVES | {"models"},
    "checkpoint": {"errors", "whole"},
    "hf": LEAVES | {"recipe", "models", "data"},
    "run": LEAVES | {"recipe", "models", "data", "checkpoint", "hf"},
    "identity": LEAVES | {"recipe", "run", "data"},
    "train": LEAVES | {"objectives", "models", "data", "recipe", "run", "identity", "checkpoint", "hf"},
    "caption": LEAVES | {"models"},
    "eval": LEAVES | {"models", "data", "recipe", "run", "train", "identity", "caption"},
    "capfilt": LEAVES | {"models", "data", "recipe", "run", "train", "identity", "caption", "eval"},
    "bootstrap": EVERYTHING,
    "convert": EVERYTHING,
    "doctor": LEAVES | {"data", "run"},
    "launch": {"errors", "dist", "log", "pulse", "recipe"},
    "needs": LEAVES | {"recipe", "data"},
    "plan": LEAVES | {"models", "data", "recipe", "run", "train", "needs", "hf", "checkpoint", "pipeline"},
    "pipeline": EVERYTHING,
    "report": EVERYTHING,
    "sweep": EVERYTHING,
    "cli": EVERYTHING | {"cli_capfilt", "cli_data", "sweep", "plan"},
    "cli_capfilt": EVERYTHING | {"bootstrap", "sweep"},
    "cli_data": LEAVES | {"data"},
    "__main__": {"cli"},
}


def area(module: str) -> str:
    """The part of vltk that a dotted module belongs to: `vltk.train.loop` -> train, `vltk.recipe_files` -> recipe."""
    name = (module.split(".") + [""])[1]
    return "recipe" if name.startswith("recipe_") else name


def imported(tree: ast.AST) -> list[tuple[int, str]]:
    """Every import of vltk in a file, wherever it stands: line, dotted module."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module == "vltk":
            found += [(node.lineno, _submodule(alias.name)) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.append((node.lineno, node.module or ""))
    return [(line, module) for line, module in found if module.split(".")[0] == "vltk"]


def _submodule(name: str) -> str:
    return f"vltk.{name}" if (PACKAGE / name).is_dir() or (PACKAGE / f"{name}.py").is_file() else "vltk"


def broken(path: Path, source: str) -> list[str]:
    """The imports of a file that its part of vltk may not have."""
    parts = ["vltk", *path.relative_to(PACKAGE).with_suffix("").parts]
    home = area(".".join(part for part in parts if part != "__init__"))
    assert home in MAY_IMPORT, f"vltk/{home} is new: say in MAY_IMPORT what it may import"
    rules = MAY_IMPORT[home] | {home}
    return [
        f"{path.relative_to(PACKAGE.parent)}:{line} imports {module}; {home or 'vltk'} may import: {sorted(rules)}"
        for line, module in imported(ast.parse(source))
        if area(module) not in rules
    ]


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_keep_their_direction(path: Path) -> None:
    assert broken(path, path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("home", "source", "count"),
    [
        ("models/vit.py", "from vltk.train.loop import train", 1),
        ("models/vit.py", "def f():\n    from vltk import recipe, dist", 1),
        ("objectives/itc.py", "import vltk.data.stream, vltk.models.layers", 1),
        ("train/loop.py", "from vltk.eval.run import evaluator", 1),
        ("recipe_files.py", "from vltk.strict import short\nfrom vltk import VltkError", 0),
        ("pipeline.py", "from vltk.cli import main", 1),
    ],
)
def test_a_wrong_direction_is_seen(home: str, source: str, count: int) -> None:
    assert len(broken(PACKAGE / home, source)) == count


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("vltk.cli", {"torch", "transformers", "pydantic", "yaml", "numpy", "matplotlib", "sklearn"}),
        ("vltk.recipe", {"torch", "transformers", "numpy", "matplotlib", "sklearn"}),
        ("vltk.needs", {"torch", "transformers", "matplotlib", "sklearn", "scipy", "pyarrow"}),
        ("vltk.capfilt.job", {"torch", "transformers", "matplotlib", "sklearn", "scipy"}),
        ("vltk.capfilt.pack", {"torch", "transformers", "matplotlib", "sklearn", "scipy"}),
        ("vltk.eval.run", {"torch", "transformers", "matplotlib", "sklearn"}),
    ],
)
def test_quick_modules_import_nothing_heavy(module: str, heavy: set[str]) -> None:
    code = f"import sys, {module}; print(*sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PACKAGE.parent)
    assert done.stdout.split() == []
