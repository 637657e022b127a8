"""`vltk data fetch` of URL lists, all but the download itself: rounds, resume, trying again, wrong input."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.harness import call
from tests.unit.data.fetching import CARD, KEYS, FakePiece, FakeWeb, pairs, rows_of, url
from tests.unit.data.samples import picture
from tests.web import HTML
from vltk.data.build import fetch
from vltk.data.dataset import open_dataset
from vltk.data.fetch import bring, estimate, rounds
from vltk.data.fetch.downloader import Outcome
from vltk.data.fetch.form import Form
from vltk.data.fetch.options import FetchOptions, load
from vltk.data.fetch.plan import identity
from vltk.data.fetch.progress import FetchProgress
from vltk.data.fetch.state import State
from vltk.data.lock import locked
from vltk.data.sources import shapes
from vltk.data.statuses import Status
from vltk.errors import Missing, RecipeError, VltkError


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> FakeWeb:
    made = FakeWeb()

    def outcomes(piece: FakePiece) -> Iterator[Outcome]:
        yield from made.made[piece.name]

    monkeypatch.setattr(rounds, "download", made.download)
    monkeypatch.setattr("vltk.data.fetch.packer.outcomes", outcomes)
    monkeypatch.setattr("vltk.data.fetch.early.outcomes", outcomes)
    return made


def test_only_failures_that_may_mend_are_tried_again(tmp_path: Path, web: FakeWeb) -> None:
    web.answers = {
        url(3): [Status.timeout, picture(3)],
        url(4): [Status.http_5xx, Status.http_429, picture(4)],
        url(5): [Status.dns],
        url(6): [Status.http_404],
        url(7): [Status.opted_out],
        url(8): [HTML],
    }
    fetch(str(pairs(tmp_path)), overrides=KEYS)
    rows = rows_of("pairs")
    assert {row["row"]: row["status"] for row in rows if row["status"] != "ok"} == {
        5: "dns", 6: "http_404", 7: "opted_out", 8: "not_an_image",
    }  # fmt: skip
    assert [web.asked.count(row) for row in range(3, 9)] == [2, 3, 3, 1, 1, 1]
    assert len(web.asked) == 60 + 3 + 2
    assert rows[5]["detail"] == "as the test wants" and rows[5]["caption"] == "caption 5" and rows[5]["url"] == url(5)


def test_shards_hold_their_rows_in_order_and_equal_fetches_give_equal_bytes(tmp_path: Path, web: FakeWeb) -> None:
    path = pairs(tmp_path)
    fetch(str(path), overrides=KEYS)
    dataset = open_dataset("pairs")
    assert [dataset.read(at).key for at in range(60)] == [f"{row:09d}" for row in range(60)]
    assert [shard["samples"] for shard in dataset.manifest["shards"]] == [20, 20, 20]
    web.made.clear(), web.discarded.clear()
    fetch(str(path), "again", overrides=KEYS)
    assert dataset.manifest["shards"] == open_dataset("again").manifest["shards"]


def test_a_stopped_fetch_goes_on_without_asking_twice(tmp_path: Path, web: FakeWeb) -> None:
    path, web.stop_after = pairs(tmp_path), 3
    with pytest.raises(KeyboardInterrupt):
        fetch(str(path), overrides=KEYS)
    work = tmp_path / "data" / "pairs" / ".fetch"
    assert len(State(work / "journal.jsonl").shards) <= 1 and not (work.parent / "manifest.json").exists()
    with pytest.raises(VltkError, match=r"begun with other options: short_side was 256, is 64(.|\n)*--restart"):
        fetch(str(path), overrides=[*KEYS, "short_side=64"])
    with (work / "journal.jsonl").open("a") as journal:
        journal.write('{"event": "shard", "rou')  # cut by a kill
    web.stop_after = None
    fetch(str(path), overrides=[*KEYS, "processes=5"])  # which keeps the pieces of the plan
    assert len(rows_of("pairs")) == 60 == len(web.asked) == len(set(web.asked))
    before = len(web.asked)
    assert fetch(str(path), overrides=KEYS) == ["pairs"] and len(web.asked) == before  # complete: nothing to do


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("retry", [None, []])
def test_a_kill_around_the_last_step_changes_nothing(
    tmp_path: Path, web: FakeWeb, monkeypatch: pytest.MonkeyPatch, moment: str, retry: list[str] | None
) -> None:
    web.answers = {url(1): [Status.timeout] * 3 + [picture(1)]}
    path = pairs(tmp_path)
    if retry is not None:
        fetch(str(path), overrides=KEYS)
        web.made.clear(), web.discarded.clear()
    whole = rounds.publish

    def killed(*given: Any) -> None:
        if moment == "after":
            whole(*given)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(rounds, "publish", killed)
        with pytest.raises(KeyboardInterrupt):
            fetch(str(path), overrides=KEYS, retry=retry)
    asked = len(web.asked)
    fetch(str(path), overrides=KEYS, retry=retry)
    assert len(web.asked) == asked and len(rows_of("pairs")) == 60
    assert open_dataset("pairs").manifest["samples"] == (59 if retry is None else 60)
    assert not (tmp_path / "data" / "pairs" / ".fetch").exists()


def test_fewer_rounds_than_it_was_begun_with(tmp_path: Path, web: FakeWeb) -> None:
    web.answers = {url(1): [Status.timeout]}
    path, web.stop_after = pairs(tmp_path), 4
    with pytest.raises(KeyboardInterrupt):
        fetch(str(path), overrides=KEYS)
    web.stop_after = None
    fetch(str(path), overrides=[*KEYS, "rounds=1"])
    assert rows_of("pairs")[1]["status"] == "timeout" and web.asked.count(1) <= 2


def test_a_fetch_can_begin_anew_and_replace(tmp_path: Path, web: FakeWeb) -> None:
    path, web.stop_after = pairs(tmp_path), 3
    with pytest.raises(KeyboardInterrupt):
        fetch(str(path), overrides=KEYS)
    web.stop_after = None
    web.made.clear(), web.discarded.clear()
    fetch(str(path), overrides=[*KEYS, "short_side=16"], restart=True)
    assert {row["height"] for row in rows_of("pairs")} == {16}
    web.made.clear(), web.discarded.clear()
    fetch(str(path), overrides=[*KEYS, "limit=25"], replace=True)
    assert len(rows_of("pairs")) == 25


def test_lost_rows_of_a_finished_data_set_are_tried_again(tmp_path: Path, web: FakeWeb) -> None:
    web.answers = {url(row): [Status.timeout] * 3 + [picture(row)] for row in (1, 30)} | {
        url(31): [Status.http_404],
        url(32): [Status.http_403, picture(32)],
    }
    path = pairs(tmp_path)
    fetch(str(path), overrides=KEYS)
    before = {path.name: path.stat().st_ino for path in (tmp_path / "data" / "pairs" / "shards").iterdir()}
    assert open_dataset("pairs").manifest["samples"] == 56
    web.made.clear(), web.discarded.clear()
    fetch(str(path), overrides=KEYS, retry=[])
    rows = rows_of("pairs")
    assert {row["row"]: row["status"] for row in rows if row["status"] != "ok"} == {31: "http_404", 32: "http_403"}
    assert (rows[1]["caption"], rows[1]["shard"]) == (None, 5)
    after = {path.name: path.stat().st_ino for path in (tmp_path / "data" / "pairs" / "shards").iterdir()}
    assert before.items() <= after.items()  # shards that stay are not written again
    web.made.clear(), web.discarded.clear()
    fetch(str(path), overrides=KEYS, retry=["http_403"])
    assert open_dataset("pairs").manifest["statuses"] == {"http_404": 1, "ok": 59}
    with pytest.raises(VltkError, match="no row ended as timeout: nothing to try again"):
        fetch(str(path), overrides=KEYS, retry=["timeout"])
    with pytest.raises(VltkError, match="no status http_999; have: .*http_404"):
        fetch(str(path), overrides=KEYS, retry=["http_999"])


def test_a_retry_that_mends_nothing_ends(tmp_path: Path, web: FakeWeb) -> None:
    """There is no early look: rows that failed before tell nothing of this machine."""
    web.answers = {url(row): [Status.timeout] for row in range(60, 200)}
    path = pairs(tmp_path, 200)
    fetch(str(path), overrides=[*KEYS, "expected=0.3"])
    web.made.clear(), web.discarded.clear()
    fetch(str(path), overrides=KEYS, retry=[])
    assert open_dataset("pairs").manifest["statuses"] == {"ok": 60, "timeout": 140} and len(rows_of("pairs")) == 200
    assert fetch(str(path), overrides=KEYS) == ["pairs"]


def test_a_stopped_retry_is_known_by_the_plain_command(
    tmp_path: Path, web: FakeWeb, capsys: pytest.CaptureFixture[str]
) -> None:
    web.answers = {url(row): [Status.timeout] * 3 + [picture(row)] for row in range(40)}
    path = pairs(tmp_path)
    fetch(str(path), overrides=[*KEYS, "expected=0.3"])
    for _ in range(2):
        web.made.clear(), web.discarded.clear()
        web.stop_after = 1
        with pytest.raises(KeyboardInterrupt):
            fetch(str(path), overrides=KEYS, retry=[])
        with pytest.raises(VltkError, match="lost rows are being tried again: go on with --retry-failed.*--restart"):
            fetch(str(path), overrides=KEYS)
        before = len(web.asked)
        assert fetch(str(path), overrides=KEYS, restart=True) == ["pairs"] and len(web.asked) == before
        assert open_dataset("pairs").manifest["samples"] == 20 and "is complete" in capsys.readouterr().out
    web.made.clear(), web.discarded.clear()
    web.stop_after = None
    fetch(str(path), overrides=KEYS, retry=[])
    assert open_dataset("pairs").manifest["samples"] == 60 == len(rows_of("pairs"))


def test_a_retry_stores_images_as_the_data_set_does(tmp_path: Path, web: FakeWeb) -> None:
    web.answers = {url(1): [Status.timeout] * 3 + [picture(1)]}
    path = pairs(tmp_path)
    fetch(str(path), overrides=[*KEYS, "short_side=16"])
    web.made.clear(), web.discarded.clear()
    for retry in ([], ["timeout"]):
        with pytest.raises(VltkError, match="was made with short_side 16, not 32; rows tried again are stored alike"):
            fetch(str(path), overrides=[*KEYS, "short_side=32"], retry=retry)
    web.stop_after = 0
    with pytest.raises(KeyboardInterrupt):
        fetch(str(path), overrides=KEYS, retry=[])
    with pytest.raises(VltkError, match="was made with short_side 16, not 32"):
        fetch(str(path), overrides=[*KEYS, "short_side=32"], retry=[])
    web.stop_after = None
    fetch(str(path), overrides=KEYS, retry=[])
    assert {row["height"] for row in rows_of("pairs")} == {16}


def test_switches_that_mean_nothing_are_refused(
    tmp_path: Path, web: FakeWeb, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(pairs(tmp_path))
    fetch(path, overrides=KEYS)
    before, asked = (tmp_path / "data" / "pairs" / "manifest.json").stat().st_mtime_ns, len(web.asked)
    for flags, said in {
        ("--retry-failed", "--dry-run"): "--retry-failed does not go with --dry-run: leave it out",
        ("--retry-failed", "--replace", "--restart"): "does not go with --replace, --restart: leave them out",
        ("--status", "timeout"): "add --retry-failed",
        ("--from", "mirror"): "--from mirror is a way of a card",
    }.items():
        assert call("data", "fetch", path, *KEYS, *flags) == 1
        assert said in capsys.readouterr().err
    assert (tmp_path / "data" / "pairs" / "manifest.json").stat().st_mtime_ns == before and len(web.asked) == asked
    for given in ("--dry-run", "--name x", "--restart", "--retry-failed", "threads=3"):
        assert call("data", "fetch", "shapes", *given.split()) == 1
        said = capsys.readouterr().err
        assert f"shapes is drawn by vltk, nothing is fetched: leave out {given.strip('3')}" in said
    assert not (tmp_path / "data" / "shapes").exists()
    drawn: list[dict[str, Any]] = []
    monkeypatch.setattr(shapes, "generate", lambda root, **options: drawn.append(options))
    fetch("shapes", replace=True)
    assert drawn == [{"replace": True}]


def test_a_damaged_data_set_says_how_it_was_fetched(tmp_path: Path, web: FakeWeb) -> None:
    fetch(str(pairs(tmp_path)), "mine/two", overrides=KEYS)
    card = tmp_path / "web.yaml"
    card.write_text(CARD.format(accept="false", path=pairs(tmp_path, 40), columns="caption, url"))
    web.made.clear(), web.discarded.clear()
    fetch(str(card), "other", overrides=KEYS)
    for name, command in {
        "mine/two": "vltk data fetch pairs.tsv --name mine/two --replace",
        "other": "vltk data fetch CARD.yaml --from urls --name other --replace",
    }.items():
        shard = tmp_path / "data" / name / "shards" / "00000.tar"
        shard.write_bytes(shard.read_bytes()[:-512])
        with pytest.raises(VltkError, match=f"has to be made again(.|\\n)*{command}"):
            open_dataset(name).read(0)


@pytest.mark.parametrize(
    ("status", "symptom"),
    [(Status.dns, "names do not resolve"), (Status.http_403, "the hosts forbid it"), (HTML, "a proxy or a login page")],
)
def test_an_early_stop_names_the_symptom(tmp_path: Path, web: FakeWeb, status: Status | bytes, symptom: str) -> None:
    web.answers = {url(row): [status] for row in range(2000) if row % 10}
    path = pairs(tmp_path, 2000)
    options = ["shard_size=400", "processes=4", "pause=0", "rounds=1"]
    with pytest.raises(VltkError, match=symptom):
        fetch(str(path), overrides=options)
    assert len(web.asked) <= 600
    web.made.clear(), web.discarded.clear()
    fetch(str(path), overrides=[*options, "expected=0.1"])
    assert open_dataset("pairs").manifest["samples"] == 200 and len(rows_of("pairs")) == 2000


def test_the_licence_comes_first(tmp_path: Path, web: FakeWeb, capsys: pytest.CaptureFixture[str]) -> None:
    card = tmp_path / "web.yaml"
    card.write_text(CARD.format(accept="true", path=pairs(tmp_path, 40), columns="caption, url"))
    with pytest.raises(Missing, match=r"1. the licence of web(.|\n)*example.com/terms(.|\n)*--accept-licence"):
        fetch(str(card), overrides=KEYS)
    assert fetch(str(card), overrides=KEYS, accept_licence=True) == ["web"]
    said = capsys.readouterr().out
    assert "licence: ours" in said and "expected: 80% of the addresses" in said
    source = open_dataset("web").manifest["source"]
    assert (source["kind"], source["card"], source["licence"]) == ("urls", "web", "ours")
    with pytest.raises(VltkError, match="web has no way 'mirror'; have: urls"):
        fetch(str(card), way="mirror", accept_licence=True)


def test_wrong_input_is_told_before_anything_is_fetched(
    tmp_path: Path, web: FakeWeb, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = pairs(tmp_path, 40)
    card = tmp_path / "web.yaml"
    card.write_text(CARD.format(accept="false", path=path, columns="url, caption"))
    with pytest.raises(VltkError, match="the columns are swapped"):
        fetch(str(card), overrides=KEYS)
    with pytest.raises(VltkError, match="no card 'cc33m'"):
        fetch("cc33m")
    with pytest.raises(VltkError, match="nothing.tsv is not there"):
        fetch(str(tmp_path / "nothing.tsv"))
    with pytest.raises(VltkError, match="is no name of a data set"):
        fetch(str(path), "../out")
    with pytest.raises(RecipeError, match=r"thread: unknown key.*did you mean 'threads'"):
        fetch(str(path), overrides=["thread=3"])
    usage = estimate.shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(estimate.shutil, "disk_usage", lambda place: usage)
    for _ in range(2):
        with pytest.raises(VltkError, match=r"the disk of .* is too small: about .* are needed, 1 KB are free"):
            fetch(str(path), overrides=KEYS)
    assert web.asked == []


def test_two_fetches_of_one_data_set_do_not_meet(tmp_path: Path, web: FakeWeb) -> None:
    with (
        locked(tmp_path / "data" / "pairs" / ".fetch"),
        pytest.raises(VltkError, match="another process is writing the data set"),
    ):
        fetch(str(pairs(tmp_path)), overrides=KEYS)


def test_the_list_of_a_card_is_brought_by_one_fetch_alone(
    tmp_path: Path, web: FakeWeb, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = tmp_path / "web.yaml"
    card.write_text(CARD.format(accept="false", path=pairs(tmp_path, 40), columns="caption, url"))
    brought, first = 0, bring.bring_list

    def bring_list(*given: Any) -> Any:
        nonlocal brought
        brought += 1
        with pytest.raises(VltkError, match="another process is writing the data set"):
            fetch(str(card), overrides=KEYS)
        return first(*given)

    monkeypatch.setattr(bring, "bring_list", bring_list)
    for dry_run in (True, False):
        fetch(str(card), overrides=KEYS, dry_run=dry_run)
    assert brought == 2 and len(rows_of("web")) == 40


def test_lists_of_one_name_in_two_folders(tmp_path: Path) -> None:
    found = []
    for text in ("one", "two"):
        paths = [tmp_path / "a" / "list.tsv", tmp_path / "b" / "list.tsv"]
        for path, body in zip(paths, (text, "same"), strict=True):
            path.parent.mkdir(exist_ok=True)
            path.write_text(body)
        found.append(identity([(path, Form("tsv")) for path in paths], load())["files"])
    assert list(found[0]) == ["a/list.tsv", "b/list.tsv"] and set(found[0]["a/list.tsv"]) == {"fingerprint", "form"}
    assert found[0]["a/list.tsv"] != found[1]["a/list.tsv"] and found[0]["b/list.tsv"] == found[1]["b/list.tsv"]
    assert list(identity([(tmp_path / "a" / "list.tsv", Form("tsv"))], load())["files"]) == ["list.tsv"]


def test_a_dry_run_plans_and_leaves_no_trace(tmp_path: Path, web: FakeWeb, capsys: pytest.CaptureFixture[str]) -> None:
    path = pairs(tmp_path)
    with path.open("a") as file:
        file.write("no address\t\n")
    assert call("data", "fetch", str(path), *KEYS, "--dry-run") == 0
    said = capsys.readouterr().out
    assert "61 rows, 60 to fetch in 3 shards; put aside: 1 no_url, 6 pieces of 10 rows" in said
    assert "36 samples expected" in said and "MB of memory" in said
    assert web.asked == [] and not (tmp_path / "data").exists()


def test_a_recipe_and_keys_on_top(tmp_path: Path) -> None:
    recipe = tmp_path / "fetch.yaml"
    recipe.write_text("threads: 64\nsource: {columns: [caption, url]}\n")
    options = load(recipe, ["threads=8", "source.encoding=latin-1", "distributor=ray"])
    assert (options.threads, options.source.columns, options.distributor) == (8, ["caption", "url"], "ray")
    assert options.source.encoding == "latin-1"
    assert FetchOptions(shard_size=10_000, processes=16).piece == 625
    with pytest.raises(RecipeError, match=r"^min_side: at least 1 pixel, given 0\nquality: 1 to 100, given 0$"):
        load(None, ["quality=0", "min_side=0"])
    with pytest.raises(RecipeError, match="distributor: .*spark"):
        load(None, ["distributor=spark"])


def test_progress_in_words(tmp_path: Path) -> None:
    progress = FetchProgress(10, {"ok": 2})
    for status in ("ok", "ok", "http_404", "dns"):
        progress.row(status)
    progress.note("round 2")
    line = progress.line()
    assert line.startswith("6/10 rows  67% ok  ") and "lost: http_404 17%, dns 17%" in line and line.endswith("round 2")
    shown = io.StringIO()
    Console(file=shown, width=200).print(progress._view())
    assert "6/10 rows  67% ok" in shown.getvalue()
    log = tmp_path / "proxy.jsonl"
    fresh = FetchProgress(10)
    fresh.follow(log)
    log.write_text('{"status": "ok"}\n{"status": "http_404"}\n{"status": "ok"')
    fresh._count()
    assert fresh.line().startswith("2/10 rows  50% ok")
