"""Hugging Face folders evaluate as they are: CLIP and FLAVA with their vocabulary, ViT where no text is asked for."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import tiny
from tests.harness import vltk_process
from tests.official import glue
from tests.official.vision import WRITERS
from tests.parity.test_convert import TOWER, clip_model, flava_model, saved
from tests.parity.test_dual_parity import dual_model
from vltk import run as runs
from vltk.convert import import_hf
from vltk.eval import run
from vltk.eval.queue import TasksFailed

transformers = pytest.importorskip("transformers")
QUICK = "linear_probe:official/cifar10/train:official/cifar10/test:class:max_iterations=20"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    WRITERS["cifar10"](tmp_path / "official/cifar10")
    return tmp_path


def evaluated(*folders: str, tasks: list[str]) -> list[dict[str, Any]]:
    return run.evaluate(folders, tasks=tasks, options=run.Options(data=Path("official"), nonstandard=True))


def test_clip_and_flava_side_by_side(here: Path, write_pairs: Callable[..., None]) -> None:
    write_pairs("pairs/dev", [[f"word{index}"] for index in range(8)])
    saved(clip_model(end=3), "a-clip")
    saved(flava_model(), "a-flava")
    tasks = [QUICK, "cifar10-zero-shot", "retrieval:pairs/dev", "retrieval:pairs/dev:rerank=4"]
    rows = evaluated("a-clip", "a-flava", tasks=tasks[:3])
    assert {row["run"] for row in rows} == {"a-clip", "a-flava"} and len(rows) == 2 * (2 + 3 + 9)
    for name in ("a-clip", "a-flava"):
        written = Path("runs", name, "hf")
        assert len((written / "results.jsonl").read_text().splitlines()) == 14
        assert (written / "evaluations/tasks.md").is_file() and not Path(name, "results.jsonl").exists()
    compared = json.loads(Path("runs/a-clip/hf/evaluations/contrasts.json").read_text())
    assert {row["metric"] for row in compared} >= {"accuracy", "mean recall", "zero-shot accuracy"}
    assert any(row["metric"].startswith("re-ranked") for row in evaluated("a-flava", tasks=tasks[3:]))


def test_a_flava_without_heads(
    here: Path, write_pairs: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    """The encoders and projections are those of the whole model; what its heads would be asked for is marked."""
    write_pairs("pairs/dev", [[f"word{index}"] for index in range(8)])
    whole = flava_model()
    saved(whole, "whole")
    saved(whole.flava, "bare")
    tasks = ["retrieval:pairs/dev", QUICK, "masked_text:pairs/dev"]
    found = {
        name: [row for row in evaluated(name, tasks=tasks) if row["task"] != tasks[2]] for name in ("whole", "bare")
    }
    assert [row["value"] for row in found["bare"]] == [row["value"] for row in found["whole"]]
    assert all(name.startswith("heads.") for name in runs.load("bare").untrained) and runs.load("bare").untrained
    table = Path("runs/bare/hf/evaluations/tasks.md").read_text().splitlines()
    assert [line for line in table if "heads.mlm was never trained" in line and "masked_text" in line]
    assert not [line for line in table if "never trained" in line and "masked_text" not in line]
    assert "never" not in Path("runs/whole/hf/evaluations/tasks.md").read_text()
    again = runs.load("bare").model.state_dict()
    assert all((again[name] == tensor).all() for name, tensor in runs.load("bare").model.state_dict().items())
    capsys.readouterr()
    import_hf(Path("bare"), "brought")
    assert (
        "FlavaModel lacks" in capsys.readouterr().out and runs.load("brought").untrained == runs.load("bare").untrained
    )


def test_a_pair_of_encoders_in_one_folder(here: Path, write_pairs: Callable[..., None]) -> None:
    """The run that is made of it gives the same."""
    write_pairs("pairs/dev", [[f"word{index}"] for index in range(40)])
    saved(dual_model(), "a-pair")
    rows = evaluated("a-pair", tasks=[QUICK, "cifar10-zero-shot", "retrieval:pairs/dev"])
    assert len(rows) == 2 + 3 + 9 and {row["run"] for row in rows} == {"a-pair"}
    assert "never" not in Path("runs/a-pair/hf/evaluations/tasks.md").read_text()
    import_hf(Path("a-pair"), "brought")
    again = run.evaluate(["brought"], tasks=["retrieval:pairs/dev"])
    wanted = [row["value"] for row in rows if row["task"] == "retrieval:pairs/dev"]
    assert [row["value"] for row in again] == wanted


def test_a_bert_has_no_images(here: Path, write_pairs: Callable[..., None]) -> None:
    """Its texts are fine-tuned, beside a ViT that has none; what it lacks is said."""
    glue.make(here / "official/glue")
    config = transformers.BertConfig(**TOWER, vocab_size=tiny.VOCAB, max_position_embeddings=24)
    saved(transformers.BertModel(config), "a-bert")
    transformers.ViTModel(transformers.ViTConfig(**TOWER, image_size=64, patch_size=16)).save_pretrained("a-vit")
    entry = "sst2:steps=2:batch_size=2:warmup=0:evaluations=1"
    assert {row["metric"] for row in evaluated("a-bert", tasks=[entry])} >= {"accuracy", "F1"}
    with pytest.raises(TasksFailed, match=r"a-bert: cifar10: the run a-bert has no image encoder"):
        evaluated("a-bert", tasks=["cifar10"])
    with pytest.raises(TasksFailed, match=r"the run a-vit has no text encoder, which this task trains; it has: image"):
        evaluated("a-vit", tasks=[entry])


def test_a_vit_has_no_text(here: Path) -> None:
    config = transformers.ViTConfig(**TOWER, image_size=64, patch_size=16)
    transformers.ViTModel(config).save_pretrained("a-vit")
    assert {row["metric"] for row in evaluated("a-vit", tasks=["cifar10"])} == {"accuracy", "mean per-class accuracy"}
    with pytest.raises(TasksFailed, match="a-vit: cifar10-zero-shot: the run a-vit is without embed_image"):
        evaluated("a-vit", tasks=["cifar10-zero-shot"])


def test_random_weights_are_a_baseline_of_their_own(here: Path, write_pairs: Callable[..., None]) -> None:
    """Beside the run and apart from it, and at chance."""
    write_pairs("pairs/dev", [[f"word{index}"] for index in range(40)])
    saved(flava_model(), "a-flava")
    options = run.Options(random_weights=True)
    rows = run.evaluate(["a-flava"], tasks=["retrieval:pairs/dev"], options=options)
    assert [row["run"] for row in rows] == ["a-flava"] * 9 + ["a-flava, random-weights"] * 9
    found = {row["metric"]: row for row in rows[9:]}
    assert found["mean recall"]["run"] == "a-flava, random-weights" and found["mean recall"]["step"] == 0
    assert abs(found["mean recall"]["value"] - found["mean recall"]["detail"]["chance"]) < 10
    assert Path("runs/a-flava/hf/random-weights/results.jsonl").is_file()
    kept = [json.loads(line) for line in Path("runs/a-flava/hf/results.jsonl").read_text().splitlines()]
    assert kept == rows[:9]
    compared = json.loads(Path("runs/a-flava/hf/evaluations/contrasts.json").read_text())
    assert {row["run"] for row in compared} == {"a-flava, random-weights"}
    assert [row["value"] for row in run.evaluate(["a-flava"], tasks=["retrieval:pairs/dev"], options=options)] == [
        row["value"] for row in rows
    ]


def test_several_processes_by_one_command(here: Path) -> None:
    config = transformers.ViTConfig(**TOWER, image_size=64, patch_size=16)
    transformers.ViTModel(config).save_pretrained("a-vit")
    tasks = [QUICK, QUICK.replace("=20", "=19")]
    command = ["eval", "a-vit", "--tasks", ",".join(tasks), "--data", "official", "--allow-nonstandard", "--jobs", "2"]
    done = vltk_process(*command)
    assert done.returncode == 0, done.stderr
    helper = (here / "runs/a-vit/hf/evaluations/helper-1.log").read_text()
    assert "table:" in done.stdout and "table:" not in helper and "Traceback" not in helper
    rows = [json.loads(line) for line in (here / "runs/a-vit/hf/results.jsonl").read_text().splitlines()]
    assert sorted((row["task"], row["metric"]) for row in rows) == sorted(
        (task, metric) for task in tasks for metric in ("accuracy", "mean per-class accuracy")
    )
    wrong = vltk_process("eval", "a-vit", "--tasks", "cifar10", "--protocol", "clpi")
    assert wrong.returncode == 2 and "did you mean 'clip'" in wrong.stderr


def test_without_a_vocabulary_texts_cannot_be_encoded(here: Path) -> None:
    saved(clip_model(end=3), "a-clip", words=False)
    assert runs.load("a-clip").tokenizer is None
    with pytest.raises(TasksFailed, match="a-clip has no tokenizer"):
        evaluated("a-clip", tasks=["cifar10-zero-shot"])
