"""The tables of a step: a parquet file a shard, whole or not at all, which says in itself what it was made of."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vltk.errors import VltkError
from vltk.identity import changes
from vltk.whole import whole

if TYPE_CHECKING:
    import pyarrow as pa

Row = dict[str, Any]
MADE_OF = b"vltk.made_of"
COLUMNS = {  # name to pyarrow's type; of a text
    "key": "string",  # of its sample
    "number": "int32",  # among the texts of its sample
    "source": "string",  # web, human, generated
    "text": "string",
    "scored": "string",  # as the filter read it, where that differs
    "itm_logit": "float64",  # of a match, minus that of none
    "itm": "float64",  # probability of a match
    "itc": "float64",  # cosine
    "logprob": "float64",  # of a generated text: mean of its tokens'
    "length": "int32",  # of a generated text, in tokens
    "finished": "bool",  # of a generated text: not cut at the longest length
    "unknown": "float64",  # share of its tokens that the filter does not know
    "error": "string",  # why its image cannot be read
    "kept": "bool",
    "reason": "string",
}
CAPTIONS = ("key", "number", "text", "logprob", "length", "finished", "error")
SCORES = (*CAPTIONS[:2], "source", "text", "scored", "itm_logit", "itm", "itc", *CAPTIONS[3:6], "unknown", "error")
DECISIONS = (*SCORES, "kept", "reason")


class Tables:
    """Those of one step below `folder`, by the name of a shard; `columns` of COLUMNS."""

    def __init__(self, folder: Path, columns: Sequence[str]) -> None:
        self.folder, self.columns = folder, columns

    def path(self, shard: str) -> Path:
        return self.folder / f"{shard}.parquet"

    def made_of(self, shard: str) -> dict[str, Any] | None:
        """What the table of a shard was made of; None where there is none. Raises VltkError for a damaged one."""
        if not self.path(shard).exists():
            return None
        import pyarrow.parquet as pq

        with _told(self.path(shard)):
            found: dict[str, Any] = json.loads(pq.read_schema(self.path(shard)).metadata[MADE_OF])
        return found

    def stands(self, shard: str, facts: Mapping[str, Any], redo: bool = False) -> bool:
        """Whether the table of a shard is there, and was made of these facts.

        Raises VltkError where it was made of others; with `redo` it counts as absent.
        """
        before = self.made_of(shard)
        if before is None or before == facts:
            return before is not None
        if redo:
            return False
        shown = "\n  ".join(changes(before, dict(facts))[:8])
        raise VltkError(
            f"{self.path(shard)} was made of something else:\n  {shown}\n"
            "give this job another name (name=OTHER), or make what has changed again with --redo"
        )

    def write(self, shard: str, rows: Sequence[Row], facts: Mapping[str, Any]) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        fields = [pa.field(name, pa.type_for_alias(COLUMNS[name])) for name in self.columns]
        schema = pa.schema(fields, metadata={MADE_OF: json.dumps(facts, sort_keys=True).encode()})
        path = self.path(shard)
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole(path) as part:
            pq.write_table(pa.Table.from_pylist(list(rows), schema=schema), part, compression="zstd")

    def read(self, shard: str) -> list[Row]:
        """Raises VltkError for a damaged table."""
        rows: list[Row] = self.table(shard).to_pylist()
        return rows

    def by_key(self, shard: str) -> Iterator[tuple[str, list[Row]]]:
        """The rows of each sample, in order."""
        for key, rows in groupby(self.read(shard), key=lambda row: str(row["key"])):
            yield key, list(rows)

    def table(self, shard: str, columns: Sequence[str] | None = None) -> pa.Table:
        """All columns, or these. Raises VltkError for a damaged table."""
        import pyarrow.parquet as pq

        with _told(self.path(shard)):
            return pq.ParquetFile(self.path(shard)).read(columns)


class _told:
    """Says which table cannot be read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None: ...

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        import pyarrow as pa

        if isinstance(error, OSError | ValueError | KeyError | TypeError | pa.ArrowException):
            raise VltkError(
                f"{self.path}: damaged ({error}): remove it, and the same command makes it again"
            ) from error
