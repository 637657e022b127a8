"""All steps on toys: batches, kills and other processes change nothing, images stay as they are, mistakes are named."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.unit.capfilt import jobs
from tests.unit.capfilt.jobs import ToyModel, column, recipe, samples, texts
from vltk.capfilt import caption, pack, score, select, steps
from vltk.capfilt.job import Job, load
from vltk.capfilt.tables import Tables
from vltk.data import shelf
from vltk.data.dataset import open_dataset
from vltk.data.inspect.verify import verify
from vltk.data.shard import Record, write_dataset
from vltk.errors import Missing, VltkError


def made(place: Path, *overrides: str, **changes: Any) -> Job:
    """A job with all its steps done."""
    job = load(recipe(place, **changes), overrides)
    steps.run(job)
    return job


def test_the_new_data_set(place: Path) -> None:
    job = made(place)
    before, after = samples("web"), samples("clean")
    decided = {key: rows for shard in job.shards for key, rows in select.tables(job).by_key(shard.name)}
    assert 0 < len(after) < len(before) == 40
    for key, sample in after.items():
        kept = [row for row in decided[key] if row["kept"]]
        assert sample.image == before[key].image and sample.meta["label"] == before[key].meta["label"]
        assert sample.texts == [row["text"] for row in kept]
        assert [told["source"] for told in sample.meta["capfilt"]] == [row["source"] for row in kept]
        assert [told["itm"] for told in sample.meta["capfilt"]] == [row["itm"] for row in kept]
        assert all(row["itm"] >= 0.5 for row in kept)
    for key in before.keys() - after.keys():
        assert all(not row["kept"] and row["reason"] for row in decided.get(key, []))
    assert {row["source"] for rows in decided.values() for row in rows} == {"web", "generated"}
    checked = verify("clean")
    assert not checked.problems, checked.problems


def test_provenance_and_rejected_texts(place: Path) -> None:
    import pyarrow.parquet as pq

    job = made(place, seed=7)
    folder = place / "data" / "clean"
    source = json.loads((folder / "manifest.json").read_text())["source"]
    assert source["captions"]["captioner"] == {"run": "captioner", "weights": "1"} and source["captions"]["seed"] == 7
    assert source["captions"]["decoding"]["top_p"] == 0.95 and source["filter"]["run"] == "filter"
    assert source["of"] == {"web": open_dataset("web").digest} and source["select"] == {"part": "itm", "threshold": 0.5}
    tables = [pq.read_table(path).to_pylist() for path in sorted((folder / "decisions").glob("*.parquet"))]
    assert len(tables) == len(job.shards) == 4
    rejected = [row for table in tables for row in table if not row["kept"]]
    assert rejected and all(row["reason"].startswith(("itm 0.", "gate ")) for row in rejected)
    rows = [row for path in sorted((folder / "rows").glob("*.parquet")) for row in pq.read_table(path).to_pylist()]
    assert len(rows) == 40 and {row["url"] for row in rows} == {"http://a/b"}
    assert {row["status"] for row in rows} == {"ok", "filtered"}


def test_two_data_sets_of_equal_shards(place: Path) -> None:
    """Their decisions are told apart, and found by the key of the sample; the manifest has the options of scores."""
    import pyarrow.parquet as pq

    jobs.write_web(place / "data", "again")
    for name, licence in (("web", "cc-by-4.0"), ("again", "cc0-1.0")):
        path = place / "data" / name / "manifest.json"
        manifest = json.loads(path.read_text())
        path.write_text(json.dumps(manifest | {"source": {"kind": "test", "licence": licence}}))
    made(place, "score.normalise=true", data={"web": {}, "again": {}})
    folder = place / "data" / "clean"
    rows = [row for path in sorted((folder / "decisions").glob("*.parquet")) for row in pq.read_table(path).to_pylist()]
    assert {row["data"] for row in rows} == {"web", "again"}
    kept = {f"{row['data']}/{row['key']}" for row in rows if row["kept"]}
    stored = [row for path in (folder / "rows").glob("*.parquet") for row in pq.read_table(path).to_pylist()]
    assert kept and kept == {row["key"] for row in stored if row["status"] == "ok"}
    source = json.loads((folder / "manifest.json").read_text())["source"]
    assert source["score"] == {"normalise": True, "max_words": 30} and source["precision"] == "fp32"
    assert source["licence"] == "cc0-1.0 + cc-by-4.0"
    assert next(row for row in shelf.ls() if row.name == "clean").licence == "cc0-1.0 + cc-by-4.0"


def test_licences(place: Path) -> None:
    """Of a card where the manifest says none; what nobody knows is said beside what is known."""
    jobs.write_web(place / "data", "coco/train", 3)
    for name, data, told in (("one", {"coco/train": {}}, "annotations CC BY 4.0"), ("two", {"web": {}}, "")):
        made(place, name=name, output=name, data=data, select={"part": "itm", "threshold": 0.0})
        assert open_dataset(name).manifest["source"]["licence"].startswith(told), name
    assert open_dataset("two").manifest["source"]["licence"] == ""
    made(
        place, name="both", output="both", data={"coco/train": {}, "web": {}}, select={"part": "itm", "threshold": 0.0}
    )
    assert open_dataset("both").manifest["source"]["licence"].endswith(" + unknown")


def test_batches_of_one_and_of_64_give_the_same_texts_and_scores(place: Path) -> None:
    one = made(place, "name=one", "output=one", "caption.batch_size=1", "score.batch_size=1")
    many = made(place, "name=many", "output=many", "caption.batch_size=64", "score.batch_size=64")
    assert texts(one, caption) == texts(many, caption) and texts(one, score) == texts(many, score)
    assert len(texts(one, caption)) == 80
    assert column(one, score, "itm") == pytest.approx(
        1 / (1 + np.exp(-column(one, score, "itm_logit")))
    )  # nothing added
    for name in ("itm", "itc", "itm_logit"):
        assert len(np.unique(column(one, score, name))) > 1, name
        assert np.abs(column(one, score, name) - column(many, score, name)).max() < 1e-5, name
    assert [sample.texts for sample in samples("one").values()] == [sample.texts for sample in samples("many").values()]


@pytest.mark.parametrize(
    "step",
    [
        "scores",
        pytest.param("captions", marks=pytest.mark.slow),
        pytest.param("clean/.capfilt/entries", marks=pytest.mark.slow),
    ],
)
def test_killed_and_resumed_is_as_unbroken(place: Path, step: str) -> None:
    data = place / "data"
    whole = made(place, "name=whole", "output=whole")
    path = recipe(place)
    first = jobs.process(place, data, path, pause=0.15)
    folder = data / step if "entries" in step else place / "runs" / "try" / step
    jobs.wait_until(lambda: len([p for p in folder.rglob("*.[pj]*") if p.suffix != ".part"]) >= 2, first.is_alive)
    first.kill()
    first.join()
    assert first.exitcode == -signal.SIGKILL and not (data / "clean" / "manifest.json").exists()
    stood = {path: path.stat().st_mtime_ns for path in (place / "runs" / "try").rglob("*.parquet")}
    job = made(place)
    assert stood and all(path.stat().st_mtime_ns == before for path, before in stood.items())
    for one in (caption, score, select):
        assert texts(job, one) == texts(whole, one)
    assert np.abs(column(job, score, "itm") - column(whole, score, "itm")).max() < 1e-5
    for file in ("shards/00000.tar", "shards/00003.tar", "rows/00001.parquet"):
        assert (data / "clean" / file).read_bytes() == (data / "whole" / file).read_bytes(), file
    assert not (data / "clean" / ".capfilt").exists()


def test_two_processes_share_the_shards(place: Path) -> None:
    data = place / "data"
    whole = made(place, "name=whole", "output=whole")
    path = recipe(place)
    both = [jobs.process(place, data, path, 0.05) for _ in range(2)]
    for one in both:
        one.join(60)
        assert one.exitcode == 0
    job = load(path)
    assert [sample.texts for sample in samples("clean").values()] == [s.texts for s in samples("whole").values()]
    assert texts(job, caption) == texts(whole, caption) and texts(job, score) == texts(whole, score)
    assert np.abs(column(job, score, "itm") - column(whole, score, "itm")).max() < 1e-5


def test_again_does_nothing_and_a_threshold_needs_no_model(place: Path) -> None:
    job = made(place)
    before = ToyModel.batches
    assert steps.run(job) == place / "data" / "clean"
    lower = made(place, "select.threshold=0.05", "output=more")
    assert ToyModel.batches == before
    assert len(samples("more")) > len(samples("clean"))
    assert select.tables(lower).made_of("web/00000")["select"]["threshold"] == 0.05  # type: ignore[index]


def test_what_stands_is_not_decided_again(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is it read; of a rule that looks at each text alone, nothing is read before it decides."""
    job = made(place)
    read: list[str] = []
    by_key = Tables.by_key
    monkeypatch.setattr(Tables, "by_key", lambda own, shard: (read.append(shard), by_key(own, shard))[1])
    counts = select.select(load(recipe(place)))
    assert not read and sum(counts.values()) == len([row for row in texts(job, select) if row[3] is not None])
    names = [shard.name for shard in job.shards]
    select.select(load(recipe(place), ["select.threshold=0.4"]))
    assert read == names
    read.clear()
    select.select(load(recipe(place), ["select={part: percentile, keep: 0.4}"]))
    assert sorted(read) == sorted(names * 2)


