"""The shipped model: its tokenizer, its layout, and that it makes pictures."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from graphengine.postcard.caption import describe, vocabulary
from graphengine.postcard.export import MODEL, generate, load
from graphengine.postcard.text import load_tokenizer, tokenize
from graphengine.postcard.world import random_scene

pytestmark = pytest.mark.skipif(not (MODEL / "model_index.json").exists(), reason="no model yet")


@pytest.fixture(scope="module")
def pipe() -> Any:
    return load()


def test_layout_is_stable_diffusions() -> None:
    index = json.loads((MODEL / "model_index.json").read_text())
    assert index["_class_name"] == "StableDiffusionPipeline"
    for part in ("vae", "text_encoder", "unet"):
        assert list((MODEL / part).glob("*.safetensors"))
        assert (MODEL / part / "config.json").exists()
    assert (MODEL / "tokenizer" / "vocab.json").exists()
    assert (MODEL / "tokenizer" / "merges.txt").exists()
    assert not list(MODEL.rglob("*.bin"))
    assert sum(f.stat().st_size for f in MODEL.rglob("*") if f.is_file()) <= 30_000_000


def test_the_words_of_captions_are_single_tokens_and_come_back() -> None:
    tokenizer: Any = load_tokenizer(MODEL / "tokenizer")
    for phrase in vocabulary():
        back = tokenizer.decode(tokenizer(phrase).input_ids, skip_special_tokens=True)
        assert back.replace(" - ", "-") == phrase
    rng = np.random.default_rng(0)
    longest = max(
        len(tokenizer(describe(random_scene(rng), rng).text).input_ids) for _ in range(300)
    )
    assert longest < 60


def test_unknown_text_has_an_encoding_of_its_own() -> None:
    tokenizer: Any = load_tokenizer(MODEL / "tokenizer")
    for odd in ("größe 漢字 🙂", "ZEBRA", "\x00"):
        ids = tokenizer(odd).input_ids
        assert len(ids) > 2 and tokenizer.eos_token_id not in ids[1:-1]
    back = tokenizer.decode(tokenizer("größe 漢字 🙂").input_ids, skip_special_tokens=True)
    assert back == "größe 漢字 🙂"
    assert tokenize(tokenizer, ["", "tree " * 200]).shape == (2, 77)


def test_a_few_steps_give_a_finite_picture_that_the_prompt_and_the_seed_change(pipe: Any) -> None:
    def made(prompt: str, seed: int) -> Any:
        return np.asarray(generate(pipe, [prompt], steps=4, seed=seed)[0], dtype=np.float32)

    night, again = made("a white house at night", 1), made("a white house at night", 1)
    assert night.shape == (128, 128, 3) and np.isfinite(night).all()
    assert np.array_equal(night, again)
    day = made("a white house by day in the snow", 1)
    assert day[:40].mean() > night[:40].mean() + 40  # the sky of a day is brighter
    assert not np.array_equal(night, made("a white house at night", 2))


def test_latents_have_about_unit_variance(pipe: Any) -> None:
    import torch

    from graphengine.postcard.data import to_tensor
    from graphengine.postcard.render import render
    from graphengine.postcard.vae import psnr

    rng = np.random.default_rng(8)
    pixels = np.stack([np.asarray(render(random_scene(rng, held=True))[0]) for _ in range(24)])
    with torch.no_grad():
        z = pipe.vae.encode(to_tensor(pixels)).latent_dist.mean * pipe.vae.config.scaling_factor
    assert 0.8 < float(z.std()) < 1.2 and abs(float(z.mean())) < 0.2
    assert psnr(pipe.vae, pixels) > 24
