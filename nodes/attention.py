"""Which words a model looked at where, while it drew."""

from typing import Annotated, NamedTuple

from pydantic import Field

from graphengine import Multiline, Progress, diffusion, figures, node
from graphengine.diffusion import Attention, Conditioning, Image, Latent, Memory, Model, TextEncoder

from .sample import Cfg, NoiseSeed, Sampler, ScheduleName, Steps

MOST_WORDS = 40
"""Words that are drawn at most; of a longer prompt the first ones are, or those that are named."""


class Sampled(NamedTuple):
    """What KSampler gives, and where the prompt was looked at."""

    latent: Latent
    attention: Attention


@node(category="attention", title="KSampler with attention")
def sample(
    model: Model,
    positive: Conditioning,
    negative: Conditioning,
    latent: Latent,
    seed: NoiseSeed = 0,
    steps: Steps = 20,
    cfg: Cfg = 7.0,
    sampler: Sampler = "euler",
    schedule: ScheduleName = "normal",
    denoise: Annotated[
        float, Field(gt=0, le=1, description="below 1 something of the latent is kept")
    ] = 1.0,
    *,
    memory: Memory,
    progress: Progress,
) -> Sampled:
    """Draw as KSampler does, and record the model's cross-attention to the positive prompt.

    The latent is the very same. Attention is averaged over heads, layers and steps (DAAM,
    arXiv:2210.04885). Works with any Stable Diffusion UNet.
    """
    drawn = diffusion.ksampler_with_attention(
        model,
        positive,
        negative,
        latent,
        seed=seed,
        steps=steps,
        cfg=cfg,
        sampler=sampler,
        schedule=schedule,
        denoise=denoise,
        memory=memory,
        progress=progress,
    )
    return Sampled(*drawn)


@node(category="attention", title="Draw attention")
def draw(
    image: Image,
    attention: Attention,
    text_encoder: TextEncoder,
    text: Annotated[str, Multiline(), Field(description="The positive prompt, once more.")] = "",
    words: Annotated[
        str, Field(description="Only these words, separated by commas; empty: all of them.")
    ] = "",
    title: Annotated[str, Field(description="Stands over the figure.")] = "Where the model looked",
    *,
    memory: Memory,
    progress: Progress,
) -> Image:
    """Heat maps over the picture, one for each word of the prompt; a figure for each picture."""
    import torch

    tokens = diffusion.prompt_tokens(text_encoder, text, memory=memory, progress=progress)
    only = [word.strip() for word in words.split(",") if word.strip()]
    names, maps = diffusion.word_maps(attention, tokens, only)
    told = names[:MOST_WORDS]
    note = "Brightest where a word got most attention; beneath it, its share of all attention"
    if not names:
        note = "The prompt has no words"
    if len(names) > len(told):
        note += f". The first {len(told)} of {len(names)} words"
    drawn = [
        figures.attention_figure(picture[None], seen[: len(told)], told, title=title, note=note)
        for picture, seen in zip(image, maps, strict=True)
    ]
    return torch.cat(drawn)
