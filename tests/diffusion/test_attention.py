"""Cross-attention recorded beside sampling, against diffusers' own weights and small cases by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from importlib.resources import files

import pytest
import torch
from diffusers.models.attention_processor import Attention as Layer
from diffusers.models.attention_processor import AttnProcessor
from torch import nn

from graphengine.diffusion import (
    Attention,
    decode_latent,
    empty_latent,
    encode_prompt,
    ksampler,
    ksampler_with_attention,
    load_checkpoint,
    prompt_tokens,
    word_maps,
)
from graphengine.diffusion.attention import Recorder, attention_of, halved, recording
from graphengine.errors import GraphEngineError, ModelError
from graphengine.figures.heat import attention_figure, percent, stretched
from graphengine.resource import Progress

SETTINGS = {"seed": 1, "steps": 3, "cfg": 5.0, "sampler": "dpmpp_2m", "schedule": "karras"}


def latent_of(checkpoint, batch=1, width=48):
    return empty_latent(checkpoint.vae, width, 32, batch)


def hand_layer() -> Layer:
    """One head of two numbers; query and key are the inputs themselves."""
    layer = Layer(query_dim=2, cross_attention_dim=2, heads=1, dim_head=2, bias=False)
    with torch.no_grad():
        layer.to_q.weight.copy_(torch.eye(2))
        layer.to_k.weight.copy_(torch.eye(2))
    return layer


def test_attention_by_hand():
    cells = torch.tensor([[[0.0, 0.0], [math.sqrt(2) * math.log(3), 0.0]]])
    words = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    found = attention_of(hand_layer(), cells, words)
    torch.testing.assert_close(found, torch.tensor([[0.5, 0.5], [0.75, 0.25]]))


def test_attention_is_what_the_layer_weighs_its_values_with():
    """The layer's output follows from our weights: one head, values as they are."""
    torch.manual_seed(0)
    layer = Layer(query_dim=6, cross_attention_dim=5, heads=1, dim_head=6, bias=False)
    cells, words = torch.randn(1, 9, 6), torch.randn(1, 7, 5)
    with torch.no_grad():
        weights = attention_of(layer, cells, words)
        ours = layer.to_out[0](weights @ layer.to_v(words[0]))
        theirs = layer(cells, encoder_hidden_states=words)[0]
    torch.testing.assert_close(ours, theirs)


def test_large_pictures_are_worked_in_parts(monkeypatch):
    torch.manual_seed(0)
    layer = Layer(query_dim=8, cross_attention_dim=5, heads=2, dim_head=4)
    cells, words = torch.randn(1, 30, 8), torch.randn(1, 7, 5)
    with torch.no_grad():
        whole = attention_of(layer, cells, words)
        monkeypatch.setattr("graphengine.diffusion.attention.BYTES_AT_ONCE", 4 * 2 * 7 * 4)
        torch.testing.assert_close(attention_of(layer, cells, words), whole)


@pytest.mark.parametrize(
    ("size", "cells", "found"),
    [((4, 6), 24, (4, 6)), ((4, 6), 6, (2, 3)), ((4, 6), 2, (1, 2)), ((5, 7), 12, (3, 4))],
)
def test_resolutions_are_halvings_rounded_up(size, cells, found):
    assert halved(size, cells) == found
    assert halved(size, 1000) is None


class Network(nn.Module):
    """One cross-attention layer where a UNet has it."""

    def __init__(self) -> None:
        super().__init__()
        self.attn2 = hand_layer()

    def forward(self, cells, words):
        return self.attn2(cells, encoder_hidden_states=words)


def test_averages_over_calls_and_only_rows_of_our_text():
    ours = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    other = ours.flip(-1)
    even, tilted = torch.zeros(1, 4, 2), torch.zeros(1, 4, 2)
    tilted[..., 0] = math.sqrt(2) * math.log(3)
    network, recorder = Network(), Recorder(ours, (2, 2))
    with recording(network, recorder), torch.no_grad():
        network(torch.cat([tilted, even]), torch.cat([other, ours]))
        network(tilted, ours)
        recorder.watch(0, 1.0, even, even)
        network(even, other)
        recorder.watch(1, 0.5, even, even)
    maps = recorder.maps()
    assert maps.shape == (1, 2, 2, 2)
    torch.testing.assert_close(maps[0, 0], torch.full((2, 2), (0.5 + 0.75) / 2))
    network(tilted, ours)
    torch.testing.assert_close(recorder.maps(), maps)


