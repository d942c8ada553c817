"""A training from beginning to end: resumed, cancelled, gone wrong, and what it leaves behind."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file

from graphengine import Cancelled, FileError, ModelError, Progress, diffusion
from graphengine.diffusion import with_lora
from graphengine.diffusion.weights import load_weights
from graphengine.postcard.dataset import World
from graphengine.training import Drawing, Lesson, LoraShape, Recipe, latent_set, teach

STEPS = 6
LESSON = Lesson(
    STEPS,
    Drawing(("a cat", "rain"), steps=2),
    recipe=Recipe(batch=2, rate=1e-3, ema=0.9),
    every=2,
)
WEIGHTS = "unet/diffusion_pytorch_model.safetensors"


class Interrupted(Progress):
    """Cancels at a step, and notes the losses of those before."""

    def __init__(self, at: float = 99) -> None:
        self.at = at
        self.losses: list[float] = []
        self.pictures = 0

    def report(self, done, total, note="", preview=None, **figures) -> None:
        if "loss" in figures:
            self.losses.append(figures["loss"])
            self.pictures += preview is not None and preview() is not None
            if done == self.at:
                raise Cancelled


@pytest.fixture(scope="module")
def data(base, memory):
    return latent_set(World(32, 6, 2), base.vae, base.model, memory=memory)


def run(base, data, folder: Path, memory, lesson=LESSON, progress=None):
    return teach(base, data, lesson, folder / "taught", folder / "work", memory=memory,
                 progress=progress)  # fmt: skip


def state(folder: Path) -> Path:
    return next((folder / "work").glob("state-*")) / "unet.safetensors"


def test_a_checkpoint_comes_out_that_can_be_loaded_and_drawn_with(base, data, tmp_path, memory):
    progress = Interrupted()
    taught = run(base, data, tmp_path, memory, progress=progress)
    assert taught.losses["loss"] == progress.losses and len(progress.losses) == STEPS
    assert progress.pictures == STEPS
    assert sorted(file.name for file in (tmp_path / "work").iterdir()) == [
        f"step_00000{step}.png" for step in (0, 2, 4, 6)
    ], "samples are kept, the state is not needed any more"
    assert taught.sheet.shape[3] == 3
    new, old = (load_weights(m, torch.float32) for m in (taught.checkpoint.model, base.model))
    assert not torch.equal(new.conv_in.weight, old.conv_in.weight)
    pipe = StableDiffusionPipeline.from_pretrained(tmp_path / "taught")
    assert torch.equal(pipe.unet.conv_in.weight, new.conv_in.weight)
    assert pipe.scheduler.config.beta_end == base.model.betas.end
    made = taught.checkpoint
    assert (made.model.latent_scale, made.model.betas) == (
        base.model.latent_scale,
        base.model.betas,
    )
    assert made.text_encoder.width == base.text_encoder.width


def test_it_learns(base, data, tmp_path, memory):
    lesson = replace(LESSON, steps=60, every=60, recipe=Recipe(batch=6, rate=3e-3, ema=0.9))
    losses = run(base, data, tmp_path, memory, lesson).losses["mse"]
    assert sum(losses[-10:]) < 0.9 * sum(losses[:10])


@pytest.mark.parametrize("kind", ["model", "tiny", "lora"])
def test_a_training_cut_short_goes_on_to_the_bit(base, data, tmp_path, memory, kind):
    lora = LoraShape(2, convolutions=True) if kind == "lora" else None
    start = "tiny" if kind == "tiny" else "model"
    lesson = replace(LESSON, steps=4, lora=lora, start=start)
    name = "taught" if lora else f"taught/{WEIGHTS}"
    whole = run(base, data, tmp_path / "whole", memory, lesson)
    with pytest.raises(Cancelled):
        run(base, data, tmp_path / "cut", memory, lesson, Interrupted(3))
    assert state(tmp_path / "cut").is_file()
    assert (tmp_path / "cut" / name).is_file(), "what was good at step 2 is there to be used"
    seen = Interrupted()
    rest = run(base, data, tmp_path / "cut", memory, lesson, seen)
    assert len(seen.losses) == 1, "only the step that was left"
    assert rest.losses == whole.losses
    one, two = (load_file(tmp_path / side / name) for side in ("whole", "cut"))
    assert all(torch.equal(one[key], two[key]) for key in one) and one.keys() == two.keys()
    assert torch.equal(rest.sheet, whole.sheet)


def test_other_settings_begin_anew(base, data, tmp_path, memory):
    with pytest.raises(Cancelled):
        run(base, data, tmp_path, memory, progress=Interrupted(3))
    seen = Interrupted()
    run(base, data, tmp_path, memory, replace(LESSON, seed=1), seen)
    assert len(seen.losses) == STEPS


def test_nan_stops_and_keeps_the_last_good_checkpoint(base, data, tmp_path, memory, monkeypatch):
    from graphengine.training import noise_predictor

    calls, good = [], noise_predictor.noised

    def sometimes(clean, noise, abar):
        calls.append(1)
        return good(clean, noise, abar) * (float("nan") if len(calls) == 5 else 1)

    monkeypatch.setattr(noise_predictor, "noised", sometimes)
    with pytest.raises(
        ModelError, match="step 5 of 6: the loss became NaN .* after step 4 is kept"
    ) as e:
        run(base, data, tmp_path, memory)
    assert "lower the learning rate" in str(e.value.hint)
    kept = load_file(tmp_path / "taught" / WEIGHTS)
    assert all(torch.isfinite(tensor).all() for tensor in kept.values())
    diffusion.load_checkpoint(tmp_path / "taught")
    assert all(torch.isfinite(tensor).all() for tensor in load_file(state(tmp_path)).values())
    monkeypatch.setattr(noise_predictor, "noised", good)
    after = run(base, data, tmp_path, memory)
    assert len(after.losses["loss"]) == STEPS


def test_conditions_make_a_model_of_more_channels(base, tmp_path, memory):
    data = latent_set(World(32, 4, 2), base.vae, base.model, "masks", memory=memory)
    taught = run(base, data, tmp_path, memory)
    assert taught.checkpoint.model.extra_channels == 5
    assert "StableDiffusionInpaintPipeline" in (tmp_path / "taught/model_index.json").read_text()
    weight = load_weights(taught.checkpoint.model, torch.float32).conv_in.weight
    assert weight.shape[1] == 9 and weight[:, 4:].abs().sum() > 0
    ordinary = latent_set(World(32, 4, 2), base.vae, base.model, memory=memory)
    with pytest.raises(ModelError, match="is an inpainting model .* 0 channels of conditions"):
        run(taught.checkpoint, ordinary, tmp_path / "other", memory)
    with pytest.raises(ModelError, match="5 sample prompts, but conditions of 4"):
        run(base, data, tmp_path, memory, replace(LESSON, drawing=Drawing(("a",) * 5)))


def test_a_foreign_checkpoint_is_never_replaced(base, data, tmp_path, memory):
    (tmp_path / "taught").mkdir()
    with pytest.raises(FileError, match="already a checkpoint taught, which no training made"):
        run(base, data, tmp_path, memory)
    with pytest.raises(ModelError, match="no prompt"):
        run(base, data, tmp_path / "b", memory, replace(LESSON, drawing=Drawing(())))
    with pytest.raises(ModelError, match="can't start from 'huge'"):
        run(base, data, tmp_path / "c", memory, replace(LESSON, start="huge"))


def test_a_lora_is_read_by_diffusers_and_by_us_alike(base, data, tmp_path, memory):
    lesson = replace(LESSON, lora=LoraShape(3, convolutions=True), recipe=Recipe(2, 3e-2, ema=0.5))
    file = tmp_path / "style.safetensors"
    teach(base, data, lesson, file, tmp_path / "work", memory=memory)
    root = base.model.folder.parent
    pipe = StableDiffusionPipeline.from_pretrained(root)
    x, t, text = torch.randn(1, 4, 8, 8), torch.tensor([300]), torch.randn(1, 7, 32)
    plain = pipe.unet(x, t, text).sample
    pipe.load_lora_weights(tmp_path, weight_name=file.name)
    wanted = pipe.unet(x, t, text).sample
    assert not torch.allclose(wanted, plain, atol=1e-3)
    ours = with_lora(base.model, file, "d")
    assert torch.allclose(load_weights(ours, torch.float32)(x, t, text).sample, wanted, atol=1e-5)
    assert ours.digest != base.model.digest != with_lora(base.model, file, "d", 0.5).digest
    assert with_lora(base.model, file, "d", 0.0) == base.model
    twice = with_lora(with_lora(base.model, file, "d"), file, "d", -1.0)
    assert torch.allclose(load_weights(twice, torch.float32)(x, t, text).sample, plain, atol=1e-4)


def test_what_is_no_lora_is_told(base, tmp_path):
    from safetensors.torch import save_file

    with pytest.raises(FileError, match="is no LoRA file"):
        with_lora(base.model, tmp_path / "none.safetensors", "d")
    save_file({"weight": torch.ones(2)}, tmp_path / "other.safetensors")
    with pytest.raises(ModelError, match="other.safetensors"):
        load_weights(with_lora(base.model, tmp_path / "other.safetensors", "d"), torch.float32)


def test_what_it_was_taught_stands_beside(base, data, tmp_path, memory):
    run(base, data, tmp_path, memory, replace(LESSON, steps=1))
    told = json.loads((tmp_path / "taught/training.json").read_text())
    assert told["lesson"]["steps"] == 1 and told["base"] == "tiny"
