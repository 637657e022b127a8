"""Files of the Hugging Face hub: `hf://datasets/OWNER/NAME[@REVISION]/PATH`, where PATH may hold * and ?."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from vltk.data.fetch.download import OutOfReach
from vltk.data.hashes import file_sha256
from vltk.errors import VltkError

PLACE = re.compile(r"hf://datasets/(?P<repo>[^/@]+/[^/@]+)(?:@(?P<revision>[^/]+))?/(?P<path>.+)")
COMMIT = re.compile(r"[0-9a-f]{40}")
PATIENCE = 4.0  # seconds for the first answer


@dataclass(frozen=True)
class HubFile:
    """One file of a data set at one commit; `sha256` is what the hub says, for large files."""

    repo: str
    commit: str
    path: str
    bytes: int
    sha256: str | None = None

    @property
    def url(self) -> str:
        return f"hf://datasets/{self.repo}@{self.commit}/{self.path}"


def commits(urls: Iterable[str]) -> dict[str, str]:
    """The commit of each data set that the URLs name, where it is one alone."""
    found: dict[str, set[str]] = {}
    for url in urls:
        place = PLACE.fullmatch(url)
        if place is not None and COMMIT.fullmatch(place["revision"] or ""):
            found.setdefault(place["repo"], set()).add(place["revision"])
    return {repo: named.pop() for repo, named in found.items() if len(named) == 1}


def find(url: str, commits: Mapping[str, str] | None = None) -> list[HubFile]:
    """The files that the URL names, by path; `commits` of data sets are taken where it names none itself.

    Raises VltkError: no such data set or file, or one that needs a login.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

    place = PLACE.fullmatch(url)
    if place is None:
        raise VltkError(f"{url}: expected hf://datasets/OWNER/NAME/PATH")
    repo, path, revision = place["repo"], place["path"], place["revision"]
    if not COMMIT.fullmatch(revision or ""):
        revision = (commits or {}).get(repo, revision)
    with _told(url, repo):
        api = HfApi()
        commit = api.dataset_info(repo, revision=revision, timeout=PATIENCE).sha
        fixed = path if not _is_pattern(path) else path.partition("*")[0].partition("?")[0].rpartition("/")[0]
        entries = (
            api.list_repo_tree(repo, fixed or None, repo_type="dataset", revision=commit, recursive=True)
            if _is_pattern(path)
            else api.get_paths_info(repo, [path], repo_type="dataset", revision=commit)
        )
        files = [entry for entry in entries if isinstance(entry, RepoFile) and fnmatch.fnmatchcase(entry.path, path)]
    if not files:
        raise VltkError(f"{url}: the data set {repo} has no such file")
    if odd := [file.path for file in files if ".." in file.path.split("/") or file.path.startswith("/")]:
        raise VltkError(f"{url}: {odd[0]!r} leads out of its folder; the data set is not used")
    found = [HubFile(repo, str(commit), file.path, file.size, file.lfs.sha256 if file.lfs else None) for file in files]
    return sorted(found, key=lambda file: file.path)


def _is_pattern(path: str) -> bool:
    return "*" in path or "?" in path


def bring(file: HubFile, folder: Path) -> Path:
    """The file below `folder`, under its path in the data set; continued where it stopped, its sha256 checked."""
    from huggingface_hub import hf_hub_download

    target, mark, content = folder / file.path, folder / ".whole" / file.path, file.sha256 or file.commit
    whole = target.exists() and target.stat().st_size == file.bytes
    if whole and mark.exists() and mark.read_text(encoding="utf-8") == content:
        return target
    with _told(file.url, file.repo):
        path = Path(hf_hub_download(file.repo, file.path, repo_type="dataset", revision=file.commit, local_dir=folder))
    if path.stat().st_size != file.bytes or (file.sha256 and file_sha256(path) != file.sha256):
        path.unlink()
        raise VltkError(f"{file.url}: other bytes than the hub lists; the file is not used. Run the same command again")
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.write_text(content, encoding="utf-8")
    return path


@contextmanager
def _told(url: str, repo: str) -> Iterator[None]:
    """Errors of the hub as what to do."""
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    # HTTPError of the library that the hub's client is made with: httpx, httpx2, requests
    transport = cast(type[Exception], HfHubHTTPError.__mro__[1])
    try:
        yield
    except GatedRepoError:
        raise OutOfReach(
            f"{url}: accept the terms at https://huggingface.co/datasets/{repo}, "
            "make a token at https://huggingface.co/settings/tokens and set HF_TOKEN"
        ) from None
    except (RepositoryNotFoundError, RevisionNotFoundError, EntryNotFoundError) as error:
        if isinstance(error, LocalEntryNotFoundError):
            raise OutOfReach(f"{url}: the hub cannot be reached ({error})") from None
        raise OutOfReach(f"{url}: not on the hub, or not for this login (HF_TOKEN)") from None
    except OfflineModeIsEnabled:
        raise OutOfReach(f"{url}: HF_HUB_OFFLINE is set: unset it, or bring the files by hand") from None
    except (transport, OSError) as error:
        raise OutOfReach(f"{url}: {str(error).splitlines()[0] if str(error) else type(error).__name__}") from error
