"""What a row of metrics.jsonl says of the steps since the one before."""

from __future__ import annotations

import math

import pytest
import torch
from rich.console import Console

from vltk.log import Monitor
from vltk.train import utilisation
from vltk.train.accumulate import Record
from vltk.train.recorder import Recorder


def record(*codes: int, loss: float = 1.0, **metrics: list[float]) -> Record:
    counts = torch.tensor(codes) if codes else None
    return Record({"mim": torch.tensor(loss)}, {k: [torch.tensor(x) for x in v] for k, v in metrics.items()}, counts)


def test_codes_add_up_over_the_steps_of_a_row() -> None:
    recorder = Recorder()
    recorder.add(0, "image", record(4, 0, 0, 0), 8, 1.0)
    recorder.add(0, "image", record(0, 4, 0, 0), 8, 1.0)
    recorder.add(1, "text", record(), 8, 1.0)
    image, text = recorder.rows(2, 1e-3, 0.0)
    assert image["metrics"] == {"codes_used": 2, "dead_codes": 2, "perplexity": pytest.approx(2)}
    assert text["metrics"] == {}
    recorder.add(0, "image", record(0, 0, 0, 3), 8, 1.0)
    assert recorder.rows(3, 1e-3, 0.0)[0]["metrics"]["codes_used"] == 1  # since the row before


def test_metrics_are_means_of_what_there_was() -> None:
    recorder = Recorder()
    recorder.add(0, "image", record(accuracy=[0.5, math.nan], none=[math.nan, math.nan]), 8, 1.0)
    recorder.add(0, "image", record(accuracy=[0.25], loss=3.0), 8, 1.0)
    (row,) = recorder.rows(2, 1e-3, 0.0)
    assert row["metrics"] == {"accuracy": 0.375} and row["losses"] == {"mim": 2.0}


def test_the_health_of_a_tokenizer_stands_in_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    recorder = Recorder()
    recorder.add(0, "image", record(2, 2, 0, 0, psnr=[19.96]), 8, 1.0)
    Monitor("codes", 10, 0).show(recorder.rows(1, 1e-3, 0.0)[0], 5.0)
    said = capsys.readouterr().out
    assert "image: mim 1.0000  2 codes used  2 dead  perplexity 2.0  20.0 dB  " in said


def test_names_are_no_markup_in_a_live_view() -> None:
    """Also within another live view, which takes text as it is."""
    monitor = Monitor("rte [seed 0]", 10, 0)
    monitor.latest["task"] = "regress 0.33 [wait]"
    console = Console(width=120, markup=False)
    with console.capture() as found:
        console.print(monitor._view())
    assert "rte [seed 0]" in found.get() and "\ntask  regress 0.33 [wait]" in found.get()


def test_mfu_is_that_of_the_steps_of_a_row(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The first step of a stream is counted, forward and backward; the ceiling is not measured before it has to be."""
    asked: list[float] = []
    monkeypatch.setattr(utilisation, "products", lambda *given: asked.append(given[2]) or 3.0e6)
    monkeypatch.setattr(utilisation, "PATIENCE", 100)
    weight, found = torch.randn(10, 20, requires_grad=True), utilisation.Utilisation(torch.device("cpu"), "bf16")
    for _ in range(2):
        with found.counting("image"):
            (torch.randn(5, 10) @ weight).sum().backward()
    assert found.of({"image": 3}, 0.5, trained=99) is None and not asked
    assert found.of({"image": 3}, 0.5, trained=101) == pytest.approx(3 * 2 * (2 * 5 * 10 * 20) / 0.5 / 3.0e6)
    monkeypatch.setattr(utilisation, "products", lambda *given: 6.0e6)  # the first time, others used the machine
    assert found.of({"image": 1000}, 1.0, trained=101) == pytest.approx(4.0e6 / 6.0e6)
    recorder = Recorder(0.0, found)
    recorder.add(1, "image", record(), 8, 1.0)
    (row,) = recorder.rows(1, 1e-3, 0.0)
    assert "mfu" not in row
    monkeypatch.setattr(utilisation, "PATIENCE", 0)
    recorder.add(2, "image", record(), 8, 1.0)
    (row,) = recorder.rows(2, 1e-3, 0.0)
    assert row["mfu"] > 0 and len(asked) == 1
    Monitor("image", 10, 0).show(row | {"mfu": 0.526}, 5.0)
    assert " GB  MFU 53%" in capsys.readouterr().out
