"""`vltk eval --fetch`: downloads the files of official data sets that are open to all; says what a person brings."""

from __future__ import annotations

import gzip
import hashlib
import shutil
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from vltk.data.bar import Bar
from vltk.data.fetch.archives import unpack
from vltk.data.fetch.download import download
from vltk.data.fetch.estimate import SPARE, size
from vltk.data.fetch.policy import Policy
from vltk.errors import VltkError
from vltk.eval.data_status import all_names, checklist, chosen_names
from vltk.eval.datasets._card import DataCard, OfficialFile, load_card
from vltk.eval.datasets._places import Survey, own_folder, survey
from vltk.log import say

FREE = "free"  # every data set of the 35 that asks for no account and no form
CHUNK = 1 << 20
OPEN = Policy(deadline=60.0)


@dataclass(frozen=True)
class Job:
    """One file to download to `folder`, or, where it lies there already, to put in place alone."""

    card: DataCard
    file: OfficialFile
    folder: Path
    here: bool

    @property
    def todo(self) -> str:
        """What will be done, in a line."""
        name = f"{self.card.name}: {self.file.name}"
        if self.here:
            return f"{name}: unpack"
        check = "md5" if self.file.md5 else "sha256" if self.file.sha256 else "no known checksum"
        amount = "size not known" if self.file.bytes is None else f"about {size(self.file.bytes)}"
        return f"{name}: {amount}, {check}, from {self.file.url}"


def fetch(names: Sequence[str], data: Path | None = None, dry_run: bool = False, policy: Policy = OPEN) -> list[Survey]:
    """Downloads what is absent of the data sets (`free`: of all that are open), puts it in place, and returns what is
    then there. What will be done is said first; a dry run ends there. What a stopped call has brought is kept.

    Raises RecipeError for a name without a card; VltkError when the disk is too small, and at the end for all files
    that could not be had or have other bytes than their checksum says.
    """
    surveys = [survey(name, data) for name in _chosen(names)]
    jobs = _planned(job for found in surveys for job in _jobs(found, data))
    _say_plan(surveys, jobs)
    if jobs and not dry_run:
        _require_disk(jobs[0].folder, _needed(jobs))
        failures = [failure for job in jobs if (failure := _done(job, policy))]
        surveys = [survey(found.card.name, data) for found in surveys]
        for found in surveys:
            say(f"{found.card.name}: {found.state}" + (f", in {found.root}" if found.root is not None else ""))
        _say_rest(surveys, data)
        if failures:
            raise VltkError("\n".join([*failures, f"{len(failures)} of {len(jobs)} files are not in place"]))
        return surveys
    _say_rest(surveys, data)
    return surveys


def _chosen(names: Sequence[str]) -> list[str]:
    """The data sets, `free` written out, each once."""
    plain = chosen_names([name for name in names if name != FREE])
    free = [name for name in all_names() if is_open(name)] if FREE in names else []
    return list(dict.fromkeys([*plain, *free]))


def is_open(name: str) -> bool:
    """Whether a data set asks for no account, no form and no acceptance of terms."""
    card = load_card(name)
    return card.gated == "none" and not card.licence.needs_accept


def _jobs(found: Survey, data: Path | None) -> Iterator[Job]:
    shared = found.place is not None and found.place.shared
    folder = own_folder(found.card, data) if found.root is None or shared else found.root
    for one in found.files:
        if one.state == "packed" and one.path is not None and one.file.unpack is None:
            yield Job(found.card, one.file, one.path.parent, True)
        elif one.state in ("absent", "part") and one.file.url is not None:
            yield Job(found.card, one.file, (folder / one.file.name).parent, False)


def _planned(jobs: Iterable[Job]) -> list[Job]:
    """Without files that the folder of another data set gets and this one looks into: photos come once."""
    planned: list[Job] = []
    for job in jobs:
        brought = {(one.file.url, one.card.name) for one in planned if not one.here}
        if job.here or not any((job.file.url, other) in brought for other in job.card.beside):
            planned.append(job)
    return planned


