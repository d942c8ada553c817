import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from graphengine.diffusion import load_checkpoint
from graphengine.diffusion.weights import load_weights
from graphengine.errors import FileError, ModelError
from tests.diffusion import tiny

UNET = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture
def copy(folder, tmp_path):
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def edit(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_checkpoint_is_described_without_its_weights(folder):
    model, text_encoder, vae = load_checkpoint(folder, digest=lambda part: f"digest of {part.name}")
    assert (model.width, model.channels, model.prediction) == (32, 4, "epsilon")
    assert (model.latent_scale, model.betas.count, model.digest) == (0.5, 1000, "digest of unet")
    assert (text_encoder.width, text_encoder.layers, text_encoder.length) == (32, 3, 77)
    assert (vae.channels, vae.factor) == (4, 4)
    assert model.vae == vae


def test_prediction_comes_from_the_scheduler(tmp_path):
    made = tiny.save(tmp_path / "v", prediction="v_prediction")
    assert load_checkpoint(made).model.prediction == "v_prediction"


def test_the_stand_in_digest_follows_the_files(copy):
    before = load_checkpoint(copy).model.digest
    assert load_checkpoint(copy).model.digest == before
    weights = load_file(copy / UNET)
    save_file({**weights, "more": torch.zeros(1)}, copy / UNET)
    assert load_checkpoint(copy).model.digest != before


def test_encoders_with_another_tokenizer_are_not_shared(folder, copy):
    edit(copy / "tokenizer/tokenizer_config.json", model_max_length=5)
    one, other = (load_checkpoint(each, digest=content) for each in (folder, copy))
    assert one.text_encoder.digest != other.text_encoder.digest
    assert one.model.digest == other.model.digest


def content(part):
    files = sorted(file for file in part.rglob("*") if file.is_file())
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def without(part):
    return lambda copy: shutil.rmtree(copy / part)


def cut(copy):
    data = (copy / UNET).read_bytes()
    (copy / UNET).write_bytes(data[: len(data) // 2])


def pickled(copy):
    (copy / UNET).rename(copy / "unet/diffusion_pytorch_model.bin")


def pointer(copy):
    (copy / UNET).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 2\n")


@pytest.mark.parametrize(
    ("damage", "error", "words"),
    [
        (shutil.rmtree, FileError, "no checkpoint copy"),
        (
            lambda copy: (copy / "model_index.json").unlink(),
            FileError,
            "no model_index.json.*diffusers",
        ),
        (lambda copy: (copy / "model_index.json").write_text("{"), FileError, "is no JSON"),
        (lambda copy: edit(copy / "model_index.json", vae=None), FileError, "has no vae"),
        (
            lambda copy: edit(copy / "model_index.json", _class_name="FluxPipeline"),
            ModelError,
            "FluxPipeline.*supported: StableDiffusionPipeline",
        ),
        (
            lambda copy: edit(copy / "model_index.json", vae=["diffusers", "AutoencoderTiny"]),
            ModelError,
            "AutoencoderTiny, not a AutoencoderKL",
        ),
        (without("unet"), FileError, "unet holds no weights"),
        (without("tokenizer"), FileError, "no tokenizer"),
        (without("scheduler"), FileError, "scheduler_config"),
        (lambda copy: (copy / "vae/config.json").unlink(), FileError, "vae has no config.json"),
        (cut, FileError, "cut off"),
        (pickled, FileError, "pickled.*safe_serialization=True"),
        (pointer, FileError, "git lfs pull"),
        (lambda copy: (copy / UNET).write_text("hello"), FileError, "no safetensors"),
        (lambda copy: (copy / UNET).write_text("hello" * 9), FileError, "no safetensors"),
        (lambda copy: (copy / UNET).write_bytes(b""), FileError, "no safetensors"),
        (
            lambda copy: edit(
                copy / "scheduler/scheduler_config.json", rescale_betas_zero_snr=True
            ),
            ModelError,
            "zero terminal SNR",
        ),
        (
            lambda copy: edit(copy / "unet/config.json", addition_embed_type="text"),
            ModelError,
            "UNet",
        ),
    ],
)
def test_damage_is_told_with_a_remedy(copy, damage, error, words):
    damage(copy)
    with pytest.raises(error, match=words) as raised:
        load_checkpoint(copy)
    assert raised.value.hint or "zero terminal" in words


def test_a_single_file_is_no_checkpoint(folder):
    with pytest.raises(FileError, match=r"single file.*model_index\.json"):
        load_checkpoint(folder / UNET)


def test_weights_that_are_not_in_the_file_are_missed(copy):
    """Both libraries would go on with random numbers in their place."""
    for part, file in (("unet", UNET), ("text_encoder", "text_encoder/model.safetensors")):
        weights = load_file(copy / file)
        gone = sorted(weights)[0]
        save_file({k: v for k, v in weights.items() if k != gone}, copy / file)
        checkpoint = load_checkpoint(copy)._asdict()
        description = checkpoint["model" if part == "unet" else part]
        with pytest.raises(ModelError, match="lacks 1 weights"):
            load_weights(description, torch.float32)


def test_weights_of_another_shape_are_refused(copy):
    edit(copy / "unet/config.json", block_out_channels=[16, 16])
    with pytest.raises(FileError, match="copy/unet can't be loaded"):
        load_weights(load_checkpoint(copy).model, torch.float32)


def test_half_precision_files_become_what_is_asked(folder, tmp_path):
    half = Path(shutil.copytree(folder, tmp_path / "half"))
    whole = load_file(half / UNET)
    save_file({k: v.half() for k, v in whole.items()}, half / UNET.replace(".safe", ".fp16.safe"))
    (half / UNET).unlink()
    model = load_checkpoint(half).model
    assert next(load_weights(model, None).parameters()).dtype == torch.float16
    unet = load_weights(model, torch.float32)
    torch.testing.assert_close(unet.conv_in.weight, whole["conv_in.weight"].half().float())


def five_channels(copy, channels=5):
    """Makes a U-Net read more, as a depth or inpainting model does."""
    edit(copy / "unet/config.json", in_channels=channels)
    weights = load_file(copy / UNET)
    old = weights["conv_in.weight"]
    wide = torch.zeros(old.shape[0], channels, *old.shape[2:])
    wide[:, :4] = old
    save_file({**weights, "conv_in.weight": wide}, copy / UNET, {"format": "pt"})


@pytest.mark.parametrize(
    ("channels", "extra", "kind"),
    [(4, 0, "an ordinary"), (5, 1, "a depth"), (9, 5, "an inpainting")],
)
def test_what_a_model_reads_beside_the_latent(copy, channels, extra, kind):
    five_channels(copy, channels)
    model = load_checkpoint(copy).model
    assert (model.channels, model.extra_channels) == (4, extra)
    assert model.kind == f"{kind} model ({channels} channels)"
    assert load_weights(model, torch.float32).conv_in.in_channels == channels


@pytest.mark.parametrize("channels", [3, 6, 8, 13])
def test_models_of_other_channels_are_refused(copy, channels):
    edit(copy / "unet/config.json", in_channels=channels)
    with pytest.raises(ModelError, match=f"UNet of {channels} input channels") as raised:
        load_checkpoint(copy)
    assert "9" in raised.value.hint


@pytest.fixture
def relative(copy):
    """A checkpoint of a U-Net alone, that takes all else from the one beside it."""
    folder = copy.parent / "relative"
    shutil.copytree(copy / "unet", folder / "unet")
    shutil.copy(copy / "model_index.json", folder)
    edit(folder / "model_index.json", _graphengine_base="copy")
    five_channels(folder)
    return folder


def test_a_checkpoint_may_take_parts_from_another(copy, relative):
    """Its text encoder and VAE are the other's, so their weights are in memory once."""
    base, found = load_checkpoint(copy, content), load_checkpoint(relative, content)
    assert (found.text_encoder, found.vae) == (base.text_encoder, base.vae)
    assert found.text_encoder.folder == copy / "text_encoder"
    assert found.model.folder == relative / "unet"
    assert (found.model.vae, found.model.betas) == (base.vae, base.model.betas)
    assert (found.model.extra_channels, base.model.extra_channels) == (1, 0)
    assert found.model.digest != base.model.digest


def test_relatives_of_different_checkpoints_keep_their_text_encoders_apart(copy, relative):
    other = copy.parent / "other"
    shutil.copytree(copy, other)
    weights = load_file(other / "text_encoder/model.safetensors")
    changed = {name: tensor + 1 for name, tensor in weights.items()}
    save_file(changed, other / "text_encoder/model.safetensors", {"format": "pt"})
    first = load_checkpoint(relative, content).text_encoder
    edit(relative / "model_index.json", _graphengine_base="other")
    assert load_checkpoint(relative, content).text_encoder.digest != first.digest


@pytest.mark.parametrize("base", ["", ".", "..", "../copy", "a/b", "/copy", 5, ["copy"]])
def test_the_other_checkpoint_is_named_not_located(relative, base):
    edit(relative / "model_index.json", _graphengine_base=base)
    with pytest.raises(FileError, match="relative: _graphengine_base is"):
        load_checkpoint(relative)


def test_the_other_checkpoint_must_be_there(relative):
    edit(relative / "model_index.json", _graphengine_base="gone")
    with pytest.raises(FileError, match="relative needs the checkpoint gone") as raised:
        load_checkpoint(relative)
    assert "put gone into the same folder" in raised.value.hint
