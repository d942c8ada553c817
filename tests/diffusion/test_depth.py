"""Depth against transformers' DPT and its image processor, depth-to-image against diffusers."""

import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionDepth2ImgPipeline, UNet2DConditionModel
from diffusers.pipelines.stable_diffusion import pipeline_stable_diffusion_depth2img as depth2img
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import DPTConfig, DPTForDepthEstimation
from transformers.models.dpt.image_processing_pil_dpt import DPTImageProcessorPil

from graphengine import diffusion
from graphengine.diffusion import DepthMap, Latent, load_checkpoint, load_depth_estimator
from graphengine.diffusion.depth import prepare
from graphengine.diffusion.depth_loader import read_preprocessing
from graphengine.errors import FileError, ModelError
from graphengine.postcard import export
from tests.diffusion import tiny

SIZE = 32
INPUTS = Path(__file__).parents[2] / "workflows" / "input"


def network(hybrid):
    """A depth network of a few kilobytes with random weights, of `Intel/dpt-large`'s or
    `Intel/dpt-hybrid-midas`'s layout.
    """
    torch.manual_seed(3)
    shape = {"neck_hidden_sizes": [8, 8, 8, 8], "reassemble_factors": [4, 2, 1, 0.5]}
    if hybrid:
        shape = {
            "is_hybrid": True,
            "neck_hidden_sizes": [16, 24, 8, 8],
            "reassemble_factors": [1, 1, 1, 0.5],
            "backbone_featmap_shape": [1, 32, SIZE // 16, SIZE // 16],
            "backbone_config": {
                "model_type": "bit",
                "embedding_size": 8,
                "hidden_sizes": [16, 24, 32],
                "depths": [1, 1, 1],
                "num_groups": 4,
                "layer_type": "bottleneck",
                "global_padding": "same",
                "embedding_dynamic_padding": True,
                "out_features": ["stage1", "stage2", "stage3"],
            },
        }
    config = DPTConfig(
        hidden_size=16,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=SIZE,
        patch_size=16 if hybrid else 8,
        backbone_out_indices=[0, 1, 2, 3],
        fusion_hidden_size=8,
        use_auxiliary_head=False,
        **shape,
    )
    made = DPTForDepthEstimation(config).eval()
    with torch.no_grad():  # far from the ReLU at the end, or random weights answer 0 everywhere
        for parameter in made.parameters():
            parameter.add_(torch.randn_like(parameter) * (0.1 if hybrid else 0.3))
        made.head.head[-2].bias.fill_(5.0)
    return made


def processor(**changes):
    usual = {"size": {"height": SIZE, "width": SIZE}, "keep_aspect_ratio": False, "resample": 2}
    return DPTImageProcessorPil(**{**usual, **changes})


def save(folder, hybrid=False, **changes):
    network(hybrid).save_pretrained(folder)
    processor(**changes).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", params=["plain", "hybrid"])
def model(request, tmp_path_factory):
    """A depth model's folder."""
    return save(tmp_path_factory.mktemp(request.param) / "midas", request.param == "hybrid")


@pytest.fixture
def copy(model, tmp_path):
    return Path(shutil.copytree(model, tmp_path / "copy"))


def photo(height, width, seed=0):
    """A picture in 8 bits, smooth enough that every filter answers something else."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (5, 7, 3), dtype=np.uint8))
    return small.resize((width, height), Image.Resampling.BICUBIC)


def tensor(picture):
    return torch.from_numpy(np.asarray(picture, dtype=np.float32) / 255)[None]


SETTINGS = [
    {},
    {"resample": 3},
    {"resample": 3, "keep_aspect_ratio": True, "ensure_multiple_of": 32},
    {"keep_aspect_ratio": True, "ensure_multiple_of": 14, "size": {"height": 70, "width": 90}},
    {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]},
    {"do_normalize": False, "do_rescale": False},
    {"do_resize": False},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: ",".join(settings) or "usual")
@pytest.mark.parametrize("size", [(37, 53), (128, 128), (97, 31), (200, 211), (32, 32)])
def test_pictures_are_prepared_to_the_numbers_of_the_reference(settings, size, tmp_path):
    reference = processor(**settings)
    reference.save_pretrained(tmp_path)
    wanted = reference(photo(*size), return_tensors="pt").pixel_values
    found = prepare(tensor(photo(*size)), read_preprocessing(tmp_path / "preprocessor_config.json"))
    assert torch.equal(found, wanted)


def test_old_settings_name_one_side_and_leave_out_the_rest(tmp_path):
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"size": 48, "do_resize": True}))
    wanted = DPTImageProcessorPil(size=48)(photo(30, 50), return_tensors="pt").pixel_values
    found = prepare(
        tensor(photo(30, 50)), read_preprocessing(tmp_path / "preprocessor_config.json")
    )
    assert torch.equal(found, wanted)


@pytest.mark.parametrize("size", [(37, 53), (64, 64)])
def test_depth_is_what_transformers_answers(model, memory, size):
    reference = DPTForDepthEstimation.from_pretrained(model).eval()
    with torch.no_grad():
        answer = reference(processor()(photo(*size), return_tensors="pt").pixel_values)
    image = tensor(photo(*size))
    found = diffusion.estimate_depth(load_depth_estimator(model), image, memory=memory)
    assert answer.predicted_depth.std() > 0.01
    torch.testing.assert_close(found.values, answer.predicted_depth)
    assert (found.height, found.width) == size
    resized = processor().post_process_depth_estimation(answer, [size])[0]["predicted_depth"]
    grey = (resized - resized.min()) / (resized.max() - resized.min())
    torch.testing.assert_close(diffusion.depth_mask(found)[0], grey)


def test_pictures_of_a_batch_are_estimated_one_by_one(model, memory):
    estimator = load_depth_estimator(model)
    images = torch.cat([tensor(photo(40, 30, seed)) for seed in range(3)])
    together = diffusion.estimate_depth(estimator, images, memory=memory)
    for place in range(3):
        alone = diffusion.estimate_depth(estimator, images[place : place + 1], memory=memory)
        assert torch.equal(alone.values, together.values[place : place + 1])


def test_transparency_is_left_out(model, memory):
    estimator, image = load_depth_estimator(model), tensor(photo(40, 30))
    clear = torch.cat([image, torch.zeros(1, 40, 30, 1)], -1)
    one, other = (diffusion.estimate_depth(estimator, i, memory=memory) for i in (image, clear))
    assert torch.equal(one.values, other.values)


def test_published_models_lack_weights_that_nobody_reads(copy, memory):
    """`Intel/dpt-large` and `Intel/dpt-hybrid-midas` have no first residual layer in the first
    fusion.
    """
    whole = load_depth_estimator(copy)
    wanted = diffusion.estimate_depth(whole, tensor(photo(32, 32)), memory=diffusion.Memory())
    weights = load_file(copy / "model.safetensors")
    unread = {k for k in weights if "fusion_stage.layers.0.residual_layer1" in k}
    assert unread
    save_file(
        {k: v for k, v in weights.items() if k not in unread}, copy / "model.safetensors",
        {"format": "pt"},
    )  # fmt: skip
    found = diffusion.estimate_depth(
        load_depth_estimator(copy), tensor(photo(32, 32)), memory=diffusion.Memory()
    )
    assert torch.equal(found.values, wanted.values)


def test_other_weights_are_missed(copy):
    weights = load_file(copy / "model.safetensors")
    del weights["head.head.0.weight"]
    save_file(weights, copy / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"lacks 1 weights: head\.head\.0\.weight"):
        diffusion.estimate_depth(
            load_depth_estimator(copy), tensor(photo(32, 32)), memory=diffusion.Memory()
        )


def test_networks_that_read_squares_are_shown_squares(copy, memory):
    settings = json.loads((copy / "preprocessor_config.json").read_text())
    settings |= {"keep_aspect_ratio": True, "ensure_multiple_of": 16}
    (copy / "preprocessor_config.json").write_text(json.dumps(settings))
    estimator = load_depth_estimator(copy)
    assert not estimator.preprocessing.keep_aspect_ratio
    found = diffusion.estimate_depth(estimator, tensor(photo(32, 96)), memory=memory)
    assert diffusion.depth_mask(found).shape == (1, 32, 96)


def edit(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def pickled(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


@pytest.mark.parametrize(
    ("damage", "error", "words"),
    [
        (shutil.rmtree, FileError, "no depth model copy"),
        (lambda c: (c / "config.json").unlink(), FileError, "no config.json"),
        (lambda c: (c / "preprocessor_config.json").unlink(), FileError, "no preprocessor_config"),
        (lambda c: (c / "model.safetensors").unlink(), FileError, "no weights"),
        (pickled, FileError, "pickled"),
        (lambda c: edit(c / "config.json", model_type="clip"), ModelError, "is a clip model, not"),
        (
            lambda c: edit(c / "config.json", architectures=["DPTForSemanticSegmentation"]),
            ModelError,
            "DPTForSemanticSegmentation, which estimates no depth",
        ),
        (lambda c: edit(c / "preprocessor_config.json", do_pad=True), ModelError, "padded"),
        (lambda c: edit(c / "preprocessor_config.json", size="big"), FileError, "can't be read"),
        (lambda c: edit(c / "preprocessor_config.json", resample=9), FileError, "can't be"),
        (
            lambda c: edit(c / "preprocessor_config.json", image_std=[1, 0, 1]),
            FileError,
            "can't be",
        ),
        (
            lambda c: edit(c / "preprocessor_config.json", size={"height": 32, "width": 48}),
            ModelError,
            f"48 x 32 pixels, but the network reads squares of {SIZE}",
        ),
    ],
)
def test_damage_is_told_with_a_remedy(copy, damage, error, words):
    damage(copy)
    with pytest.raises(error, match=words) as raised:
        load_depth_estimator(copy)
    assert raised.value.hint


def test_a_checkpoint_is_no_depth_model_and_the_other_way_round(folder, copy):
    with pytest.raises(ModelError, match="tiny is a checkpoint without a depth model") as raised:
        load_depth_estimator(folder)
    assert "depth_estimator" in raised.value.hint and "dpt-hybrid-midas" in raised.value.hint
    with pytest.raises(ModelError, match="tiny|unet") as raised:
        load_depth_estimator(folder / "unet")
    assert "is a UNet2DConditionModel, not a depth model" in raised.value.message
    with pytest.raises(ModelError, match="copy is a depth model, not a checkpoint") as raised:
        load_checkpoint(copy)
    assert "depth.load" in raised.value.hint
    with pytest.raises(FileError, match="single file"):
        load_depth_estimator(copy / "model.safetensors")


def test_pictures_of_depth(memory):
    ramp = torch.linspace(3, 7, 20).view(1, 4, 5)
    depth = DepthMap(torch.cat([ramp, ramp * 0 + 2]), 4, 5)
    grey = diffusion.depth_picture(depth)
    assert grey.shape == (2, 4, 5, 3)
    torch.testing.assert_close(grey[0, ..., 1], (ramp[0] - 3) / 4)
    assert not grey[1].any(), "a flat map has no nearest"
    colours = diffusion.depth_picture(depth, "magma")
    assert colours.shape == (2, 4, 5, 3) and colours.min() >= 0 and colours.max() <= 1
    brightness = colours[0].mean(-1).flatten()
    assert bool((brightness.diff() > 0).all()), "near is bright"
    back = diffusion.depth_from_image(grey)
    torch.testing.assert_close(back.values[0], grey[0, ..., 0])


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """diffusers' depth-to-image of a few kilobytes, and its folder."""
    parts = tiny.pipeline(tmp_path_factory.mktemp("tokens"))
    torch.manual_seed(1)
    unet = UNet2DConditionModel.from_config(parts.unet.config, in_channels=5).eval()
    pipe = StableDiffusionDepth2ImgPipeline(
        parts.vae, parts.text_encoder, parts.tokenizer, unet, parts.scheduler,
        network(hybrid=True), processor(),
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    folder = tmp_path_factory.mktemp("checkpoints") / "tiny-depth"
    pipe.save_pretrained(folder)
    return pipe, folder


@pytest.mark.parametrize("size", [(10, 13), (5, 4), (SIZE, SIZE)])
def test_the_condition_is_scaled_as_diffusers_does(reference, size):
    pipe, _ = reference
    values = torch.rand(2, SIZE, SIZE) * torch.tensor([5.0, 0.1]).view(2, 1, 1)
    pictures = torch.zeros(2, 3, size[0] * 4, size[1] * 4)
    wanted = pipe.prepare_depth_map(pictures, values, 2, False, torch.float32, torch.device("cpu"))
    assert torch.equal(diffusion.depth_condition(values, *size), wanted)


def test_flat_depth_tells_nothing():
    """Where diffusers divides by 0."""
    assert torch.equal(
        diffusion.depth_condition(torch.ones(1, 8, 8), 4, 4), torch.zeros(1, 1, 4, 4)
    )


@pytest.fixture
def no_chance(monkeypatch):
    """diffusers takes the mean of what its encoder answers, as we do, not a draw from it."""
    mean = lambda encoded, generator=None: encoded.latent_dist.mode()  # noqa: E731
    monkeypatch.setattr(depth2img, "retrieve_latents", mean)


def theirs(pipe, texts, picture, strength):
    """What diffusers draws from a picture."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # float32 is nothing that autocast casts to
        made = pipe(
            texts[0], picture, strength=strength, num_inference_steps=10, guidance_scale=5.0,
            negative_prompt=texts[1], output_type="np",
            generator=torch.Generator().manual_seed(7),
        )  # fmt: skip
    return torch.from_numpy(made.images)


def ours(checkpoint, texts, picture, depth, strength, memory):
    """What we draw: 10 levels of whole timesteps, of which both take the last; the same noise."""
    model, encoder, vae = checkpoint
    encoded = diffusion.encode_image(vae, tensor(picture), memory=memory)
    sides = [diffusion.encode_prompt(encoder, text, memory=memory) for text in texts]
    latent = diffusion.ksampler(
        model, *sides, diffusion.condition_on_depth(encoded, depth), seed=7,
        steps=round(10 * strength), cfg=5.0, sampler="euler", schedule="normal", denoise=strength,
        memory=memory,
    )  # fmt: skip
    return diffusion.decode_latent(vae, latent, memory=memory)


@pytest.mark.parametrize("strength", [0.5, 0.8])
def test_depth_to_image_is_that_of_diffusers(reference, memory, no_chance, strength):
    pipe, folder = reference
    picture, texts = photo(40, 32), ("a cat by the sea", "rain")
    checkpoint = load_checkpoint(folder)
    assert checkpoint.model.extra_channels == 1
    depth = diffusion.estimate_depth(load_depth_estimator(folder), tensor(picture), memory=memory)
    found = ours(checkpoint, texts, picture, depth, strength, memory)
    wanted = theirs(pipe, texts, picture, strength)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)

    flat = DepthMap(torch.arange(4.0).view(1, 2, 2), 40, 32)
    other = ours(checkpoint, texts, picture, flat, strength, memory)
    assert not torch.allclose(other, found, atol=1e-3), "depth makes no difference"


@pytest.mark.parametrize("strength", [0.5, 0.8])
def test_postcard_draws_from_depth_what_diffusers_draws(reference, memory, no_chance, strength):
    checkpoint = load_checkpoint(export.MODEL.parent / "postcard-depth")
    midas = export.MODEL.parents[1] / "depth_models" / "postcard"
    base = export.load()
    pipe = StableDiffusionDepth2ImgPipeline(
        base.vae, base.text_encoder, base.tokenizer,
        UNet2DConditionModel.from_pretrained(checkpoint.model.folder, torch_dtype=torch.float32),
        reference[0].scheduler,
        DPTForDepthEstimation.from_pretrained(midas, dtype=torch.float32),
        DPTImageProcessorPil.from_pretrained(midas),
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    picture, texts = Image.open(INPUTS / "cottage.png"), ("a red house at sunset", "rain")
    depth = diffusion.estimate_depth(load_depth_estimator(midas), tensor(picture), memory=memory)
    found = ours(checkpoint, texts, picture, depth, strength, memory)
    wanted = theirs(pipe, texts, picture, strength)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4)


def test_depth_goes_with_latents_of_any_batch():
    depth = DepthMap(torch.rand(1, 9, 9), 64, 64)
    latent = Latent(torch.zeros(3, 4, 6, 5), noise_index=(4, 5, 6))
    conditioned = diffusion.condition_on_depth(latent, depth)
    assert conditioned.beside.shape == (1, 1, 6, 5)
    assert latent.beside is None and conditioned.noise_index == (4, 5, 6)
    with pytest.raises(ModelError, match="2 depth maps for a latent of 3"):
        diffusion.condition_on_depth(latent, DepthMap(torch.rand(2, 9, 9), 64, 64))


def test_models_and_latents_that_do_not_go_together_are_told(reference, checkpoint, memory):
    _, folder = reference
    model, text_encoder, vae = load_checkpoint(folder)
    text = diffusion.encode_prompt(text_encoder, "", memory=memory)
    empty = diffusion.empty_latent(vae, 32, 32)
    beside = diffusion.condition_on_depth(empty, DepthMap(torch.rand(1, 8, 8), 32, 32))
    run = {"seed": 0, "steps": 1, "cfg": 1.0, "sampler": "euler", "schedule": "normal"}
    with pytest.raises(ModelError, match="tiny-depth is a depth model") as raised:
        diffusion.ksampler(model, text, text, empty, memory=memory, **run)
    assert "depth.condition" in raised.value.hint
    with pytest.raises(ModelError, match="tiny is an ordinary model"):
        diffusion.ksampler(checkpoint.model, text, text, beside, memory=memory, **run)
