"""Which words a UNet looked at where: its cross-attention, recorded while it samples.

As in DAAM (Tang et al. 2022, arXiv:2210.04885): each cell of each cross-attention layer spreads a
weight of 1 over the tokens of the prompt. These weights are averaged over heads, layers and steps.
They are computed beside the network's own attention, which goes on as it is.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from graphengine.diffusion.generation import ksampler
from graphengine.diffusion.memory import Memory
from graphengine.diffusion.types import Conditioning, Latent, Model
from graphengine.errors import ModelError
from graphengine.resource import Progress

MOST_HALVINGS = 8
"""How often a UNet may halve its latent on the way down."""

BYTES_AT_ONCE = 2**26
"""Attention weights are computed for so many cells at a time that they take about this much."""


@dataclass(frozen=True)
class Attention:
    """Where a prompt was looked at. `maps`: float32 [batch, tokens, h, w] in latent cells, the
    prompt's chunks one behind the other; over the tokens of a cell they sum to 1.
    """

    maps: Tensor


class Recorder:
    """Sums the attention that a UNet pays to one text.

    `tokens`: the text, [1, length, width], as the UNet gets it. `size`: (h, w) of the latent.
    Keeps one sum for each resolution, [length, h, w], however many layers and steps there are.
    """

    def __init__(self, tokens: Tensor, size: tuple[int, int]) -> None:
        self.tokens, self.size = tokens[0], size
        self.sums: dict[tuple[int, int], Tensor] = {}
        self.counts: dict[tuple[int, int], int] = {}
        self._as_read: Tensor | None = None
        self._thread = threading.get_ident()

    def see(self, layer: Any, hidden: Tensor, text: Tensor | None, mask: Tensor | None) -> None:
        """Take what a cross-attention layer is given: `hidden` [n, cells, channels] and `text`
        [n, a multiple of length, width]. Rows that read another text, and other threads' calls of
        the same UNet, are passed over.
        """
        if text is None or hidden.ndim != 3 or threading.get_ident() != self._thread:
            return
        rows = self._rows(text)
        size = halved(self.size, hidden.shape[1])
        if not rows or size is None:
            return
        for row in rows:
            here = slice(row, row + 1)
            masked = None if mask is None else mask[here]
            looked = attention_of(layer, hidden[here], text[here], masked)
            looked = looked.unflatten(1, (-1, len(self.tokens))).sum(1)  # a repeated text is one
            seen = looked.T.reshape(len(self.tokens), *size).cpu()
            self.sums[size] = self.sums[size] + seen if size in self.sums else seen
            self.counts[size] = self.counts.get(size, 0) + 1

    def maps(self) -> Tensor:
        """The average so far, [length, h, w]. Raises `ModelError` if nothing was recorded."""
        if not self.sums:
            raise ModelError(
                "no cross-attention was seen: the model read the prompt nowhere",
                "take a Stable Diffusion UNet, at least one step, and cfg above 0",
            )
        total = torch.zeros(len(self.tokens), *self.size)
        for size, seen in self.sums.items():
            total += seen if size == self.size else _resized(seen, self.size)
        return total / sum(self.counts.values())

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
    for cells in hidden.split(at_once, dim=1):
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

    `settings`: those of `ksampler`. The latent is the same to the bit as without recording. Each
    item of a batch is recorded by itself.
    """
    results, maps = [], []
    for place in range(len(latent.samples)):
        size = (int(latent.samples.shape[2]), int(latent.samples.shape[3]))
        recorder = Recorder(positive.tokens, size)
        with memory.use(model, progress=progress) as unet, recording(unet, recorder):
            item = _item(latent, place)
            result = ksampler(
                model, positive, negative, item, memory=memory, progress=progress, **settings
            )
        results.append(result.samples)
        maps.append(recorder.maps())
    return replace(latent, samples=torch.cat(results)), Attention(torch.stack(maps))


def _item(latent: Latent, place: int) -> Latent:
    """One item of a batch, with its own noise."""
    here = slice(place, place + 1)
    mask, beside = (
        rows[here] if rows is not None and len(rows) > 1 else rows
        for rows in (latent.noise_mask, latent.beside)
    )
    index = latent.noise_index[place] if latent.noise_index else place
    return replace(
        latent, samples=latent.samples[here], noise_mask=mask, beside=beside, noise_index=(index,)
    )


def _resized(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps [tokens, h, w] in another size, linear, so that what sums to 1 still does."""
    return interpolate(maps[None], size=size, mode="bilinear", align_corners=False)[0]