def test_a_percentile_knows_of_data_that_came_later(place: Path) -> None:
    """A limit is of all texts: those that stood are decided again, and not packed as they were."""
    rule, more = {"part": "percentile", "keep": 0.5}, {"web": {}, "more": {}}
    first = made(place, select=rule)
    write_dataset(place / "data" / "more", jobs.records(30, 200), {"kind": "test"})
    both = load(recipe(place, select=rule, data=more, output="both"))
    steps.captions(both)
    steps.scores(both)
    before = select.tables(first).read("web/00000")
    select.select(both)
    assert select.tables(both).read("web/00000") != before
    with pytest.raises(VltkError, match=r"decisions/web/00000.parquet was made of something else:\n  shards: was"):
        pack.pack(load(recipe(place, select=rule, output="again")))


def test_people_are_never_filtered(place: Path) -> None:
    write_dataset(place / "data" / "people", jobs.records(9, 100), {"kind": "test"})
    job = made(place, data={"web": {}, "people": {"human": True}}, gates={"min_words": 50})
    rows = [row for shard in job.shards for row in select.tables(job).read(shard.name)]
    human = [row for row in rows if row["source"] == "human"]
    assert len(human) == 9 and all(row["kept"] and row["itm"] is None for row in human)
    assert not any(row["kept"] for row in rows if row["source"] != "human")
    assert {key.partition("/")[0] for key in samples("clean")} == {"people"}
    assert all(row["key"] not in {f"s{n}" for n in range(100, 109)} for row in rows if row["source"] == "generated")


