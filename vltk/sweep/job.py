"""One run of a sweep at work: `vltk train` and then `vltk eval`, each in a process that ends with this one."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping
from functools import partial

import yaml

from vltk.data.fetch.lifeline import end_with, environment, python
from vltk.sweep import measure
from vltk.sweep.load import Sweep
from vltk.sweep.plan import Run
from vltk.whole import whole

RECIPE, LOG = "run.yaml", "log.txt"


class Job:
    """A run that has a slot. What its processes say goes into log.txt of its folder.

    They form a group of their own, so that Ctrl-C on the terminal reaches them once, through `stop`. When the sweep
    is killed they get SIGTERM, after which training saves and ends.
    """

    def __init__(self, sweep: Sweep, run: Run, slot: Mapping[str, str]) -> None:
        self.sweep, self.run, self.slot = sweep, run, slot
        self.stopped = self.idle = False
        self.process: subprocess.Popen[bytes] | None = None
        with whole(run.folder / RECIPE) as part:
            part.write_text(yaml.safe_dump(run.recipe.resolved(), sort_keys=False), encoding="utf-8")
        self._next()

    def poll(self) -> int | None:
        """None while there is work; then 0, or the exit code of the process that failed."""
        code = self.process.poll() if self.process else 0
        if code != 0 or self.stopped:
            return code
        self._next()
        return None if self.process else int(self.idle)

    def stop(self) -> None:
        """Asks it to save and end."""
        self.stopped = True
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)

    def error(self, code: int) -> str:
        """The first line of what went wrong: as the stage noted it, else the last that was said."""
        said = self._said()
        for stage in self.run.recipe.stages:
            noted = self.run.stage(stage).facts().get("error")
            if noted is not None and any(noted in line for line in said):
                return str(noted)
        if code < 0 or not said:
            return f"ended by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
        return said[-1]

    def _next(self) -> None:
        """Starts what is to be done next; no process where nothing is."""
        before, self.process = self.process, None
        command = self._command()
        if command is None:
            return
        if before is not None and before.args == command:
            self.idle = True  # it ended well and left its work undone: once more would be for ever
            return
        with (self.run.folder / LOG).open("ab") as log:
            self.begun = log.tell()
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment(**self.slot),
                start_new_session=True,
                preexec_fn=partial(end_with, os.getpid(), signal.SIGTERM),
            )

    def _command(self) -> list[str] | None:
        if not self.run.is_trained():
            return python("vltk", "train", str(self.run.folder / RECIPE))
        lacking = measure.lacking(self.sweep, self.run)
        for stage, tasks in lacking.items():
            return python("vltk", "eval", str(self.run.folder / stage), "--tasks", ",".join(tasks))
        return None

    def _said(self) -> list[str]:
        with (self.run.folder / LOG).open("rb") as log:
            log.seek(self.begun)
            lines = log.read().decode(errors="replace").splitlines()
        return [line.strip() for line in lines if line.strip()]
