"""The guarding forward proxy on loopback, as a process of its own: all that img2dataset fetches goes through it.

A plain request (http or https URL in the request line) is fetched whole before it is answered: name resolution and
address check, TLS, redirects, limits and opt-out are all on this side, and the answer is either 200 with the body, or a
line `HTTP/1.1 CODE vltk STATUS DETAIL`. A CONNECT tunnel gets the same checks of the address, time and bytes.
"""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Self

from vltk.data.fetch.lifeline import environment, python
from vltk.data.fetch.policy import Policy
from vltk.errors import VltkError


class Proxy:
    """The proxy while the context lasts; `log` gets one JSON line a request: url or host, status, bytes, seconds.

    It ends with the process that started it. When the log is full (64 MiB) it goes on in a new one; the last is kept.
    """

    url: str

    def __init__(self, policy: Policy, log: Path) -> None:
        self.policy, self.log = policy, log

    def __enter__(self) -> Self:
        self.process = subprocess.Popen(
            python("vltk.data.fetch.server"),
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdin and self.process.stdout
        given = {"policy": asdict(self.policy), "log": str(self.log), "parent": os.getpid()}
        self.process.stdin.write(json.dumps(given) + "\n")
        self.process.stdin.flush()
        port = self.process.stdout.readline().strip()
        if not port:
            raise VltkError(f"the proxy did not start: see the lines above (exit code {self.process.wait()})")
        self.url = f"http://127.0.0.1:{port}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.communicate()

    @property
    def alive(self) -> bool:
        return self.process.poll() is None
