"""The child and all that it spawns, as one process group that can be watched and is killed as one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from vltk.data.fetch.lifeline import environment, python


class Group:
    """img2dataset running over an order, for as long as the context lasts; its words go to OUT/child.log.

    `lock` is an open file: who holds a lock on it holds it until the child is gone too.
    """

    def __init__(self, order: dict[str, Any], out: Path, lock: int) -> None:
        self.order, self.out, self.lock = order, out, lock

    def __enter__(self) -> Self:
        order = self.out / "child.order"  # img2dataset takes every .json in this folder for one of its own
        order.write_text(json.dumps({**self.order, "parent": os.getpid()}), encoding="utf-8")
        with (self.out / "child.log").open("wb") as words:
            self.process = subprocess.Popen(
                python("vltk.data.fetch.child", str(order)),
                env=_environment(self.order["proxy"]),
                stdin=subprocess.DEVNULL,
                stdout=words,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=[self.lock],
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(ProcessLookupError):  # all gone already
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def hold(self) -> None:
        """Stops the child alone: its workers end the pieces that they have, and get no others until `go_on`."""
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Ends `hold`."""
        self.process.send_signal(signal.SIGCONT)

    def ended(self) -> int | None:
        """The child's exit code, None while it runs."""
        return self.process.poll()


def _environment(proxy: str | None) -> dict[str, str]:
    """Without any word about proxies but ours; its libraries do not phone home; Spark's workers run our Python."""
    quiet = {"NO_ALBUMENTATIONS_UPDATE": "1", "WANDB_MODE": "disabled", "PYTHONUNBUFFERED": "1"}
    quiet |= {"PYSPARK_PYTHON": os.environ.get("PYSPARK_PYTHON", sys.executable)}
    plain = {name: value for name, value in environment(**quiet).items() if not name.lower().endswith("_proxy")}
    ours = {"http_proxy": proxy, "https_proxy": proxy, "ftp_proxy": proxy, "no_proxy": ""} if proxy else {}
    return plain | ours