def test_captions_without_a_filter_and_a_filter_without_captions(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made(place, filter=None, select="all", output="captioned")
    assert "score: web/00000 (1 of 4): 36 texts of 12 images, not scored: no filter\n" in capsys.readouterr().out
    assert all(len(sample.texts) >= 2 for sample in samples("captioned").values()) and len(samples("captioned")) == 40
    made(place, name="filtered", captioner=None, output="filtered")
    sources = {told["source"] for sample in samples("filtered").values() for told in sample.meta["capfilt"]}
    assert sources == {"web"}


def test_data_without_texts_gets_captions_only(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_dataset(place / "data" / "bare", [Record(f"b{n}", jobs.picture(n)) for n in range(6)], {"kind": "test"})
    made(place, data={"bare": {}}, filter=None, select="all")
    assert "bare has no texts: captions only" in capsys.readouterr().out
    assert all(len(sample.texts) == 2 for sample in samples("clean").values())


def test_an_image_that_cannot_be_read_is_noted_and_left_out(place: Path) -> None:
    broken = [Record("good", jobs.picture(1), ["ba be bi bo"]), Record("bad", b"\x89PNG nothing", ["ba be"])]
    write_dataset(place / "data" / "odd", broken, {"kind": "test"})
    job = made(place, "select.threshold=0", data={"odd": {}})
    rows = [row for row in select.tables(job).read("odd/00000") if row["key"] == "bad"]
    assert rows and all(row["reason"].startswith("the image cannot be read: undecodable") for row in rows)
    assert list(samples("clean")) == ["good"]
    manifest = json.loads((place / "data" / "clean" / "manifest.json").read_text())
    assert manifest["statuses"] == {"ok": 1, "undecodable": 1}


def test_people_s_images_are_decoded_too(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Three that cannot be read among 10; in a job with a filter or without one."""
    bad = [Record(f"bad{n}", jobs.picture(n)[: -40 * n], ["ba be"] * (n - 1)) for n in (1, 2, 3)]
    write_dataset(place / "data" / "people", [*jobs.records(7, 100), *bad], {"kind": "test"})
    job = made(place, data={"people": {"human": True}})
    assert "people/00000 (1 of 1): 10 texts of 10 images, 3 unreadable, not scored: people" in capsys.readouterr().out
    rows = [row for row in select.tables(job).read("people/00000") if row["key"].startswith("bad")]
    assert [row["text"] for row in rows] == [None, "ba be", "ba be", "ba be"]
    assert all(row["reason"].startswith("the image cannot be read: undecodable") and not row["kept"] for row in rows)
    assert not any(key.startswith("bad") for key in samples("clean"))
    manifest = json.loads((place / "data" / "clean" / "manifest.json").read_text())
    assert manifest["statuses"] == {"filtered": 2, "ok": 5, "undecodable": 3}


def test_an_image_that_the_captioner_could_not_read_is_left_out_without_a_filter(place: Path) -> None:
    broken = [Record("good", jobs.picture(1), ["ba be bi bo"]), Record("bad", b"\x89PNG nothing", ["ba be"])]
    write_dataset(place / "data" / "odd", broken, {"kind": "test"})
    made(place, data={"odd": {}}, filter=None, select="all")
    assert list(samples("clean")) == ["good"]


def test_an_output_that_exists(place: Path) -> None:
    jobs.write_web(place / "data", "clean", 3)
    with pytest.raises(VltkError, match="exists already: give another name .output=OTHER., or add --replace"):
        made(place)
    assert not list((place / "runs" / "try").rglob("*.parquet"))
    assert not (place / "data" / "clean" / ".capfilt").exists()
    job = load(recipe(place))
    steps.run(job, replace=True)
    assert "capfilt" in open_dataset("clean").manifest["source"]["kind"]


def test_a_shard_that_changed_since_it_was_scored(place: Path) -> None:
    job = made(place)
    write_dataset(place / "data" / "web", jobs.records(40, 1), {"kind": "test"}, 12, replace=True)
    again = load(recipe(place, output="other"))
    with pytest.raises(VltkError, match="the shard web/00000 changed since it was scored: .* --redo"):
        select.select(again)
    with pytest.raises(
        VltkError, match="captions/web/00000.parquet was made of something else:\n  shard.index_sha256: was"
    ):
        steps.run(again)
    steps.run(again, redo=True)
    assert len(texts(again, caption)) == len(texts(job, caption))


def test_bytes_that_changed_behind_the_manifest(place: Path) -> None:
    job = load(recipe(place))
    steps.captions(job)
    steps.scores(job)
    select.select(job)
    tar = place / "data" / "web" / "shards" / "00001.tar"
    data = bytearray(tar.read_bytes())
    data[700] ^= 1
    tar.write_bytes(data)
    with pytest.raises(VltkError, match=r"00001.tar changed since it was scored: .* vltk data verify web"):
        pack.pack(job)


def test_other_settings_are_refused_or_made_again(place: Path) -> None:
    made(place)
    changed = load(recipe(place, output="other"), ["caption.top_p=0.5"])
    with pytest.raises(VltkError, match=r"decoding.top_p: was 0.95, is 0.5\n.*name=OTHER.*--redo"):
        steps.run(changed)
    steps.run(changed, redo=True)
    assert caption.tables(changed).made_of("web/00003")["decoding"]["top_p"] == 0.5  # type: ignore[index]


def test_a_step_says_which_comes_before_it(place: Path) -> None:
    job = load(recipe(place))
    for step, wanted in ((score.score, "caption"), (select.select, "score"), (pack.pack, "select")):
        with pytest.raises(Missing, match=f"vltk capfilt {wanted} .*try.yaml"):
            step(job)


def test_a_damaged_table_is_named(place: Path) -> None:
    job = load(recipe(place))
    steps.captions(job)
    steps.scores(job)
    score.tables(job).path("web/00002").write_bytes(b"nothing")
    with pytest.raises(VltkError, match="scores/web/00002.parquet: damaged"):
        select.select(job)
