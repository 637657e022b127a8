"""Python and the packages that vltk imports: there, new enough, and importable."""

from __future__ import annotations

import importlib
import io
import os
import platform
import re
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from importlib.metadata import PackageNotFoundError, requires, version

from packaging.requirements import Requirement

from vltk import __version__
from vltk.doctor.finding import Finding

MODULES = {  # where a package is not imported by its own name
    "huggingface-hub": "huggingface_hub",
    "opencv-python-headless": "cv2",
    "pillow": "PIL",
    "pyyaml": "yaml",
    "scikit-learn": "sklearn",
}


def findings() -> Iterator[Finding]:
    """Versions of vltk and Python, then each dependency."""
    yield Finding.good("vltk", f"{__version__}, Python {platform.python_version()}, {platform.platform()}")
    if not (3, 11) <= sys.version_info < (3, 13):
        yield Finding.fail("Python", platform.python_version(), "install vltk under Python 3.11 or 3.12")
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # img2dataset imports it; it would ask the network
    for text in requires("vltk") or []:
        wanted = Requirement(text)
        if wanted.marker is None or wanted.marker.evaluate({"extra": ""}):
            yield _package(wanted)


def _package(wanted: Requirement) -> Finding:
    again = f"pip install -c constraints.txt '{wanted.name}{wanted.specifier}'"
    try:
        found = version(wanted.name)
    except PackageNotFoundError:
        return Finding.fail(wanted.name, "not installed", again)
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):  # what packages say of themselves
            importlib.import_module(MODULES.get(wanted.name, wanted.name))
    except Exception as error:  # a broken binary raises whatever it likes
        reason = re.sub(r"\s+", " ", str(error))[:120]
        return Finding.fail(wanted.name, f"{found} cannot be imported: {type(error).__name__}: {reason}", again)
    if not wanted.specifier.contains(found.partition("+")[0], prereleases=True):
        return Finding.warn(wanted.name, f"{found}, outside the tested range {wanted.specifier}", again)
    return Finding.good(wanted.name, found)
