"""What runs on another machine of a hostfile: starts the ranks there, and ends them when the launcher says or is gone.

Talks over its ssh connection. In: JSON lines {"start"}, {"signal"}, {"end"}, and {} every few seconds. Out, on standard
error between what rank 0 says: MARK and {"hello"}, {"failures", "done"}.
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import asdict
from queue import Empty, Queue
from threading import Thread
from typing import Any

from vltk.launch.ranks import Ranks, Share, free_port

MARK = "\x1e"
BEAT = 2.0  # seconds between two words of the launcher
SILENCE = 30.0  # seconds without one, after which it counts as gone
POLL = 0.1


def main() -> None:
    """Until all ranks have ended."""
    heard: Queue[dict[str, Any] | None] = Queue()
    Thread(target=_listen, args=(heard,), daemon=True).start()
    _say({"hello": {"port": free_port()}})
    ranks: Ranks | None = None
    last, told = time.monotonic(), 0
    while True:
        try:
            order = heard.get(timeout=POLL)
            last = time.monotonic()
        except Empty:
            order = {}
        if order is None or "end" in order or time.monotonic() - last > SILENCE:
            break
        if "start" in order:
            ranks = _started(**order["start"])
        if ranks is None:
            continue
        if "signal" in order:
            ranks.signal(order["signal"])
        done = ranks.poll()
        if done or len(ranks.failures) > told:
            _say({"failures": [asdict(one) for one in ranks.failures[told:]], "done": done})
            told = len(ranks.failures)
    if ranks is not None:
        ranks.end()


def _started(share: dict[str, Any], arguments: list[str], environment: dict[str, str]) -> Ranks:
    return Ranks(Share(**share), arguments, {**os.environ, **environment})


def _listen(heard: Queue[dict[str, Any] | None]) -> None:
    for line in sys.stdin:
        heard.put(json.loads(line))
    heard.put(None)


def _say(word: dict[str, Any]) -> None:
    try:
        sys.stderr.write(f"{MARK}{json.dumps(word)}\n")
        sys.stderr.flush()
    except OSError:
        pass  # the connection is gone, which the listener notices as well


if __name__ == "__main__":
    main()
