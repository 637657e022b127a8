"""`vltk doctor`: a good machine passes; what is wrong is one line with its remedy and an exit code."""

from __future__ import annotations

from pathlib import Path

import pytest
from packaging.requirements import Requirement

from vltk import doctor
from vltk.doctor import installed, machine, together, trial
from vltk.doctor.finding import Finding


def test_this_machine_has_what_vltk_imports() -> None:
    found = {finding.what: finding.state for finding in installed.findings()}
    assert {"torch", "deepspeed", "img2dataset", "scikit-learn", "pillow"} <= set(found)
    assert "fail" not in found.values()


def test_a_package_that_is_absent_old_or_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = installed._package(Requirement("no-such-package>=1"))
    assert (absent.state, absent.found) == ("fail", "not installed")
    assert "pip install" in absent.remedy and "no-such-package>=1" in absent.remedy
    assert installed._package(Requirement("numpy>=99")).state == "warn"
    monkeypatch.setitem(installed.MODULES, "numpy", "no_such_module")
    broken = installed._package(Requirement("numpy"))
    assert broken.state == "fail" and "ModuleNotFoundError" in broken.found


def test_a_full_or_closed_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"free": 3 * machine.GIB})
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda path: usage)
    little = machine._room("runs", tmp_path / "not" / "made")
    assert little.state == "warn" and f"3 GiB free in {tmp_path}" in little.found
    assert "checkpoint.keep=1" in little.remedy and "VLTK_DATA" in machine._room("data", tmp_path).remedy
    (tmp_path / "runs").write_text("no folder")
    taken = machine._room("runs", tmp_path / "runs")
    assert taken.state == "fail" and taken.found == f"{tmp_path / 'runs'} is no folder" and taken.remedy
    monkeypatch.setattr(machine.os, "access", lambda path, how: False)
    assert machine._room("runs", tmp_path).state == "fail"


def test_two_processes_sum_a_tensor(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [finding.state for finding in together.findings()] == ["pass"]
    monkeypatch.setattr(together, "WORK", "raise RuntimeError('no interface')")
    (broken,) = together.findings()
    assert broken.state == "fail" and broken.remedy


def test_ten_steps_and_what_keeps_them_from_running(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [finding.state for finding in trial.findings()] == ["pass"]
    monkeypatch.setattr(trial, "OPTIONS", ["steps=no"])
    (broken,) = trial.findings()
    assert broken.state == "fail" and "exit code 2" in broken.found and "vltk train clip-tiny" in broken.remedy
    monkeypatch.setattr(trial, "OPTIONS", ["steps=10"])
    monkeypatch.setattr(trial, "PATIENCE", 0.1)
    assert [finding.found for finding in trial.findings()] == ["not done in 0.1 s"]


def test_a_check_that_breaks_is_a_finding(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def broken() -> None:
        raise ValueError("odd")

    monkeypatch.setattr(doctor, "CHECKS", {"odd one": broken})
    (finding,) = doctor.examine()
    assert (finding.state, finding.found) == ("fail", "ValueError: odd")
    finding.show()
    assert "fail  odd one" in capsys.readouterr().out


def test_a_failure_is_the_exit_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from vltk import cli
    from vltk.errors import VltkError

    monkeypatch.setattr(
        doctor, "CHECKS", {"a": lambda: iter([Finding.good("a", "fine"), Finding.fail("b", "no", "do")])}
    )
    with pytest.raises(VltkError, match="1 of these checks failed"):
        cli.doctor()
