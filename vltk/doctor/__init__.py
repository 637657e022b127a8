"""`vltk doctor`: whether this machine can train, one line a check, each with its remedy."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from vltk.doctor import installed, machine, together, trial
from vltk.doctor.finding import Finding

# in order, from what takes no time to what takes seconds
CHECKS: dict[str, Callable[[], Iterator[Finding]]] = {
    "installed": installed.findings,
    "machine": machine.findings,
    "two processes": together.findings,
    "ten steps": trial.findings,
}


def examine() -> Iterator[Finding]:
    """Every finding as soon as it is known. A check that itself breaks is a finding too."""
    for name, check in CHECKS.items():
        try:
            yield from check()
        except Exception as error:
            yield Finding.fail(name, f"{type(error).__name__}: {error}", "report this: the check itself broke")
