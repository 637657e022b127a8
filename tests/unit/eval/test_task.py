"""Cards, suites, and tasks written on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from vltk.errors import RecipeError
from vltk.eval import task


@pytest.mark.parametrize("name", task.names())
def test_every_card_gives_a_protocol(name: str) -> None:
    for choice in (task.card(name), task.card(name, "clip")):
        protocol = choice.build()
        assert protocol.metrics and all("/" in data for data in protocol.data_sets)


@pytest.mark.parametrize("name", task.suite_names())
def test_every_suite_is_of_tasks_that_there_are(name: str) -> None:
    entries = task.suite(name).entries
    assert len(set(entries)) == len(entries) and list(task.read(entries)) == entries


def test_the_suites_are_what_they_say() -> None:
    assert set(task.suite("shapes").entries) >= {"shapes-retrieval", "shapes-heldout-retrieval", "shapes-count"}
    parts = [task.suite(name).entries for name in ("vision", "language", "multimodal")]
    assert [len(part) for part in parts] == [22, 8, 5] and sum(parts, []) == task.suite("35tasks").entries
    assert task.suite("quick").limit == 2000


@pytest.mark.parametrize(
    "text,told",
    [
        ("about: a: b\ntasks: {}\n", r"mine\.yaml:1: mapping values are not allowed here$"),
        ("about: mine\ntasks: [mnist\n", r"mine\.yaml:3: expected ',' or '\]'"),
        ("about: mine\ntask: {}\n", r"mine\.yaml: task: unknown key.*did you mean 'tasks'"),
        ("- mnist\n", r"mine\.yaml: Input should be .*given \['mnist'\]"),
        (b"about: \xff\n", r"mine\.yaml: 'utf-8' codec can't decode"),
    ],
    ids=["colon", "bracket", "key", "list", "bytes"],
)
def test_a_suite_file_that_cannot_be_read_is_one_message(text: str | bytes, told: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(RecipeError, match=told):
        task.suite(str(path))


def test_tasks_on_the_command_line() -> None:
    entries = [
        "shapes-retrieval",
        "retrieval:my/dev",
        "linear_probe:a/train:a/test:count",
        "retrieval:my/dev:captions=1",
    ]
    chosen = task.read(entries)
    assert list(chosen) == entries
    assert chosen["retrieval:my/dev"].build().captions == 5
    assert chosen["retrieval:my/dev:captions=1"].build().captions == 1
    probe = chosen["linear_probe:a/train:a/test:count"].build()
    assert (probe.train, probe.test, probe.label, probe.random_weights) == ("a/train", "a/test", "count", False)


def test_null_stands_for_no_test_split() -> None:
    entry = "finetune_pair:official/vqav2/train?least=2&vocabulary=train:null:50:lr=1e-4"
    plan = task.read([entry])[entry].build().plan
    assert (plan.train, plan.test, plan.steps) == ("official/vqav2/train?least=2&vocabulary=train", {}, 50)


def test_options_behind_the_name_of_a_card() -> None:
    plan = task.read(["cola:budget=short:seeds=3:lr=2.0e-5"])["cola:budget=short:seeds=3:lr=2.0e-5"].build().plan
    assert (plan.budget, plan.seeds, plan.lr, plan.steps) == ("short", 3, 2e-5, 5336)
    with pytest.raises(RecipeError, match="unknown key"):
        task.read(["cola:learning_rate=1"])
    with pytest.raises(RecipeError, match="budget: Input should be 'full', 'short' or 'smoke'"):
        task.read(["cola:budget=long"])
    with pytest.raises(RecipeError, match="cola:short: write"):
        task.read(["cola:short"])


def test_every_wrong_entry_is_listed_with_what_exists() -> None:
    wrong = [
        "shapes-retreival",
        "retrival:x",
        "retrieval",
        "linear_probe:a/train",
        "retrieval:x:caption=2",
        "retrieval:x:limit=0",
    ]
    with pytest.raises(RecipeError) as caught:
        task.read([*wrong, "shapes-count"])
    problems = caught.value.problems
    assert len(problems) == len(wrong)
    assert "did you mean 'shapes-retrieval'?" in problems[0] and "flickr8k-retrieval" in problems[0]
    assert "did you mean 'retrieval'?" in problems[1]
    assert "retrieval:DATA" in problems[2] and "linear_probe:TRAIN:TEST:LABEL" in problems[2]
    assert "linear_probe:TRAIN:TEST:LABEL" in problems[3]
    assert "did you mean 'captions'?" in problems[4]
    assert "limit" in problems[5] and "greater than 0" in problems[5]
    assert caught.value.exit_code == 2


def test_an_unknown_suite_says_which_exist() -> None:
    with pytest.raises(RecipeError, match=r"did you mean 'shapes'.*35tasks, language.*shapes"):
        task.suite("shape")


def test_limited() -> None:
    """The smaller of both."""
    assert task.limited(task.card("shapes-count"), 30).build().limit == 30
    assert task.limited(task.card("shapes-count"), 10**6).build().limit == 5000
    assert task.limited(task.card("shapes-retrieval"), 10**6).build().limit == 10**6
