"""Which words a UNet looked at where: its cross-attention, recorded while it samples.

As in DAAM (Tang et al. 2022, arXiv:2210.04885): each cell of each cross-attention layer spreads a
weight of 1 over the tokens of the prompt. These weights are averaged over heads, layers and steps.
They are computed beside the network's own attention, which goes on as it is.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from graphengine.diffusion.generation import ksampler
from graphengine.diffusion.memory import Memory
from graphengine.diffusion.tokens import PromptTokens
from graphengine.diffusion.types import Attention, Conditioning, Latent, Model
from graphengine.errors import ModelError
from graphengine.resource import Progress

MOST_HALVINGS = 8
"""How often a UNet may halve its latent on the way down."""

BYTES_AT_ONCE = 2**26
"""Attention weights are computed for so many cells at a time that they take about this much."""


@dataclass
class Sums:
    """Attention weights summed up, [tokens, h, w] for each resolution, and how many they were."""

    maps: dict[tuple[int, int], Tensor] = field(default_factory=dict)
    counts: dict[tuple[int, int], int] = field(default_factory=dict)

    def add(self, seen: Tensor, count: int = 1) -> None:
        size = (int(seen.shape[1]), int(seen.shape[2]))
        self.maps[size] = self.maps[size] + seen if size in self.maps else seen
        self.counts[size] = self.counts.get(size, 0) + count

    def mean(self, size: tuple[int, int]) -> Tensor:
        """The average over all that was added, [tokens, h, w] at one size."""
        total = sum(
            seen if seen.shape[1:] == size else _resized(seen, size) for seen in self.maps.values()
        )
        return torch.as_tensor(total / sum(self.counts.values()))


class Recorder:
    """Sums the attention that a UNet pays to one text, for each item of a batch.

    `tokens`: the text, [1, length, width], as the UNet gets it. `size`: (h, w) of the latent. What
    is kept does not grow with the layers and steps. `watch` is to be called after each step, as
    `sample` does.
    """

    def __init__(self, tokens: Tensor, size: tuple[int, int]) -> None:
        self.tokens, self.size = tokens[0], size
        self.items: list[Sums] = []
        self._step = Sums()
        self._as_read: Tensor | None = None
        self._thread = threading.get_ident()

    def see(self, layer: Any, hidden: Tensor, text: Tensor | None, mask: Tensor | None) -> None:
        """Take what a cross-attention layer is given: `hidden` [n, cells, channels] and `text`
        [n, a multiple of length, width]. Rows that read another text, and other threads' calls of
        the same UNet, are passed over.
        """
        if text is None or hidden.ndim != 3 or threading.get_ident() != self._thread:
            return
        size = halved(self.size, hidden.shape[1])
        for row in self._rows(text) if size else ():
            here = slice(row, row + 1)
            masked = None if mask is None else mask[here]
            looked = attention_of(layer, hidden[here], text[here], masked)
            looked = looked.reshape(len(looked), -1, len(self.tokens)).sum(
                1
            )  # repeats are one text
            self._step.add(looked.T.reshape(len(self.tokens), *(size or ())).cpu())

    def watch(self, step: int, sigma: float, noisy: Tensor, clean: Tensor) -> None:
        """A step is done; with the first one another item of the batch has begun."""
        if step == 0 or not self.items:
            self.items.append(Sums())
        for size, seen in self._step.maps.items():
            self.items[-1].add(seen, self._step.counts[size])
        self._step = Sums()

    def maps(self) -> Tensor:
        """The averages, [items, length, h, w]. Raises `ModelError` if nothing was recorded."""
        if not self.items or not all(item.maps for item in self.items):
            raise ModelError(
                "no cross-attention was seen: the model read the prompt nowhere",
                "take a Stable Diffusion UNet, at least one step, and denoise above 0",
            )
        return torch.stack([item.mean(self.size) for item in self.items])

    def _rows(self, text: Tensor) -> list[int]:
        """The rows of a batch that read our text, once or repeated."""
        length = len(self.tokens)
        if text.ndim != 3 or text.shape[1] % length:
            return []
        if self._as_read is None or self._as_read.device != text.device:
            self._as_read = self.tokens.to(text)
        return [row for row in range(len(text)) if torch.equal(text[row, :length], self._as_read)]


@contextmanager
def recording(unet: nn.Module, recorder: Recorder) -> Iterator[None]:
    """Let a recorder see every cross-attention of a UNet (its layers named `attn2`) for a while.

    The UNet's results stay the same to the bit, and in the end it is as it was.
    """
    layers = [layer for name, layer in unet.named_modules() if name.endswith("attn2")]
    handles = [
        layer.register_forward_pre_hook(partial(_watch, recorder), with_kwargs=True)
        for layer in layers
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _watch(
    recorder: Recorder, layer: nn.Module, given: tuple[Any, ...], named: dict[str, Any]
) -> None:
    hidden, text, mask, *_ = (*given, None, None, None)
    text, mask = named.get("encoder_hidden_states", text), named.get("attention_mask", mask)
    with torch.no_grad():
        recorder.see(layer, named.get("hidden_states", hidden), text, mask)


def attention_of(layer: Any, hidden: Tensor, text: Tensor, mask: Tensor | None = None) -> Tensor:
    """Attention weights of a cross-attention layer of diffusers, averaged over its heads.

    `hidden` [1, cells, channels], `text` [1, tokens, width] -> float32 [cells, tokens]; each row
    sums to 1: softmax(q k / sqrt(d)).
    """
    if layer.norm_cross:
        text = layer.norm_encoder_hidden_states(text)
    key = layer.head_to_batch_dim(layer.to_k(text))
    if mask is not None:
        mask = layer.prepare_attention_mask(mask, text.shape[1], 1)
    at_once = max(1, BYTES_AT_ONCE // (4 * key.shape[0] * key.shape[1]))
    parts = []
    for start in range(0, hidden.shape[1], at_once):
        cells = hidden[:, start : start + at_once]
        query = layer.head_to_batch_dim(layer.to_q(cells))
        parts.append(layer.get_attention_scores(query, key, mask).float().mean(0))
    return torch.cat(parts)


def halved(size: tuple[int, int], cells: int) -> tuple[int, int] | None:
    """The size, halved some times and rounded up, that has so many cells; None if none has."""
    for power in range(MOST_HALVINGS + 1):
        height, width = (-(-side // 2**power) for side in size)
        if height * width == cells:
            return height, width
    return None


def ksampler_with_attention(
    model: Model,
    positive: Conditioning,
    negative: Conditioning,
    latent: Latent,
    *,
    memory: Memory,
    progress: Progress | None = None,
    **settings: Any,
) -> tuple[Latent, Attention]:
    """`ksampler`, and where the model looked at the positive text meanwhile.

    `settings`: those of `ksampler`. The latent is the same to the bit as without recording. Raises
    `ModelError` for a text that has several parts, or is not for the whole picture all the time.
    """
    if not positive.is_plain:
        raise ModelError(
            "attention is recorded for one text over the whole picture, not for parts of it",
            "link the prompt itself, without area, mask or range",
        )
    height, width = (int(side) for side in latent.samples.shape[2:])
    recorder = Recorder(positive.tokens, (height, width))
    with memory.use(model, progress=progress) as unet, recording(unet, recorder):
        result = ksampler(
            model,
            positive,
            negative,
            latent,
            memory=memory,
            progress=progress,
            watch=recorder.watch,
            **settings,
        )
    return result, Attention(recorder.maps())


def word_maps(
    attention: Attention, tokens: PromptTokens, only: Sequence[str] = ()
) -> tuple[list[str], Tensor]:
    """The words of a prompt, and where each was looked at: [batch, words, h, w].

    A word of several tokens got the sum of what they got. Punctuation is left out. `only`: no other
    words than these. Raises `ModelError` for one that the prompt lacks, and for another prompt than
    the one that was recorded.
    """
    places = sum(len(chunk) for chunk in tokens.chunks)
    if places != attention.maps.shape[1]:
        raise ModelError(
            f"the text has {places} places, but attention was paid to {attention.maps.shape[1]}",
            "give the text that was encoded for sampling",
        )
    wanted = {word.lower() for word in only}
    spoken = [word for word in tokens.words if any(letter.isalnum() for letter in word)]
    if missing := sorted(wanted.difference(spoken)):
        raise ModelError(
            f"the prompt has no word {', '.join(map(repr, missing))}",
            f"its words: {', '.join(dict.fromkeys(spoken)) or 'none'}",
        )
    chosen = [
        number
        for number, word in enumerate(tokens.words)
        if word in (wanted or spoken) and word in spoken
    ]
    maps = [attention.maps[:, tokens.places(number)].sum(1) for number in chosen]
    batch, _, *size = attention.maps.shape
    stacked = torch.stack(maps, dim=1) if maps else torch.zeros(batch, 0, *size)
    return [tokens.words[number] for number in chosen], stacked


def _resized(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps [tokens, h, w] in another size, linear, so that what sums to 1 still does."""
    return interpolate(maps[None], size=size, mode="bilinear", align_corners=False)[0]
