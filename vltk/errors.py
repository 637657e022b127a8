"""The errors a user can mend: shown as one clear message, without a traceback."""

from __future__ import annotations

from collections.abc import Iterable


class VltkError(Exception):
    """Something the user can mend. The message says what, where, what exists and what to type."""

    exit_code = 1


class RecipeError(VltkError):
    """Every mistake of a recipe at once, each as `file:line: key: what`."""

    exit_code = 2

    def __init__(self, problems: str | Iterable[str]) -> None:
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems))


class Missing(VltkError):
    """Something the command needs is not there: a title, then numbered (what is missing, command that brings it)."""

    exit_code = 3

    def __init__(self, title: str, steps: Iterable[tuple[str, str]]) -> None:
        self.steps = list(steps)
        lines = [f"  {number}. {what}\n     {command}" for number, (what, command) in enumerate(self.steps, 1)]
        super().__init__("\n".join([title, *lines]))