def test_a_repeated_text_counts_as_one():
    ours = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    tilted = torch.zeros(1, 4, 2)
    tilted[..., 0] = math.sqrt(2) * math.log(3)
    network, recorder = Network(), Recorder(ours, (2, 2))
    with recording(network, recorder), torch.no_grad():
        network(tilted, ours.repeat(1, 3, 1))
    recorder.watch(0, 1.0, tilted, tilted)
    torch.testing.assert_close(recorder.maps()[0, 0], torch.full((2, 2), 0.75))


@pytest.mark.parametrize("cfg", [1.0, 5.0])
@pytest.mark.parametrize("sampler", ["euler", "heun"])
def test_recording_changes_no_bit_and_shares_sum_to_one(checkpoint, memory, prompts, cfg, sampler):
    settings = {**SETTINGS, "cfg": cfg, "sampler": sampler}
    latent = latent_of(checkpoint)
    plain = ksampler(checkpoint.model, *prompts, latent, memory=memory, **settings)
    result, found = ksampler_with_attention(
        checkpoint.model, *prompts, latent, memory=memory, **settings
    )
    assert torch.equal(result.samples, plain.samples)
    assert found.maps.shape == (1, 77, *latent.samples.shape[2:])
    assert float(found.maps.min()) >= 0
    torch.testing.assert_close(found.maps.sum(1), torch.ones(1, *latent.samples.shape[2:]))


def test_items_of_a_batch_are_told_apart(checkpoint, memory, prompts):
    parts = (checkpoint.model, *prompts)
    batch, found = ksampler_with_attention(
        *parts, latent_of(checkpoint, 2), memory=memory, **SETTINGS
    )
    second = replace(latent_of(checkpoint), noise_index=(1,))
    alone, by_itself = ksampler_with_attention(*parts, second, memory=memory, **SETTINGS)
    assert torch.equal(batch.samples[1:], alone.samples)
    assert torch.equal(found.maps[1:], by_itself.maps)
    assert not torch.equal(found.maps[:1], found.maps[1:])


def test_long_texts_have_a_map_for_each_place(checkpoint, memory, prompts):
    long = encode_prompt(checkpoint.text_encoder, "cat " * 100, memory=memory)
    _, found = ksampler_with_attention(
        checkpoint.model, long, prompts[1], latent_of(checkpoint), memory=memory, **SETTINGS
    )
    assert found.maps.shape[1] == 154
    torch.testing.assert_close(found.maps.sum(1), torch.ones_like(found.maps[:, 0]))


class Stopped(Exception):
    pass


class Stopping(Progress):
    """Stops a run after its first step."""

    def report(self, done, total, note="", preview=None, **figures):
        if done == 1 and figures:
            raise Stopped


def test_the_unet_is_left_as_it_was_also_after_an_error(checkpoint, memory, prompts):
    def hooks(unet):
        return [len(module._forward_pre_hooks) for module in unet.modules()]

    with memory.use(checkpoint.model) as unet:
        before, processors = hooks(unet), dict(unet.attn_processors)
        with pytest.raises(Stopped):
            ksampler_with_attention(
                checkpoint.model,
                *prompts,
                latent_of(checkpoint),
                memory=memory,
                progress=Stopping(),
                **SETTINGS,
            )
        assert hooks(unet) == before
        ksampler_with_attention(
            checkpoint.model, *prompts, latent_of(checkpoint), memory=memory, **SETTINGS
        )
        assert hooks(unet) == before
        assert unet.attn_processors == processors


def test_any_attention_processor_is_recorded_alike(checkpoint, memory, prompts):
    arguments = (checkpoint.model, *prompts, latent_of(checkpoint))
    _, usual = ksampler_with_attention(*arguments, memory=memory, **SETTINGS)
    with memory.use(checkpoint.model) as unet:
        processors = unet.attn_processors
        unet.set_attn_processor(AttnProcessor())
        try:
            _, plain = ksampler_with_attention(*arguments, memory=memory, **SETTINGS)
        finally:
            unet.set_attn_processor(processors)
    torch.testing.assert_close(plain.maps, usual.maps, rtol=1e-3, atol=1e-5)


