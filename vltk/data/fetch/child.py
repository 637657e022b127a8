"""img2dataset in a process of its own: `python -m vltk.data.fetch.child ORDER.json`, started by the watchdog alone.

The processes that it spawns import this file as `__mp_main__`: all of them end with it, and it with the watchdog.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

from vltk.data.fetch.lean import lean
from vltk.data.fetch.lifeline import end_with
from vltk.data.fetch.piece import packed
from vltk.data.fetch.policy import Policy
from vltk.data.fetch.pool import distribute

ANSWER = 900  # seconds; the proxy always answers sooner, so that only its end is seen here


def main(order: dict[str, Any]) -> None:
    """Runs img2dataset over `order`: urls, out, proxy (None on a cluster), policy, and the options of the fetch."""
    from vltk.data.fetch.worker import Worker

    lists = {name: tuple(value) for name, value in order["policy"].items() if isinstance(value, list)}
    policy = Policy(**{**order["policy"], **lists})
    img2dataset: Any = importlib.import_module("img2dataset.main")  # the package hides it behind a function
    img2dataset.multiprocessing_distributor = distribute
    img2dataset.Reader = functools.partial(_without, packed(Path(order["out"])), img2dataset.Reader)
    img2dataset.Downloader = functools.partial(Worker, order["proxy"], policy)
    options = order["options"]
    img2dataset.download(
        url_list=order["urls"],
        output_folder=order["out"],
        input_format="parquet",
        output_format="webdataset",
        save_additional_columns=["row"],
        processes_count=options["processes"],
        thread_count=options["threads"],
        number_sample_per_shard=options["piece"],
        distributor=options["distributor"],
        incremental_mode="incremental",
        disable_all_reencoding=True,
        resize_mode="no",
        compute_hash="sha256",
        extract_exif=False,
        timeout=ANSWER,
        retries=0,
        disallowed_header_directives=[],  # the proxy's work
    )


def _without(done: set[int], reader: Any, *given: Any) -> Any:
    """img2dataset's reader, which leaves out these pieces too."""
    made = reader(*given)
    made.done_shards = made.done_shards | done
    return made


if __name__ == "__mp_main__":
    end_with(os.getpgrp())  # the child leads the group
    lean()

if __name__ == "__main__":
    given = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    end_with(given["parent"])
    lean()
    try:
        main(given)
    except BaseException:
        traceback.print_exc()
        os._exit(1)  # img2dataset's logging process would be waited for without end