def _say_plan(surveys: Sequence[Survey], jobs: Sequence[Job]) -> None:
    for card in dict.fromkeys(job.card.name for job in jobs):
        found = next(found for found in surveys if found.card.name == card)
        say(f"{card}: {found.card.about}; licence: {found.card.licence.id}")
    for job in jobs:
        say(f"  {job.todo}, to {job.folder}")
    ready = [found.card.name for found in surveys if found.state == "ready"]
    if ready:
        say(f"ready already: {', '.join(ready)}")
    if jobs:
        say(f"{len(jobs)} files, {size(_download(jobs))} to download, {size(_needed(jobs))} of disk at most on the way")
    else:
        say("nothing to download")


def _say_rest(surveys: Sequence[Survey], data: Path | None) -> None:
    for found in surveys:
        for line in checklist(found, data):
            say(line)


def _download(jobs: Sequence[Job]) -> int:
    return sum(job.file.bytes or 0 for job in jobs if not job.here)


def _needed(jobs: Sequence[Job]) -> int:
    """Bytes on disk: what is downloaded, and twice a file that is unpacked, which then stands beside its archive."""
    return _download(jobs) + max((2 * (job.file.bytes or 0) for job in jobs if _is_packed(job.file)), default=0)


def _require_disk(folder: Path, needed: int) -> None:
    place = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(place).free
    if free < needed + SPARE:
        raise VltkError(
            f"the disk of {place} is too small: about {size(needed)} are needed, {size(free)} are free\n"
            "Free some space, fetch fewer data sets (--fetch mnist,cifar10), or put them elsewhere: --data DIR"
        )


def _is_packed(file: OfficialFile) -> bool:
    return file.in_place != file.name


def _done(job: Job, policy: Policy) -> str | None:
    """Brings one file and puts it in place; what went wrong, or None."""
    try:
        path = job.folder / job.file.name.rpartition("/")[2]
        if not job.here and job.file.remote is not None:
            say(f"{job.card.name}: {job.file.name}")
            path = download(job.file.remote, job.folder, policy)
            _check_md5(path, job.file)
        _place(path, job.file)
    except VltkError as error:
        return f"{job.card.name}: {error}"
    return None


def _check_md5(path: Path, file: OfficialFile) -> None:
    """Raises VltkError, and removes the file, where it has another md5 than the card says."""
    if file.md5 is None:
        return
    with path.open("rb") as source:
        found = hashlib.file_digest(source, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if found != file.md5:
        path.unlink()
        raise VltkError(f"{file.url}: md5 {found}, the card says {file.md5}: damaged on the way or replaced; not used")


def _place(path: Path, file: OfficialFile) -> None:
    """What is compressed as a whole becomes a tar, or a plain file, that is read in place; the archive goes."""
    if file.unpack is not None or not _is_packed(file):
        return
    if file.inner is not None:
        folder = path.with_name(f"{path.stem}.inner")
        inner = unpack(path, folder, file.inner)[0]
        _gunzip(inner, path.parent / inner.name)
        shutil.rmtree(folder)
    else:
        _gunzip(path, path)
    path.unlink(missing_ok=True)


def _gunzip(packed: Path, beside: Path) -> None:
    """Uncompresses to the name of `beside` without its ending, and removes `packed`. Raises VltkError if damaged."""
    name = beside.name
    plain = beside.with_name(f"{name.removesuffix('.tgz')}.tar" if name.endswith(".tgz") else name.removesuffix(".gz"))
    part = plain.with_name(f"{plain.name}.part")
    total = packed.stat().st_size
    try:
        with packed.open("rb") as raw, gzip.open(raw) as source, part.open("wb") as out, Bar(plain.name, total) as bar:
            while data := source.read(CHUNK):
                out.write(data)
                if bar.due():
                    bar.show(raw.tell(), "unpacking")
    except (OSError, EOFError, zlib.error) as error:
        part.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno is not None:  # of the disk, not of what is in the file
            raise
        raise VltkError(f"{packed} is damaged ({error}): delete it, and the same command gets it again") from None
    part.rename(plain)
    packed.unlink()