def test_texts_for_parts_of_the_picture_are_refused(checkpoint, memory, prompts):
    part = replace(prompts[0], start=0.5)
    with pytest.raises(ModelError, match="one text over the whole picture"):
        ksampler_with_attention(
            checkpoint.model, part, prompts[1], latent_of(checkpoint), memory=memory, **SETTINGS
        )


def test_nothing_sampled_is_told(checkpoint, memory, prompts):
    with pytest.raises(ModelError, match="no cross-attention was seen"):
        ksampler_with_attention(
            checkpoint.model,
            *prompts,
            latent_of(checkpoint),
            memory=memory,
            **{**SETTINGS, "denoise": 0.0},
        )


def test_words_of_several_tokens_are_summed_and_punctuation_left_out(checkpoint, memory):
    tokens = prompt_tokens(checkpoint.text_encoder, "a ox, cat", memory=memory)
    maps = torch.rand(2, 77, 3, 4)
    names, found = word_maps(Attention(maps), tokens)
    assert names == ["a", "ox", "cat"]
    torch.testing.assert_close(found[:, 1], maps[:, 2] + maps[:, 3])
    torch.testing.assert_close(found[:, 2], maps[:, 5])
    names, found = word_maps(Attention(maps), tokens, ["Cat"])
    assert names == ["cat"]
    torch.testing.assert_close(found[:, 0], maps[:, 5])
    with pytest.raises(ModelError, match=r"no word 'dog' \(its words: a, ox, cat\)"):
        word_maps(Attention(maps), tokens, ["dog"])
    with pytest.raises(ModelError, match="77 places, but attention was paid to 154"):
        word_maps(Attention(torch.rand(1, 154, 3, 4)), tokens)


def test_an_empty_prompt_has_no_maps_and_a_picture(checkpoint, memory):
    tokens = prompt_tokens(checkpoint.text_encoder, "", memory=memory)
    names, found = word_maps(Attention(torch.rand(1, 77, 3, 4)), tokens)
    assert (names, found.shape) == ([], (1, 0, 3, 4))
    figure = attention_figure(torch.rand(1, 24, 32, 3), found[0], names)
    assert figure.shape[-1] == 3
    with pytest.raises(GraphEngineError, match="0 maps for 1 words"):
        attention_figure(torch.rand(1, 24, 32, 3), found[0], ["cat"])


def test_shares_are_legible():
    assert [percent(share) for share in (0.1349, 0.007, 0.0002, 0)] == [
        "13.5 %",
        "0.7 %",
        "0.02 %",
        "0 %",
    ]


def test_maps_are_stretched_over_the_picture():
    one = torch.tensor([[0.2, 0.2], [0.2, 0.6]])
    heat = stretched(one, (8, 8))
    assert heat.shape == (8, 8)
    assert float(heat[-1, -1]) == pytest.approx(1, abs=0.1)
    assert float(heat[0, 0]) == pytest.approx(0, abs=0.1)
    assert float(stretched(torch.full((2, 2), 0.3), (4, 4)).abs().max()) == 0


def test_postcard_looks_at_the_lighthouse_for_lighthouse(memory):
    """Where the tower is, "lighthouse" and "red" got more attention than elsewhere below the sky."""
    checkpoint = load_checkpoint(files("graphengine") / "postcard" / "checkpoints" / "postcard")
    text = "a red lighthouse by the sea at sunset"
    positive = encode_prompt(checkpoint.text_encoder, text, memory=memory)
    latent = empty_latent(checkpoint.vae, 128, 128)
    settings = {**SETTINGS, "steps": 10}
    empty = encode_prompt(checkpoint.text_encoder, "", memory=memory)
    result, found = ksampler_with_attention(
        checkpoint.model, positive, empty, latent, memory=memory, **settings
    )
    picture = decode_latent(checkpoint.vae, result, memory=memory)
    red, green, blue = (picture[0, 72:, :, channel] for channel in range(3))  # below the sky
    tower = ((red > 0.6) & (red > blue + 0.1)).float()
    assert 0.03 < float(tower.mean()) < 0.5, "the tower is the only red or white thing on the sea"
    names, maps = word_maps(found, prompt_tokens(checkpoint.text_encoder, text, memory=memory))
    heat = nn.functional.interpolate(maps, size=(128, 128), mode="bilinear")[0, :, 72:]
    means = dict(zip(names, (heat * tower).sum((1, 2)) / tower.sum() / heat.mean((1, 2))))
    assert means["lighthouse"] > 1.25
    assert means["red"] > 1.25
    assert means["a"] < 1
