"""Weights in and out: Hugging Face to a run and back, bit for bit, and what cannot be converted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests import tiny
from tests.harness import exchanged
from vltk import run
from vltk.convert import export, import_hf
from vltk.errors import VltkError
from vltk.models.codebooks.dvae import map_pixels
from vltk.models.hf import clip, flava
from vltk.parts import choose

transformers = pytest.importorskip("transformers")

TOWER = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"word{i}" for i in range(tiny.VOCAB - 5))]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def flava_model(depth: int = 2, codebook: bool = True) -> Any:
    tower = {**TOWER, "num_hidden_layers": depth}
    config = transformers.FlavaConfig(
        image_config={**tower, "image_size": tiny.IMAGE, "patch_size": 16, "vocab_size": tiny.CODES},
        text_config={**tower, "vocab_size": tiny.VOCAB, "max_position_embeddings": 24},
        multimodal_config={**TOWER, "num_hidden_layers": depth // 2},
        image_codebook_config={"hidden_size": 8, "vocab_size": tiny.CODES},
        hidden_size=32,
        projection_dim=24,
        init_codebook=codebook,
    )
    return tiny.randomised(transformers.FlavaForPreTraining(config), seed=5)


def clip_model(end: int) -> Any:
    config = transformers.CLIPConfig(
        text_config={**TOWER, "vocab_size": tiny.VOCAB, "max_position_embeddings": 24, "eos_token_id": end},
        vision_config={**TOWER, "image_size": tiny.IMAGE, "patch_size": 16},
        projection_dim=24,
    )
    return tiny.randomised(transformers.CLIPModel(config), seed=6)


def saved(model: Any, folder: str = "theirs", words: bool = True) -> Path:
    model.save_pretrained(folder)
    if words:
        Path(folder, "vocab.txt").write_text("\n".join(WORDS) + "\n")
    return Path(folder)


def without_poolers(file: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in file.items() if "_model.pooler." not in name}


def flava_losses(model: Any) -> dict[str, Tensor]:
    batch = tiny.batch(6, matched=(1, 0, 1, 1, 1, 0))
    with torch.no_grad():
        out = model(
            input_ids=batch["text"],
            input_ids_masked=batch["text_masked"],
            pixel_values=batch["image"],
            bool_masked_pos=batch["image_masked_at"],
            codebook_pixel_values=torch.rand(6, 3, 32, 32, generator=torch.Generator().manual_seed(0)),
            mlm_labels=batch["text"].where(batch["text_masked_at"], torch.tensor(-100)),
            itm_labels=batch["matched"].long(),
        )
    return {key: value for key, value in out.loss_info.items() if value is not None}


def test_the_base_depth_has_the_published_number_of_tensors() -> None:
    model = flava_model(depth=12)
    assert len(model.state_dict()) == 618
    import_hf(saved(model), "ours")
    export("hf", "ours", Path("back"))
    file = load_file("theirs/model.safetensors")
    back = load_file("back/model.safetensors")
    assert len(file) == len(back) == 614
    assert set(file) == set(back)
    assert len(without_poolers(file)) == 608
    assert all(torch.equal(tensor, back[name]) for name, tensor in without_poolers(file).items())


def test_flava_there_and_back_gives_the_same_losses() -> None:
    model = flava_model()
    import_hf(saved(model), "ours")
    export("hf", "ours", Path("back"))
    again, report = transformers.FlavaForPreTraining.from_pretrained("back", output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"] and not report["mismatched_keys"]
    before, after = flava_losses(model), flava_losses(again.eval())
    assert set(before) == {"itm", "global_contrastive", "mmm_image", "mmm_text"}
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_heads_may_carry_their_bias_under_either_name() -> None:
    """618 tensors: both names; 614 of either name."""
    model = flava_model()
    folder = saved(model)
    file = load_file(folder / "model.safetensors")
    heads = [name for name in file if name.endswith("_head.decoder.bias")]
    assert len(heads) == 4
    alias = {name: name.replace("decoder.", "") for name in heads}
    both = file | {alias[name]: file[name].clone() for name in heads}
    other = {alias.get(name, name): tensor for name, tensor in file.items()}
    found = []
    for number, variant in enumerate((file, both, other)):
        save_file(variant, folder / "model.safetensors")
        import_hf(folder, f"run{number}")
        found.append(load_file(f"runs/run{number}/model/model.safetensors"))
    assert all(torch.equal(found[0][name], again[name]) for again in found[1:] for name in found[0])


def test_an_imported_run_is_a_run() -> None:
    model = flava_model()
    import_hf(saved(model), "ours")
    trained: Any = run.load("ours")
    assert (trained.name, trained.step, trained.image.size) == ("ours/model", 0, tiny.IMAGE)
    assert trained.tokenizer.size == tiny.VOCAB
    batch = tiny.batch(2)
    images = batch["image"]
    with torch.no_grad():
        wanted = model.flava.get_image_features(images).last_hidden_state[:, 0]
        found = trained.model.encode_images(images, [None], [None])[0].cls
    torch.testing.assert_close(found, wanted, atol=2e-5, rtol=0)
    codes: Any = trained.helpers["codes"]
    pixels = torch.rand(2, 3, 32, 32)
    wanted = model.image_codebook.get_codebook_indices(0.8 * pixels + 0.1).flatten(1)
    assert torch.equal(codes.codes(pixels), wanted)
    with pytest.raises(VltkError, match="decoder: false"):
        codes.reconstruct(pixels)


def test_without_a_codebook() -> None:
    import_hf(saved(flava_model(codebook=False)), "ours")
    assert not run.load("ours").helpers
    export("hf", "ours", Path("back"))
    assert transformers.FlavaForPreTraining.from_pretrained("back").image_codebook is None


@pytest.mark.parametrize(("end", "words"), [(3, True), (7, False)])
def test_clip_there_and_back(end: int, words: bool) -> None:
    """With our vocabulary its [SEP] ends a text; without one, what the config said."""
    model = clip_model(end)
    import_hf(saved(model, words=words), "ours")
    export("hf", "ours", Path("back"))
    again, report = transformers.CLIPModel.from_pretrained("back", output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    state, wanted = again.state_dict(), model.state_dict()
    assert set(state) == set(wanted)
    assert all(torch.equal(state[name], tensor) for name, tensor in wanted.items())
    batch = tiny.batch(6)
    batch["text"][torch.arange(6), batch["text_length"] - 1] = end
    with torch.no_grad():
        before = model(input_ids=batch["text"], pixel_values=batch["image"])
        after = again.eval()(input_ids=batch["text"], pixel_values=batch["image"])
    assert torch.equal(before.logits_per_image, after.logits_per_image)


def test_a_scale_beyond_the_bound_is_exported_as_it_is_used() -> None:
    model = clip_model(3)
    model.logit_scale.data.fill_(5.0)
    import_hf(saved(model), "ours")
    export("hf", "ours", Path("back"))
    again = transformers.CLIPModel.from_pretrained("back")
    assert again.logit_scale.exp().item() == pytest.approx(run.load("ours").model.scale().item()) == pytest.approx(100)


def test_an_exported_vocabulary_is_read_by_transformers() -> None:
    import_hf(saved(flava_model()), "ours")
    export("hf", "ours", Path("back"))
    tokenizer = transformers.AutoTokenizer.from_pretrained("back")
    assert tokenizer("Word1 word7")["input_ids"] == run.load("ours").tokenizer.encode("Word1 word7")[0].tolist()


def test_an_exported_run_cuts_texts_where_the_run_does() -> None:
    import_hf(saved(flava_model()), "ours")
    recipe = Path("runs/ours/model/recipe.yaml")
    said = yaml.safe_load(recipe.read_text())
    said["tokenizer"]["max_length"] = 5
    recipe.write_text(yaml.safe_dump(said))
    export("hf", "ours", Path("back"))
    import_hf(Path("back"), "again")
    theirs = transformers.AutoTokenizer.from_pretrained("back").model_max_length
    assert [theirs, *(run.load(one).tokenizer.max_length for one in ("ours", "back", "again"))] == [5, 5, 5, 5]


def test_a_tokenizer_json_becomes_a_vocabulary() -> None:
    folder = saved(flava_model())
    transformers.AutoTokenizer.from_pretrained(folder).save_pretrained("new")
    (folder / "vocab.txt").unlink()
    (folder / "tokenizer.json").write_text(Path("new/tokenizer.json").read_text())
    import_hf(folder, "ours")
    assert run.load("ours").tokenizer.tokens == WORDS


def test_shards_are_read() -> None:
    flava_model().save_pretrained("theirs", max_shard_size="100KB")
    assert len(list(Path("theirs").glob("*.safetensors"))) > 2
    import_hf(Path("theirs"), "ours")
    file = flava_model().state_dict()
    export("hf", "ours", Path("back"))
    back = load_file("back/model.safetensors")
    assert all(torch.equal(tensor, file[name]) for name, tensor in without_poolers(back).items())
    next(Path("theirs").glob("*.safetensors")).unlink()
    with pytest.raises(VltkError, match="listed in model.safetensors.index.json, but not there"):
        import_hf(Path("theirs"), "other")


def test_weights_are_a_run_folder_again() -> None:
    import_hf(saved(flava_model()), "ours")
    export("weights", "ours", Path("bare"))
    assert {"model.safetensors", "recipe.yaml", "vocab.txt"} <= {path.name for path in Path("bare").iterdir()}
    before, after = run.load("ours"), run.load("bare")
    assert after.stage == before.stage
    state = after.model.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in before.model.state_dict().items())


def codebook_model() -> Any:
    """A FlavaImageCodebook with weights that give different codes."""
    config = transformers.FlavaImageCodebookConfig(hidden_size=8, vocab_size=tiny.CODES)
    model = transformers.models.flava.modeling_flava.FlavaImageCodebook(config)
    return tiny.randomised(model, seed=7, std=0.2)


def test_an_image_codebook_in_a_folder_of_its_own() -> None:
    model = codebook_model()
    model.save_pretrained("theirs")
    assert json.loads(Path("theirs/config.json").read_text())["model_type"] == "flava_image_codebook"
    assert import_hf(Path("theirs"), "dalle") == Path("runs/dalle")
    trained: Any = run.load("dalle")
    assert (trained.name, trained.image.size) == ("dalle/codes", 112)
    images = torch.randint(0, 256, (4, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    with torch.no_grad():
        wanted, found = model(map_pixels(images)), trained.model.logits(images)
    torch.testing.assert_close(found, wanted, atol=2e-5 * wanted.abs().max().item(), rtol=1e-5)
    first, second = wanted.topk(2, dim=1).values.unbind(1)
    clear = (first - second > 1e-4 * wanted.abs().max()).flatten(1)
    codes = model.get_codebook_indices(map_pixels(images)).flatten(1)
    assert torch.equal(trained.model.codes(images)[clear], codes[clear])
    assert clear.float().mean() > 0.9 and codes.unique().numel() > 3


def test_the_same_codebook_inside_a_flava_folder() -> None:
    whole, alone = flava_model(), codebook_model()
    whole.image_codebook.load_state_dict(alone.state_dict())
    import_hf(saved(whole), "ours")
    alone.save_pretrained("alone")
    import_hf(Path("alone"), "dalle")
    first, second = (load_file(f"runs/{name}/codes/model.safetensors") for name in ("ours", "dalle"))
    assert set(first) == set(second) and all(torch.equal(tensor, second[name]) for name, tensor in first.items())


@pytest.mark.parametrize("path", ["dalle", "dalle/encoder.pkl"])
def test_dalles_own_files_are_never_read(path: str) -> None:
    Path("dalle").mkdir()
    for name in ("encoder.pkl", "decoder.pkl"):
        Path("dalle", name).write_bytes(b"\x80\x04N.")
    wrong(Path(path), "encoder.pkl.*DALL-E's tokenizer as pickled modules.*published again as FlavaImageCodebook")


def wrong(folder: Path, message: str) -> None:
    """Refused with this message, and nothing is left behind."""
    with pytest.raises(VltkError, match=message):
        import_hf(folder, "ours")
    assert not Path("runs/ours").exists() and not Path("runs/ours.part").exists()


@pytest.mark.parametrize(
    ("place", "key", "value", "message"),
    [
        ("text_config", "hidden_act", "relu", r"text_config.hidden_act: 'relu' given, only 'gelu'"),
        ("image_config", "num_channels", 4, r"image_config.num_channels: 4 given, only 3"),
        ("image_config", "image_size", [64, 32], r"image_config.image_size: .* only squares"),
        ("text_config", "layer_norm_eps", 1e-5, r"text_config.layer_norm_eps: 1e-05 given, only 1e-12"),
        ("multimodal_config", "use_cls_token", False, r"multimodal_config.use_cls_token: False given"),
        ("image_codebook_config", "num_groups", 3, r"image_codebook_config.num_groups: 3 given, only 4"),
    ],
)
def test_sizes_that_vltk_cannot_express(place: str, key: str, value: object, message: str) -> None:
    folder = saved(flava_model())
    config = json.loads((folder / "config.json").read_text())
    config[place][key] = value
    (folder / "config.json").write_text(json.dumps(config))
    wrong(folder, message)


def test_another_architecture() -> None:
    folder = saved(flava_model())
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["vocab_size"] = tiny.VOCAB + 1
    (folder / "config.json").write_text(json.dumps(config))
    wrong(folder, r"mlm_head.decoder.weight: shape \(50, 32\) given, the model wants \(51, 32\)")
    config["architectures"] = ["T5Model"]
    (folder / "config.json").write_text(json.dumps(config))
    wrong(folder, r"architectures: T5Model given; have: FlavaForPreTraining, FlavaModel, CLIPModel, ViTModel, ")


def test_missing_unknown_and_damaged_tensors() -> None:
    folder = saved(clip_model(7), words=False)
    file = load_file(folder / "model.safetensors")
    file["surplus"] = file.pop("logit_scale")
    save_file(file, folder / "model.safetensors")
    wrong(folder, r"logit_scale: missing, the model wants \(\)\n  surplus: not in the model, given \(\)")
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    wrong(folder, "damaged or cut short")


def test_pickles_are_never_read() -> None:
    folder = saved(flava_model())
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04N.")
    wrong(folder, "pytorch_model.bin: a pickle can run any code and is never read")
    wrong(Path("nowhere"), "nowhere is no Hugging Face model")


def test_nothing_is_overwritten() -> None:
    folder = saved(clip_model(7), words=False)
    import_hf(folder, "ours")
    with pytest.raises(VltkError, match="runs/ours exists and is not empty"):
        import_hf(folder, "ours")
    with pytest.raises(VltkError, match="theirs exists and is not empty"):
        export("hf", "ours", folder)
    with pytest.raises(VltkError, match="cannot export 'onnx'; have: hf, weights"):
        export("onnx", "ours", Path("back"))


def test_a_codebook_alone_is_no_model_of_hugging_face() -> None:
    import_hf(saved(flava_model()), "ours")
    with pytest.raises(VltkError, match="ours/codes is a 'dvae'"):
        export("hf", "ours/codes", Path("back"))
    assert not Path("back").exists()


def test_weights_of_another_architecture_in_a_run() -> None:
    import_hf(saved(flava_model()), "ours")
    path = Path("runs/ours/model/model.safetensors")
    save_file({**load_file(path), "text.words.weight": torch.zeros(3, 32)}, path)
    exchanged("ours/model")
    for act in (lambda: run.load("ours"), lambda: export("hf", "ours", Path("back"))):
        with pytest.raises(VltkError, match=r"text.words.weight: shape \(3, 32\) given, the model wants \(50, 32\)"):
            act()


def test_normalisation_goes_along() -> None:
    folder = saved(flava_model())
    content = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.2, 0.1]}
    (folder / "preprocessor_config.json").write_text(json.dumps(content))
    import_hf(folder, "ours")
    model: Any = run.load("ours").model
    torch.testing.assert_close(model.image.mean.flatten(), torch.tensor([0.5, 0.4, 0.3]))
    export("hf", "ours", Path("back"))
    again = json.loads(Path("back/preprocessor_config.json").read_text())
    assert again["image_std"] == [0.2, 0.2, 0.1]
    assert again["size"] == {"height": tiny.IMAGE, "width": tiny.IMAGE}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fusion": None}, "model.fusion: null given"),
        ({"head_eps": 1e-5}, "model.image.eps: 1e-12 given, only 1e-05"),
        ({"image": {"part": "vit", **tiny.TOWER, "patch_bias": False}}, "model.image.patch_bias: False given"),
        ({"fusion": {"part": "joint", **tiny.TOWER, "width": 16}}, "model.text.width: 32 given, only 16"),
    ],
)
def test_options_that_hugging_face_cannot_express(change: dict[str, Any], message: str) -> None:
    parts = {"image": {"part": "vit", **tiny.TOWER}, "text": {"part": "bert", **tiny.TOWER}}
    given: dict[str, Any] = {**parts, "fusion": {"part": "joint", **tiny.TOWER}} | change
    with pytest.raises(VltkError, match=message):
        flava.config(choose("models/families", "flava", **given))
    with pytest.raises(VltkError, match="model.text.part: 'bert' given, only 'causal'"):
        clip.config(choose("models/families", "clip", **parts))


def test_a_text_cannot_end_with_token_2_in_clip() -> None:
    folder = saved(clip_model(7), words=False)
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"]) + "\n")
    import_hf(folder, "ours")
    with pytest.raises(VltkError, match=r"\[SEP\] is token 2"):
        export("hf", "ours", Path("back"))
    assert not Path("back").exists() and not Path("back.part").exists()


def test_a_codebook_that_hugging_face_cannot_express_is_left_out() -> None:
    import_hf(saved(flava_model()), "ours")
    recipe = Path("runs/ours/codes/recipe.yaml")
    recipe.write_text(recipe.read_text().replace("groups: 4", "groups: 3"))
    export("hf", "ours", Path("back"))
    assert not [name for name in load_file("back/model.safetensors") if name.startswith("image_codebook")]
    assert transformers.FlavaForPreTraining.from_pretrained("back").image_codebook is None


def test_a_full_disk_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = saved(clip_model(7), words=False)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("vltk.convert.write_file", full)
    wrong(folder, "cannot write runs/ours: .*No space left on device.*; nothing was left behind")
