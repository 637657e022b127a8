"""`vltk capfilt pack`: the kept texts with their images, whose bytes stay as they are, as a data set of its own.

A sample without a kept text is left out. `NAME/decisions/` beside the shards has all texts, the rejected ones too, with
its scores and the reason; the manifest says what all of it was made of.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vltk import __version__
from vltk.capfilt import reasons, score, select
from vltk.capfilt.job import Job, Shard, output_folder
from vltk.capfilt.provenance import Facts, Provenance, unlike
from vltk.capfilt.tables import Row, differences, unspelled
from vltk.data.card import licence_of
from vltk.data.hashes import file_sha256
from vltk.data.lock import locked
from vltk.data.row_table import COLUMNS, REQUIRED
from vltk.data.shard import Record, Rejected, ShardWriter, publish
from vltk.data.statuses import Status
from vltk.errors import VltkError
from vltk.identity import digest
from vltk.log import say
from vltk.whole import whole

WORK = ".capfilt"
DECISIONS = "decisions"
PATIENCE = 24 * 3600.0  # seconds that another process may pack the same
PROSE = ("vltk", "licence")  # of a manifest's source; other words are the same data set
TOLD = ("source", "itm", "itc", "logprob")  # of a kept text, in the JSON of its sample


def pack(job: Job, replace: bool = False) -> Path:
    """The folder of the data set; a shard that was packed before is not packed again.

    Raises Missing where decisions are absent, VltkError where no text is kept, where the output exists already and is
    not this one, where a shard changed since it was scored, or where decisions are not those of the recipe.
    """
    folder, source = output_folder(job), provenance(job)
    refuse_output(job, replace)
    reasons.require_kept(select.tables(job), [shard.name for shard in job.shards], _where_to_look(job))
    with locked(folder / WORK, wait=PATIENCE):  # another process may be packing it just now
        if not (found := _differences(folder, source)):
            shutil.rmtree(folder / WORK, ignore_errors=True)  # of that process, or of one that was killed at its end
            for shard in job.shards:
                if _is_newer(shard, folder):
                    _check_bytes(shard, job)
            say(f"pack: {folder} stands already, of equal data and decisions")
            return folder
        if (folder / "manifest.json").exists() and not replace:
            raise _exists(folder, found)
        work, first, entries = folder / WORK, 0, []
        _forget_others(work, source)
        for number, shard in enumerate(job.shards):
            entries.append(_packed(job, shard, number, first, work))
            first += len(shard.positions)
        made = publish(work, folder, entries, source, replace)
        shutil.rmtree(work)
    say(f"pack: {folder}: {made.samples:,} of {made.rows:,} samples with {made.texts:,} texts")
    return folder


def _where_to_look(job: Job) -> str:
    report = job.folder / "report.html"
    return f"{report} shows the texts" if report.exists() else f"vltk capfilt report {job.given} shows the texts"


def refuse_output(job: Job, replace: bool = False) -> None:
    """Raises VltkError where a data set of this name exists that the recipe would make otherwise."""
    folder = output_folder(job)
    if (folder / "manifest.json").exists() and not replace and (found := unlike(_source_of(folder), said(job))):
        raise _exists(folder, found)


def _exists(folder: Path, found: Sequence[str]) -> VltkError:
    """With what it was made of and should not be, where a job like this one has made it."""
    told = f"the data set {folder} exists already: give another name (output=OTHER), or add --replace"
    if any(line.startswith("kind: ") for line in found):
        return VltkError(told)
    return VltkError("\n  ".join([f"{told}; it was made of something else:", *found[:8]]))


def said(job: Job) -> Facts:
    """What the data set is made of, as far as the recipe says it."""
    provenance, options = Provenance(job), job.options
    scoring = score.facts_of(job, None)
    return {
        "kind": "capfilt",
        "of": {name: dataset.digest for name, dataset in job.datasets.items()},
        "human": [name for name, one in options.data.items() if one.human],
        "captions": provenance.captions,
        "filter": provenance.filter,
        "score": scoring["score"],
        "precision": scoring["precision"],
        "select": options.select.model_dump(mode="json"),
        "gates": options.gates.model_dump(mode="json"),
    }


def provenance(job: Job) -> Facts:
    """What the data set is made of, for its manifest. Raises as `select.require_decided` does."""
    decisions = select.require_decided(job)
    scores = [one["scores"] for one in decisions.values()]
    captions = next((one["captions"] for one in scores if one["captions"]), None)
    return said(job) | {
        "captions": captions and {key: value for key, value in captions.items() if key != "shard"},
        "filter": next((one["filter"] for one in scores if one["filter"]), None),
        "decisions": digest(unspelled(decisions)),
        "licence": _licence(job),
        "vltk": __version__,
    }


def _licence(job: Job) -> str:
    """Of the data sets that go in; empty where nothing is known of any."""
    found = [licence_of(name, dataset.manifest) for name, dataset in job.datasets.items()]
    return " + ".join(dict.fromkeys(one or "unknown" for one in found)) if any(found) else ""


def _differences(folder: Path, source: Facts) -> list[str]:
    """Of the data set that stands there; none where it is this one."""
    return differences(_without_prose(_source_of(folder)), _without_prose(source))


def _without_prose(source: Facts) -> Facts:
    return {name: value for name, value in source.items() if name not in PROSE}


def _source_of(folder: Path) -> Facts:
    """As the manifest there has it; empty where there is none."""
    path = folder / "manifest.json"
    found: Facts = json.loads(path.read_text(encoding="utf-8")).get("source", {}) if path.exists() else {}
    return found


def _forget_others(work: Path, source: Mapping[str, Any]) -> None:
    """Empties the folder where it holds shards of other decisions."""
    path = work / "source.json"
    text = json.dumps(source, sort_keys=True)
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return
    for left in work.iterdir():
        shutil.rmtree(left) if left.is_dir() else left.unlink()
    with whole(path) as part:
        part.write_text(text, encoding="utf-8")


def _packed(job: Job, shard: Shard, number: int, first_row: int, work: Path) -> dict[str, Any]:
    """The entry of one shard; it is packed unless it was before a kill."""
    path = work / "entries" / f"{number:05d}.json"
    if path.exists():
        entry: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return entry
    _check_bytes(shard, job)
    texts = dict(select.tables(job).by_key(shard.name))
    rows = _rows_of(shard)
    writer = ShardWriter(work, number, first_row)
    try:
        for position in shard.positions:
            sample = shard.dataset.read(position)
            writer.add(_record(job, shard, sample, texts.get(sample.key, []), rows.get(sample.key, {})))
        entry = writer.close()
    finally:
        writer.abandon()
    _copy(select.tables(job).path(shard.name), work / DECISIONS / f"{number:05d}.parquet")
    path.parent.mkdir(exist_ok=True)
    with whole(path) as part:
        part.write_text(json.dumps(entry), encoding="utf-8")
    say(f"pack: {shard.name} ({number + 1} of {len(job.shards)}): {entry['samples']:,} of {entry['rows']:,} samples")
    return entry


def _is_newer(shard: Shard, folder: Path) -> bool:
    """Whether its tar was written after the data set there, which was made of it."""
    place = shard.dataset.store.place(shard.number)
    return isinstance(place, Path) and place.stat().st_mtime_ns > (folder / "manifest.json").stat().st_mtime_ns


def _check_bytes(shard: Shard, job: Job) -> None:
    place = shard.dataset.store.place(shard.number)
    if isinstance(place, Path) and file_sha256(place) != shard.content["sha256"]:
        raise VltkError(
            f"{place} changed since it was scored: its sha256 is not the manifest's; vltk data verify "
            f"{shard.dataset.name} says more"
        )


def _record(job: Job, shard: Shard, sample: Any, texts: list[Row], row: Mapping[str, Any]) -> Record | Rejected:
    key = sample.key if len(job.datasets) == 1 else f"{shard.dataset.name}/{sample.key}"
    kept = [text for text in texts if text["kept"]]
    if not kept:
        error = next((text["error"] for text in texts if text["error"] is not None), None)
        status = Status.filtered if error is None else Status.undecodable
        return Rejected(key, status, error or "no text is kept", row)
    told = [{name: text[name] for name in TOLD if text[name] is not None} for text in kept]
    return Record(key, sample.image, [text["text"] for text in kept], sample.meta | {"capfilt": told}, row)


def _rows_of(shard: Shard) -> dict[str, dict[str, Any]]:
    """What the rows of the shard say of its samples (address, sizes, hashes), by key; nothing where it has none."""
    import pyarrow.parquet as pq

    entry = shard.dataset.manifest["shards"][shard.number]
    path = shard.dataset.folder / "rows" / f"{Path(entry['file']).stem}.parquet"
    if not path.exists():
        return {}
    columns = [name for name in COLUMNS if name not in REQUIRED or name in ("key", "status")]
    known = pq.read_schema(path).names
    found = pq.ParquetFile(path).read([name for name in columns if name in known]).to_pylist()
    stored = (row for row in found if row.pop("status") == Status.ok)
    return {row.pop("key"): {name: value for name, value in row.items() if value is not None} for row in stored}


def _copy(path: Path, to: Path) -> None:
    to.parent.mkdir(exist_ok=True)
    with whole(to) as part:
        shutil.copyfile(path, part)
