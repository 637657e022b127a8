"""A table of finished cells, as a terminal shows it, in Markdown, and in LaTeX."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from rich import box
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from vltk.log import console

PIPED = 170  # columns where there is no terminal
LATEX = {
    "\\": r"\textbackslash{}", "_": r"\_", "%": r"\%", "&": r"\&", "#": r"\#", "$": r"\$", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "≠": r"$\neq$", "·": r"$\cdot$", "±": r"$\pm$",
}  # fmt: skip

Cells = Sequence[str]


@dataclass(frozen=True)
class Sheet:
    """Rows of cells in groups, between which a terminal and LaTeX draw a line.

    `left`: headings whose columns are words, the others are numbers; `remarks`: what stands below.
    """

    title: str
    headings: Cells
    groups: Sequence[Sequence[Cells]]
    left: frozenset[str]
    remarks: Sequence[str] = field(default_factory=list)

    @property
    def rows(self) -> Iterator[Cells]:
        for group in self.groups:
            yield from group

    def grid(self) -> Grid:
        """For a terminal; nothing in it is markup, as names of tasks hold colons and brackets."""
        grid = Grid(title=Text(self.title), title_justify="left", highlight=False, box=box.SIMPLE_HEAD)
        for heading in self.headings:
            grid.add_column(Text(heading), justify="left" if heading in self.left else "right", overflow="fold")
        for group in self.groups:
            for cells in group:
                grid.add_row(*map(Text, cells))
            grid.add_section()
        return grid

    def markdown(self) -> str:
        aligned = ["---" if heading in self.left else "---:" for heading in self.headings]
        lines = [self.headings, aligned, *(list(map(_marked_down, cells)) for cells in self.rows)]
        text = [f"# {self.title}", "", *(f"| {' | '.join(cells)} |" for cells in lines), ""]
        return "\n".join([*text, *(f"- {line}" for line in self.remarks)]).rstrip() + "\n"

    def latex(self) -> str:
        """A table of the package booktabs; the remarks are comments above it."""
        columns = "".join("l" if heading in self.left else "r" for heading in self.headings)
        groups = ["\n".join(f"{_latex_row(cells)} \\\\" for cells in group) for group in self.groups]
        return "\n".join(
            [
                "% \\usepackage{booktabs}",
                *(f"% {line}" for remark in self.remarks for line in remark.splitlines()),
                "\\begin{table}",
                "\\centering",
                f"\\caption{{{_latex(self.title)}}}",
                f"\\begin{{tabular}}{{{columns}}}",
                "\\toprule",
                f"{_latex_row(self.headings)} \\\\",
                "\\midrule",
                "\n\\midrule\n".join(group for group in groups if group),
                "\\bottomrule",
                "\\end{tabular}",
                "\\end{table}",
                "",
            ]
        )


def print_grid(grid: Grid) -> None:
    """On the terminal, or as wide as it needs where there is none."""
    shown = console if console.is_terminal else Console(width=PIPED, highlight=False, emoji=False)
    shown.print(grid)


def _marked_down(cell: str) -> str:
    """Names with colons as code: pages that show Markdown make pictures of `:label:`."""
    cell = cell.replace("|", "\\|")
    return f"`{cell}`" if re.search(r":\w+:", cell) else cell


def _latex_row(cells: Cells) -> str:
    return " & ".join(map(_latex, cells))


def _latex(text: str) -> str:
    return "".join(LATEX.get(letter, letter) for letter in text)
