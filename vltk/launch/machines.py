"""The machines of a job as the launcher sees them: this one, and others over ssh, with the same verbs."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from threading import Thread
from typing import Any, Protocol

from vltk.errors import VltkError
from vltk.launch.agent import BEAT, MARK
from vltk.launch.failure import CUT, Failure
from vltk.launch.hostfile import Host
from vltk.launch.ranks import Ranks, Share, free_port

SSH = "VLTK_SSH"  # the command, with options, that reaches another host
OPTIONS = ("BatchMode=yes", "ConnectTimeout=10", "ServerAliveInterval=5", "ServerAliveCountMax=3")
PASSED = (  # beginnings of the names of variables that other machines are given
    "AWS_", "CUDA_", "DS_", "FI_", "GLOO_", "GOMP_", "GOOGLE_", "HF_", "KMP_", "LD_", "MKL_", "NCCL_", "OMP_",
    "ONEDNN_", "PYTHON", "TOKENIZERS_", "TORCH", "UCX_", "VLTK_", "WANDB_", "http", "no_proxy",
)  # fmt: skip
OWN = ("CUDA_VISIBLE_DEVICES", "VLTK_HOST", "VLTK_LAUNCHER", "VLTK_FAILURES", SSH)  # and of those, what stays here


class Machine(Protocol):
    """One machine of the job."""

    host: Host
    failures: list[Failure]

    def ready(self) -> bool:
        """Whether it can start ranks; `failures` says why not."""

    def port(self) -> int:
        """A free port there."""

    def start(self, share: Share, arguments: Sequence[str]) -> None: ...

    def poll(self) -> bool:
        """Books failures; whether all of its ranks have ended."""

    def signal(self, number: int) -> None: ...

    def end(self) -> None: ...


class Here:
    """This machine."""

    def __init__(self, host: Host) -> None:
        self.host, self.failures = host, list[Failure]()
        self._ranks: Ranks | None = None

    def ready(self) -> bool:
        return True

    def port(self) -> int:
        return free_port()

    def start(self, share: Share, arguments: Sequence[str]) -> None:
        self._ranks = Ranks(share, arguments, dict(os.environ))
        self.failures = self._ranks.failures

    def poll(self) -> bool:
        return self._ranks is not None and self._ranks.poll()

    def signal(self, number: int) -> None:
        if self._ranks is not None:
            self._ranks.signal(number)

    def end(self) -> None:
        if self._ranks is not None:
            self._ranks.end()


class There:
    """Another machine, reached over ssh, with the same folder and the same Python; see `vltk.launch.agent`.

    Not pdsh, which does not carry what the launcher says: a machine would not notice that the launcher is gone.
    """

    def __init__(self, host: Host) -> None:
        self.host, self.failures = host, list[Failure]()
        self._hello: dict[str, Any] | None = None
        self._done, self._noise, self._beaten = False, list[str](), 0.0
        self._process = _opened(_command(host.name))
        self._reader = Thread(target=self._read, daemon=True)
        self._reader.start()

    def ready(self) -> bool:
        self._beat()
        return self._hello is not None

    def port(self) -> int:
        assert self._hello is not None
        return int(self._hello["port"])

    def start(self, share: Share, arguments: Sequence[str]) -> None:
        words = {"share": asdict(share), "arguments": list(arguments), "environment": passed(os.environ)}
        self._tell({"start": words})

    def poll(self) -> bool:
        self._beat()
        if self._process.poll() is None or self._done:
            return self._done
        self._reader.join(1)
        if not self._done:
            self._done = True
            self.failures.append(Failure(-1, self.host.name, "lost", self._why(), CUT, time.time()))
        return True

    def signal(self, number: int) -> None:
        self._tell({"signal": number})

    def end(self) -> None:
        self._tell({"end": True})
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _why(self) -> str:
        said = "".join(f"\n  {line}" for line in self._noise[-4:])
        if self._hello is None:
            trial = shlex.quote(f"cd {os.getcwd()} && {sys.executable} -c 1 && echo ok")
            reach = shlex.join(_command(self.host.name)[:-1])
            return f"cannot start anything there{said}\n  this should print ok: {reach} {trial}"
        return f"the connection to it broke{said}"

    def _beat(self) -> None:
        if time.monotonic() - self._beaten > BEAT:
            self._tell({})
            self._beaten = time.monotonic()

    def _tell(self, word: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(word) + "\n")
            self._process.stdin.flush()
        except (BrokenPipeError, ValueError):
            pass  # `poll` finds that the connection has ended

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            if not line.startswith(MARK):
                self._noise = [*self._noise[-20:], line.rstrip()]
                if self._hello is not None:
                    sys.stderr.write(line)
                continue
            word = json.loads(line.removeprefix(MARK))
            self._hello = word.get("hello", self._hello)
            self.failures += [Failure(**one) for one in word.get("failures", [])]
            self._done = self._done or word.get("done", False)


def machine(host: Host) -> Machine:
    """This machine or another one."""
    return Here(host) if host.is_here() else There(host)


def passed(environment: Any) -> dict[str, str]:
    """What of the environment other machines are given: over standard input, as `ps` shows everyone a command line."""
    return {name: value for name, value in environment.items() if name.startswith(PASSED) and name not in OWN}


def _opened(command: list[str]) -> subprocess.Popen[str]:
    """Raises VltkError where there is no such command on this machine."""
    try:
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
    except OSError as error:
        raise VltkError(
            f"cannot run {command[0]}, which reaches other hosts ({error.strerror}): install an ssh client, or set "
            f"{SSH} to a command that does, as ssh -p 2222"
        ) from error


def _reaching() -> list[str]:
    """The words of VLTK_SSH. Raises VltkError where they cannot be told apart."""
    said = os.environ.get(SSH) or "ssh"
    try:
        return shlex.split(said)
    except ValueError as error:
        raise VltkError(f"{SSH}={said}: {error}; it is a command with options, as ssh -p 2222") from error


def _command(host: str) -> list[str]:
    options = [word for option in OPTIONS for word in ("-o", option)]
    path = f"PYTHONPATH={shlex.quote(os.environ['PYTHONPATH'])} " if "PYTHONPATH" in os.environ else ""
    there = f"cd {shlex.quote(os.getcwd())} && exec env {path}{shlex.quote(sys.executable)} -m vltk.launch.agent"
    return [*_reaching(), *options, host, there]
