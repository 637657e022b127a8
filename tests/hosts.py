"""Two hosts on one machine: network namespaces joined by a cable, each with its own address and sshd. Needs root."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.harness import ROOT

NAMES = ("vltk-a", "vltk-b")
ADDRESSES = ("10.77.0.1", "10.77.0.2")
CABLE = "vltk0"  # its end in each of them
PORT = 2022
TOOLS = ("ip", "ssh", "ssh-keygen", "sshd")


def missing() -> str | None:
    """Why there can be no two hosts here."""
    if os.geteuid() != 0:
        return "two hosts need root, for network namespaces"
    absent = [tool for tool in TOOLS if which(tool) is None]
    return f"two hosts need {', '.join(absent)} (Debian: iproute2, openssh-server)" if absent else None


def which(tool: str) -> str | None:
    return shutil.which(tool, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


class Hosts:
    """`folder` takes keys and configuration."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._daemons: list[subprocess.Popen[bytes]] = []

    @property
    def environment(self) -> dict[str, str]:
        """For what is started on either of them."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("MASTER_", "GLOO_"))}
        return kept | {
            "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "COLUMNS": "160", "TERM": "dumb",
            "VLTK_SSH": f"ssh -F {self.folder / 'ssh_config'}",
        }  # fmt: skip

    def start(self, host: int, *command: str, output: Path) -> subprocess.Popen[bytes]:
        """A command on a host, begun; what it says goes into a file."""
        with output.open("ab") as file:
            inside = [str(which("ip")), "netns", "exec", NAMES[host], *command]
            return subprocess.Popen(inside, stdout=file, stderr=file, env=self.environment)

    def vltk(self, host: int, *arguments: str, output: Path) -> subprocess.Popen[bytes]:
        return self.start(host, sys.executable, "-m", "vltk", *arguments, output=output)

    def hostfile(self, slots: int = 1) -> Path:
        path = self.folder / "hosts"
        path.write_text("".join(f"{address} slots={slots}\n" for address in ADDRESSES))
        return path

    def ranks(self, host: int) -> list[int]:
        """The processes of ranks on a host."""
        return [pid for pid in self._pids(host) if b"\0RANK=" in b"\0" + _read(pid, "environ") and _is_rank(pid)]

    def cut(self) -> None:
        _run("ip", "-n", NAMES[1], "link", "set", CABLE, "down")

    def mend(self) -> None:
        _run("ip", "-n", NAMES[1], "link", "set", CABLE, "up")

    def kill(self, host: int) -> None:
        """All that runs there, as when the power goes: the other host hears nothing of it."""
        self.cut()
        for pid in self._pids(host):
            _send(pid, signal.SIGKILL)

    def revive(self, host: int) -> None:
        self.mend()
        self._daemons.append(self._sshd(host))
        self._wait_for(host)

    def open(self) -> None:
        self._keys()
        for name in NAMES:
            subprocess.run([str(which("ip")), "netns", "del", name], stderr=subprocess.DEVNULL)
            _run("ip", "netns", "add", name)
        _run("ip", "link", "add", CABLE, "netns", NAMES[0], "type", "veth", "peer", "name", CABLE, "netns", NAMES[1])
        for name, address in zip(NAMES, ADDRESSES, strict=True):
            _run("ip", "-n", name, "addr", "add", f"{address}/24", "dev", CABLE)
            for link in ("lo", CABLE):
                _run("ip", "-n", name, "link", "set", link, "up")
        self._daemons = [self._sshd(host) for host in range(2)]
        for host in range(2):
            self._wait_for(host)

    def close(self) -> None:
        for host, name in enumerate(NAMES):
            for pid in self._pids(host):
                _send(pid, signal.SIGKILL)
            subprocess.run([str(which("ip")), "netns", "del", name], stderr=subprocess.DEVNULL)
        for daemon in self._daemons:
            daemon.wait()

    def _keys(self) -> None:
        for name in ("host", "user"):
            _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.folder / name))
        Path("/run/sshd").mkdir(exist_ok=True)
        (self.folder / "sshd_config").write_text(
            f"Port {PORT}\nHostKey {self.folder}/host\nAuthorizedKeysFile {self.folder}/user.pub\nPidFile none\n"
            "StrictModes no\nUsePAM no\nPermitRootLogin yes\nPasswordAuthentication no\n"
        )
        (self.folder / "ssh_config").write_text(
            f"Host *\n Port {PORT}\n IdentityFile {self.folder}/user\n IdentitiesOnly yes\n StrictHostKeyChecking no\n"
            " UserKnownHostsFile /dev/null\n LogLevel ERROR\n User root\n"
        )

    def _sshd(self, host: int) -> subprocess.Popen[bytes]:
        command = [str(which("sshd")), "-D", "-e", "-f", str(self.folder / "sshd_config")]
        return self.start(host, *command, output=self.folder / f"sshd-{host}.log")

    def _wait_for(self, host: int) -> None:
        reach = [str(which("ip")), "netns", "exec", NAMES[0], "ssh", "-F", str(self.folder / "ssh_config")]
        for _ in range(50):
            if subprocess.run([*reach, ADDRESSES[host], "true"], capture_output=True, timeout=20).returncode == 0:
                return
            time.sleep(0.1)
        pytest.fail((self.folder / f"sshd-{host}.log").read_text())

    def _pids(self, host: int) -> list[int]:
        done = subprocess.run([str(which("ip")), "netns", "pids", NAMES[host]], capture_output=True, text=True)
        return [int(pid) for pid in done.stdout.split()]


@contextmanager
def two_hosts(folder: Path) -> Iterator[Hosts]:
    """Inside there are two; skips the test where there cannot be."""
    if reason := missing():
        pytest.skip(reason)
    hosts = Hosts(folder)
    try:
        hosts.open()
        yield hosts
    finally:
        hosts.close()


def _is_rank(pid: int) -> bool:
    return b"vltk\0train" in _read(pid, "cmdline")


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def _send(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _run(tool: str, *arguments: str) -> None:
    subprocess.run([str(which(tool)), *arguments], check=True)
