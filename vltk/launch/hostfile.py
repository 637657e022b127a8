"""A hostfile as DeepSpeed reads it: a line a host, `worker-1 slots=8`; # begins a comment."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass
from pathlib import Path

from vltk.errors import VltkError

_LINE = re.compile(r"(\S+)\s+slots=(\d+)\s*")


@dataclass(frozen=True)
class Host:
    """A machine, by the name or address that the others reach it under, and how many ranks it gets."""

    name: str
    slots: int

    def is_here(self) -> bool:
        """Whether it is this machine: an address is ours if a socket can be bound to it."""
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(self.name, 0, type=socket.SOCK_STREAM)[0]
            with socket.socket(family, kind, protocol) as ours:
                ours.bind(address)
        except OSError:
            return False
        return True


def hosts(path: Path) -> list[Host]:
    """The hosts of a file, in its order. Raises VltkError with every mistake of it."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise VltkError(f"--hostfile {path}: cannot be read ({error}); a line of it is as: worker-1 slots=8") from error
    found: dict[str, Host] = {}
    problems = []
    for number, line in enumerate(lines, 1):
        said = line.partition("#")[0].strip()
        match = _LINE.fullmatch(said)
        if not said:
            continue
        if match is None or int(match[2]) == 0:
            problems.append(f"{path}:{number}: '{said}' should be as: worker-1 slots=8")
        elif match[1] in found:
            problems.append(f"{path}:{number}: {match[1]} stands there twice")
        else:
            found[match[1]] = Host(match[1], int(match[2]))
    if not found and not problems:
        problems = [f"{path}: no hosts in it; a line is as: worker-1 slots=8"]
    if len(found) > 1:
        problems += [f"{path}: the other hosts cannot reach this one as {name}" for name in found if _loops(name)]
    if problems:
        raise VltkError("\n".join(problems))
    return list(found.values())


def _loops(name: str) -> bool:
    return name == "localhost" or name.startswith("127.") or name == "::1"
