"""Cells come out as they went in: on a terminal, where colons and brackets are no markup, in Markdown and in LaTeX."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from vltk.eval.sheet import Sheet

TASK = "linear_probe:mine/train:mine/test:label:limit=[1]"


def sheet(*rows: list[str]) -> Sheet:
    return Sheet("a [bold]title[/bold] :label:", ["task", "value"], [rows[:1], rows[1:]], frozenset({"task"}), ["a\nb"])


def test_a_terminal_shows_neither_pictures_nor_markup() -> None:
    text = io.StringIO()
    Console(file=text, width=120).print(sheet([TASK, "1.00"], ["x:smile:", "[red]2[/red]"]).grid())
    shown = text.getvalue()
    for cell in (TASK, "x:smile:", "[red]2[/red]", "a [bold]title[/bold] :label:"):
        assert cell in shown
    assert shown.count("─" * 10) >= 2  # below the heading, and between the groups


def test_markdown_takes_names_with_colons_as_code() -> None:
    lines = sheet([TASK, "1.00"], ["a|b", "2.00"]).markdown().splitlines()
    assert lines[2:] == [
        "| task | value |",
        "| --- | ---: |",
        f"| `{TASK}` | 1.00 |",
        r"| a\|b | 2.00 |",
        "",
        "- a",
        "b",
    ]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a_b & 5 %", r"a\_b \& 5 \%"),
        ("82.17≠", r"82.17$\neq$"),
        ("{x}~^#$\\", r"\{x\}\textasciitilde{}\textasciicircum{}\#\$\textbackslash{}"),
    ],
)
def test_latex_escapes_what_it_would_read(text: str, wanted: str) -> None:
    made = sheet([text, "1.00"]).latex()
    assert f"{wanted} & 1.00 \\\\" in made
    assert made.count("\\begin{") == made.count("\\end{") == 2 and "\\begin{tabular}{lr}" in made
    assert "% a\n% b" in made  # every line of a remark is a comment
