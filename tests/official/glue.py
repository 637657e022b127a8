"""The eight tasks of GLUE in their official files, a few rows each; some quotes never close, a row of QQP is cut."""

from __future__ import annotations

from pathlib import Path

HEADERS = {
    "SST-2": "sentence\tlabel",
    "MRPC": "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String",
    "QQP": "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate",
    "QNLI": "index\tquestion\tsentence\tlabel",
    "RTE": "index\tsentence1\tsentence2\tlabel",
    "STS-B": "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore",
}
ROWS = {
    "CoLA": ["gj04\t1\t\tThe sailors rode the breeze.", 'gj04\t0\t*\tThe "box out tried.', "bc01\t1\t\tIt rained."],
    "SST-2": ["a warm film \t1", 'a "cold film \t0', "neither fish \t0"],
    "MRPC": ['1\t11\t12\tHe said so.\t"He said so.', "0\t21\t22\tA cat.\tA dog.", "1\t31\t32\tYes.\tIndeed."],
    "QQP": ["0\t1\t2\tWhy?\tHow come?\t1", "5\tcut row", "1\t3\t4\tWho?\tWhere?\t0", "2\t5\t6\tIs it?\tIs it not?\t0"],
    "QNLI": ["0\tWho?\tIt was he.\tentailment", "1\tWhen?\tIt was he.\tnot_entailment", "2\tWho?\tShe.\tentailment"],
    "RTE": ["0\tIt rains.\tIt is wet.\tentailment", "1\tIt rains.\tIt is dry.\tnot_entailment"],
    "STS-B": [
        "0\tg\tf\t2012\t0\tnone\tnone\tA man.\tA man.\t5.000",
        "1\tg\tf\t2012\t1\tnone\tnone\tA man.\tA boy.\t2.5",
        "2\tg\tf\t2012\t2\tnone\tnone\tA man.\tA car.\t0",
    ],
}
MNLI_ROWS = [
    ("It rains.", "It is wet.", "entailment"),
    ("It rains.", "It is dry.", "contradiction"),
    ("A.", "B.", "neutral"),
]
MNLI_HEAD = (
    "index\tpromptID\tpairID\tgenre\tsentence1_binary_parse\tsentence2_binary_parse\tsentence1_parse\tsentence2_parse"
)


def make(root: Path) -> None:
    """All eight below `root`; every split has the same rows. MRPC as its two ready files."""
    for folder, rows in ROWS.items():
        for split in ("train", "dev"):
            write(root / folder / f"{split}.tsv", [HEADERS[folder]] if folder in HEADERS else [], rows)
    for split, labels in (("train", 1), ("dev_matched", 5), ("dev_mismatched", 5)):
        given = "\t".join(f"label{number + 1}" for number in range(labels))
        head = f"{MNLI_HEAD}\tsentence1\tsentence2\t{given}\tgold_label"
        rows = [
            "\t".join([str(at), "1", "1e", "fiction", "(", ")", "(", ")", one, two, *["neutral"] * labels, label])
            for at, (one, two, label) in enumerate(MNLI_ROWS)
        ]
        write(root / "MNLI" / f"{split}.tsv", [head], rows)


def make_msr(root: Path) -> None:
    """MRPC as Microsoft's file, with a byte order mark, and the list of its dev pairs."""
    write(root / "MRPC" / "msr_paraphrase_train.txt", ["\ufeff" + HEADERS["MRPC"]], ROWS["MRPC"])
    write(root / "MRPC" / "dev_ids.tsv", [], ["21\t22"])


def write(path: Path, head: list[str], rows: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([*head, *rows]) + "\n", encoding="utf-8")
