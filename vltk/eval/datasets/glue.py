"""GLUE (Wang et al. 2018): eight tasks on sentences and pairs of them, as tab-separated files."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from vltk.errors import VltkError
from vltk.eval.datasets._counts import counts_of, require_count, require_split
from vltk.eval.datasets._files import Files
from vltk.eval.datasets._rows import Row, Rows

HIGHEST = 5.0  # score of STS-B
DEV_IDS = ("MRPC/dev_ids.tsv", "MRPC/mrpc_dev_ids.tsv")
MSR_TRAIN = "MRPC/msr_paraphrase_train.txt"
Cells = tuple[int, list[str]]  # line in the file, its cells


@dataclass(frozen=True)
class _Form:
    """How the files of a task look. `classes`: names by class number; `marks`: how they stand in the file."""

    folder: str
    texts: tuple[str, ...]
    label: str
    classes: tuple[str, ...]
    marks: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()  # of files without a header
    dev: tuple[str, ...] = ("dev",)
    may_be_malformed: bool = False


FORMS = {
    "cola": _Form(
        "CoLA", ("sentence",), "label", ("unacceptable", "acceptable"), ("0", "1"),
        columns=("source", "label", "mark", "sentence"),
    ),
    "sst2": _Form("SST-2", ("sentence",), "label", ("negative", "positive"), ("0", "1")),
    "mrpc": _Form("MRPC", ("#1 String", "#2 String"), "Quality", ("not_equivalent", "equivalent"), ("0", "1")),
    "qqp": _Form(
        "QQP", ("question1", "question2"), "is_duplicate", ("not_duplicate", "duplicate"), ("0", "1"),
        may_be_malformed=True,
    ),
    "mnli": _Form(
        "MNLI", ("sentence1", "sentence2"), "gold_label", ("entailment", "neutral", "contradiction"),
        dev=("dev_matched", "dev_mismatched"),
    ),
    "qnli": _Form("QNLI", ("question", "sentence"), "label", ("entailment", "not_entailment")),
    "rte": _Form("RTE", ("sentence1", "sentence2"), "label", ("entailment", "not_entailment")),
    "stsb": _Form("STS-B", ("sentence1", "sentence2"), "score", ()),
}  # fmt: skip


class Glue:
    """One task: the texts are a sentence or two, the label a class number, or a score of 0 to 5 (STS-B).

    Splits are `train` and `dev`, of MNLI `dev_matched` and `dev_mismatched`. Rows are read by the header, quotes are
    ordinary characters. Rows of QQP with too few columns are left out and counted (`left_out`), as everyone does.
    """

    def __init__(
        self,
        files: Files,
        *,
        task: Literal["cola", "sst2", "mrpc", "qqp", "mnli", "qnli", "rte", "stsb"],
        nonstandard: bool = False,
    ) -> None:
        self.files, self.task, self.nonstandard = files, task, nonstandard
        self.form = FORMS[task]
        self.classes = self.form.classes
        self.splits = ("train", *self.form.dev)
        self.counts = counts_of(self.task)

    def split(self, name: str) -> Rows:
        """Raises VltkError for an unknown split, files of another form, unknown labels, another number of rows."""
        require_split(self.task, name, self.splits)
        path, lines = self._lines(name)
        columns = list(self.form.columns) or next(lines, (1, [""]))[1]
        where = self.files.where(path)
        if absent := [column for column in (*self.form.texts, self.form.label) if column not in columns]:
            raise VltkError(f"{where}: no column {', '.join(absent)}; have: {', '.join(columns)}")
        rows, left_out = [], 0
        for number, cells in lines:
            if len(cells) >= len(columns):
                rows.append(self._row(f"{where}, line {number}", number, dict(zip(columns, cells, strict=False))))
            elif self.form.may_be_malformed:
                left_out += 1
            else:
                raise VltkError(
                    f"{where}, line {number}: {len(cells)} columns, not {len(columns)}: cut short or damaged"
                )
        require_count(self.task, name, len(rows), self.nonstandard)
        return Rows(self.task, name, self.files, rows, left_out)

    def _lines(self, split: str) -> tuple[str, Iterator[Cells]]:
        path = f"{self.form.folder}/{split}.tsv"
        if self.task == "mrpc" and not self.files.exists(path):
            return MSR_TRAIN, self._of_msr(split)
        return path, _cells(self.files, path)

    def _of_msr(self, split: str) -> Iterator[Cells]:
        """The train or dev rows of Microsoft's file, by the list of pairs that GLUE holds back."""
        ids = next((path for path in DEV_IDS if self.files.exists(path)), DEV_IDS[0])
        self.files.require(MSR_TRAIN, ids)
        dev = {tuple(cells[:2]) for _, cells in _cells(self.files, ids)}
        rows = _cells(self.files, MSR_TRAIN)
        yield next(rows, (1, [""]))
        yield from ((number, cells) for number, cells in rows if (tuple(cells[1:3]) in dev) == (split == "dev"))

    def _row(self, where: str, number: int, cells: Mapping[str, str]) -> Row:
        texts = tuple(cells[column].strip() for column in self.form.texts)
        mark = cells[self.form.label].strip()
        return Row(str(number), texts=texts, label=self._label(where, mark))

    def _label(self, where: str, mark: str) -> int | float:
        if not self.classes:
            return _score(where, mark)
        marks = self.form.marks or self.classes
        if mark not in marks:
            raise VltkError(f"{where}: the label {mark!r} is none of {', '.join(marks)}")
        return marks.index(mark)


def _score(where: str, mark: str) -> float:
    try:
        score = float(mark)
    except ValueError:
        score = -1.0
    if not 0 <= score <= HIGHEST:
        raise VltkError(f"{where}: the score {mark!r} is no number of 0 to {HIGHEST:g}")
    return score


def _cells(files: Files, path: str) -> Iterator[Cells]:
    """The cells of each line that is not empty."""
    try:
        text = files.read(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise VltkError(f"{files.where(path)}: no UTF-8 at byte {error.start}") from None
    for number, line in enumerate(io.StringIO(text, newline=None), 1):
        if line.strip():
            yield number, line.rstrip("\n").split("\t")
