"""`vltk data fetch` over loopback, through img2dataset and the proxy: every bad case has its status, no row is lost."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest

from tests.unit.data.fetching import CARD, listed, rows_of
from tests.web import Web
from vltk.data.build import fetch
from vltk.data.dataset import open_dataset
from vltk.errors import VltkError

CC3M = Path(os.environ.get("VLTK_TEST_DATA", "")) / "cc3m" / "Train_GCC-training.tsv"


def _made_up() -> list[bytes]:
    return [f"caption {row}".encode() for row in range(100)]


def _real() -> list[bytes]:
    """The first captions of CC3M."""
    if not CC3M.is_file():
        pytest.skip("$VLTK_TEST_DATA/cc3m/Train_GCC-training.tsv is not there")
    with CC3M.open("rb") as file:
        return [line.split(b"\t")[0] for line in islice(file, 100)]


@pytest.mark.parametrize("found", [_made_up, _real], ids=["made_up_captions", "captions_of_cc3m"])
def test_every_bad_case_has_its_status_and_no_row_is_lost(tmp_path: Path, found: Callable[[], list[bytes]]) -> None:
    """The cases of data.md 2.1 and 2.2 between good rows, through img2dataset and the proxy."""
    captions = found()
    with Web() as web:
        cases = web.cases()
        lines = [caption + f"\t{web.good(row)}".encode() for row, caption in enumerate(captions)]
        for at, case in enumerate(cases):
            lines.insert(2 * at, f"case {case.name}\t{case.url or ''}".encode())
        odd = {b"caf\xe9 noir": "ok", b'"an unclosed quote': "ok", b"one\ttab": "ok", b"42": "ok", b"": "no_caption"}
        lines += [caption + f"\t{web.good(row)}".encode() for row, caption in enumerate(odd)]
        path = tmp_path / "cc3m.tsv"
        path.write_bytes(b"\n".join(lines) + b"\nno tab\n")
        options = ["processes=1", "threads=40", "shard_size=60", "rounds=1", "deadline=3", "per_host=40"]
        assert fetch(str(path), overrides=[*options, f"private_hosts={json.dumps(list(web.hosts))}"]) == ["cc3m"]
        agents, gone = web.agents, web.requests["/404"]
    rows = rows_of("cc3m")
    assert len(rows) == len(lines) + 1
    wanted = {2 * at: case for at, case in enumerate(cases)}
    assert {case.name: rows[row]["status"] for row, case in wanted.items()} == {
        case.name: case.packed for case in cases
    }
    tail = rows[len(lines) - len(odd) :]
    assert [row["status"] for row in tail] == [*odd.values(), "unreadable_row"]
    assert [row["caption"] for row in tail[:4]] == ["café noir", None, "one\ttab", None]
    assert all(row["sha256"] and row["url"] and row["bytes"] for row in rows if row["status"] == "ok")
    assert gone == 1 and all(agent.startswith("vltk/") for agent in agents)
    exif = next(row for row, case in wanted.items() if case.name == "exif6")
    assert (rows[exif]["width"], rows[exif]["height"]) == (72, 96)
    samples = {sample.key: sample for sample in map(open_dataset("cc3m").read, range(len(open_dataset("cc3m"))))}
    assert samples[f"{len(lines) - 5:09d}"].texts == ["café noir"] and samples[f"{len(lines) - 3:09d}"].texts == [
        "one tab"
    ]
    assert (open_dataset("cc3m").folder / "quarantine" / "rows.jsonl").exists()
    assert not (open_dataset("cc3m").folder / ".fetch").exists()


def test_a_proxy_that_answers_html_stops_the_fetch(tmp_path: Path) -> None:
    with Web() as web:
        web.answer_everything()
        path = listed(tmp_path, [(f"caption {row}", web.good(row)) for row in range(80)])
        card = tmp_path / "web.yaml"
        card.write_text(CARD.format(accept="false", path=path, columns="caption, url"))
        options = ["processes=1", "shard_size=80", f"private_hosts={json.dumps(list(web.hosts))}"]
        with pytest.raises(VltkError, match="80% were expected") as stopped:
            fetch(str(card), overrides=options)
    assert "a proxy or a login page answers" in str(stopped.value) and "not_an_image" in str(stopped.value)
    assert not (tmp_path / "data" / "web" / "manifest.json").exists()
