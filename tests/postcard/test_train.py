"""Every training stage runs, and goes on to the bit where it was interrupted."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from graphengine.postcard import text, vae
from graphengine.postcard.config import Config
from graphengine.postcard.data import render_set, scene, to_tensor
from graphengine.postcard.export import load
from graphengine.postcard.train import run_stage
from graphengine.postcard.world import held_out
from graphengine.training.loop import Ema, cosine

TINY = Config(
    workers=1, scenes=12, save_every=1000,
    vae_channels=(8, 8, 8, 8), vae_steps=3, vae_batch=4,
    text_width=32, text_layers=1, text_steps=3, text_batch=4,
    unet_channels=(32, 32), unet_steps=3, unet_batch=4, decoder_steps=3,
    variant_scenes=8, inpaint_steps=3, inpaint_batch=2, depth_channels=(16, 16), depth_steps=3,
    depth_batch=2, estimator_steps=3, estimator_batch=2,
)  # fmt: skip


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def states(path: Path) -> dict[str, torch.Tensor]:
    """Every tensor of a saved state."""
    return dict(load_file(path))


def test_all_stages_run_resume_to_the_bit_and_export(tmp_path: Path) -> None:
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    for stage in ("text", "vae", "latents", "unet", "decoder"):
        run_stage(stage, TINY, straight)
        if stage != "latents":
            run_stage(stage, TINY, broken, stop_at=2)
            with safe_open(broken / f"{stage}.safetensors", framework="pt") as file:
                assert file.metadata()["step"] == "2"
        run_stage(stage, TINY, broken)
        one, two = (states(folder / f"{stage}.safetensors") for folder in (straight, broken))
        assert one and one.keys() == two.keys()
        assert all(torch.equal(one[name], two[name]) for name in one)
    run_stage("export", TINY, straight)
    for stage, channels in (("inpaint", 9), ("depth", 5), ("estimator", 0)):
        run_stage(stage, TINY, broken, stop_at=2)
        assert not (broken / f"model-{stage}").exists()
        if stage != "estimator":
            (broken / "model").mkdir(exist_ok=True)
            shutil.copy(straight / "model" / "model_index.json", broken / "model")
        run_stage(stage, TINY, broken)
        (weights,) = (broken / f"model-{stage}").rglob("*.safetensors")
        if channels:
            assert load_file(weights)["conv_in.weight"].shape[1] == channels
    pipe = load(straight / "model")
    made = pipe("a red house", num_inference_steps=2, output_type="np").images
    assert made.shape == (1, 16, 16, 3) or made.shape[0] == 1
    assert np.isfinite(made).all()


def test_training_depends_on_the_seed(tmp_path: Path) -> None:
    for seed in (1, 2):
        run_stage("text", replace(TINY, seed=seed, text_steps=1), tmp_path / str(seed))
    one, two = (states(tmp_path / name / "text.safetensors") for name in "12")
    assert not all(
        torch.equal(one[n], two[n]) for n in one if n in two and one[n].shape == two[n].shape
    )


def test_training_pictures_hold_nothing_held_out(tmp_path: Path) -> None:
    assert not any(held_out(scene(7, i)) for i in range(300))
    pictures = render_set(tmp_path / "p.npy", 7, 4, 1)
    assert np.array_equal(pictures, render_set(tmp_path / "p.npy", 7, 4, 1))
    with pytest.raises(ValueError, match="no stage"):
        run_stage("unknown", TINY, tmp_path)
    with pytest.raises(ValueError, match="holds 4 scenes, not 5"):
        render_set(tmp_path / "p.npy", 7, 5, 1)


def test_standardizing_latents_leaves_the_pictures_alone(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = vae.build(TINY).eval().requires_grad_(False)
    x = to_tensor(render_set(tmp_path / "p.npy", 7, 6, 1))
    before = model.encode(x).latent_dist
    picture = model.decode(before.mode()).sample
    mean, std = before.mean.mean((0, 2, 3)), before.mean.std((0, 2, 3))
    vae.standardize(model, mean, std)
    after = model.encode(x).latent_dist
    assert torch.allclose(after.mean.mean((0, 2, 3)), torch.zeros(4), atol=1e-4)
    assert torch.allclose(after.mean.std((0, 2, 3)), torch.ones(4), atol=1e-3)
    assert torch.allclose(after.std / before.std, (1 / std).view(1, 4, 1, 1), rtol=1e-3)
    assert torch.allclose(model.decode(after.mode()).sample, picture, atol=1e-4)


def test_readout_targets_mark_what_is_unsaid() -> None:
    goal = text.targets([{"kind": "tree", "colour2": "red"}, {}])
    assert goal["kind"].tolist() == [3, 0] and goal["colour2"].tolist() == [1, 0]
    assert goal["sky"].tolist() == [0, 0]


def test_schedule_and_average() -> None:
    assert cosine(0, 100, 1.0, 10) == pytest.approx(0.1)
    assert cosine(10, 100, 1.0, 10) == pytest.approx(1.0)
    assert cosine(100, 100, 1.0, 10) == pytest.approx(0.0)
    layer = torch.nn.Linear(1, 1, bias=False)
    average = Ema(layer, 0.5)
    old = layer.weight.detach().clone()
    with torch.no_grad():
        layer.weight += 1.0
    average.update(layer, 10_000)
    kept: torch.Tensor = average.model.weight  # type: ignore[assignment]
    assert torch.allclose(kept, old + 0.5)
