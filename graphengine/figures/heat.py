"""Heat maps of a model's attention over the picture it drew, a word beneath each."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from graphengine.diffusion.images import LUMA
from graphengine.errors import GraphEngineError
from graphengine.figures import style
from graphengine.figures.grid import labelled_grid

COLUMNS = (5, 6, 4)
"""Pictures side by side: of these numbers the one that leaves fewest places empty."""

VEIL = 0.85
"""How much of the colour is the map's; the rest is the picture in grey."""


def attention_figure(
    picture: Tensor,
    maps: Tensor,
    words: Sequence[str],
    *,
    title: str = "Where the model looked",
    note: str = "",
    columns: int | None = None,
) -> Tensor:
    """A picture and, for each word, where it was looked at, as an image [1, H, W, 3].

    `picture` [1, H, W, 3]. `maps` [words, h, w] of any resolution: the share of attention that a
    word got in each cell. Each map runs over all colours, from its least to its most; the number
    under it is its mean over the picture. Without words there is the picture only. Raises
    `GraphEngineError` unless there is a map for each word.
    """
    if len(words) != len(maps):
        raise GraphEngineError(
            f"there are {len(maps)} maps for {len(words)} words", "give one map for each word"
        )
    size = (int(picture.shape[1]), int(picture.shape[2]))
    heats = [heated(picture, stretched(one, size)) for one in maps]
    shares = [f"{word}\n{percent(float(one.mean()))}" for word, one in zip(words, maps)]
    count = len(heats) + 1
    return labelled_grid(
        [picture[..., :3], *heats],
        columns=columns or min(count, min(COLUMNS, key=lambda many: -count % many)),
        title=title,
        note=note,
        captions=["the picture", *shares],
    )


def percent(share: float) -> str:
    """A share for people to read: `13.5 %`, `0.02 %`."""
    return f"{100 * share:.1f} %" if share >= 0.001 else f"{100 * share:.1g} %"


def stretched(one: Tensor, size: tuple[int, int]) -> Tensor:
    """A map [h, w] as [H, W] from 0 at its least to 1 at its most; a flat one is 0."""
    smooth = interpolate(one[None, None].float(), size=size, mode="bicubic")[0, 0]
    low, high = float(one.min()), float(one.max())
    return ((smooth - low) / (high - low)).clamp(0, 1) if high > low else torch.zeros(size)


def heated(picture: Tensor, heat: Tensor) -> Tensor:
    """A picture [1, H, W, 3] in grey under the colours of a map [H, W], 0 to 1."""
    from matplotlib import colormaps

    grey = (picture[..., :3] * torch.tensor(LUMA)).sum(-1, keepdim=True)
    colors = torch.from_numpy(colormaps[style.SEQUENTIAL](heat.cpu().numpy())[..., :3]).float()
    lit = colors * (0.65 + 0.35 * grey)  # the picture's light stays to be seen in the colours
    return (lit * VEIL + grey * (1 - VEIL)).clamp(0, 1)
