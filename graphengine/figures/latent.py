"""What an autoencoder makes of a picture: its channels as maps, the picture again, and what is lost."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from graphengine.diffusion.inspection import psnr
from graphengine.errors import GraphEngineError
from graphengine.figures import style
from graphengine.figures.grid import labelled_grid

COLUMNS = 4
"""Maps of channels side by side."""


def latent_figure(image: Tensor, latent: Tensor, again: Tensor, amplify: float = 0) -> Tensor:
    """A picture, its reconstruction and the difference; below, each channel of its latent as a map.
    As [1, H, W, 3].

    `image`, `again`: [1 or more, H, W, 3], of which the first counts; `latent`: [1 or more,
    channels, h, w]. Where the autoencoder cut the picture to whole cells, it is cut here too.
    `amplify`: how often the difference is taken; 0 chooses the round number at which it can be
    seen. Raises `GraphEngineError` when the reconstruction is larger than the picture.
    """
    original, decoded = cut_to(image[:1, ..., :3], again[:1, ..., :3])
    error = (decoded - original).abs()
    times = amplify or visible_factor(error)
    channels, rows, cells = latent.shape[1:]
    many, few = original[0].numel(), latent[0].numel()
    pictures = labelled_grid(
        [original, decoded, (error * times).clamp(0, 1)],
        columns=3,
        title="Latent space",
        note=f"{original.shape[2]} × {original.shape[1]} pixels of 3 colours become {cells} × {rows} "
        f"cells of {channels} numbers: {many / few:.0f} times fewer.",
        column_labels=["picture", "encoded and decoded", f"difference × {times:g}"],
        captions=[
            "",
            f"PSNR {psnr(original, decoded):.1f} dB",
            f"on average {float(error.mean()) * 255:.1f} of 255",
        ],
    )
    maps = [colored(channel) for channel in latent[0].float()]
    ranges = [(float(channel.min()), float(channel.max())) for channel in latent[0]]
    names = [
        f"channel {place + 1}\nfrom {low:.1f} to {high:.1f}".replace("-", "−")
        for place, (low, high) in enumerate(ranges)
    ]
    blank = -len(maps) % COLUMNS if len(maps) > COLUMNS else 0
    below = labelled_grid(
        [*maps, *[None] * blank],
        columns=min(len(maps), COLUMNS),
        captions=[*names, *[""] * blank],
        cell=(style.PAGE - 2 * style.MARGIN - 3 * 10) / COLUMNS,
        sharp=True,
    )
    return _stacked(pictures, below[:, style.px(style.MARGIN) - 1 :])


def cut_to(image: Tensor, smaller: Tensor) -> tuple[Tensor, Tensor]:
    """A picture cut to the size of a smaller one, evenly on both ends, and that one. Raises
    `GraphEngineError` if it isn't smaller.
    """
    spare = [image.shape[side] - smaller.shape[side] for side in (1, 2)]
    if min(spare) < 0:
        raise GraphEngineError(
            f"a reconstruction of {smaller.shape[2]} × {smaller.shape[1]} is larger than its "
            f"picture of {image.shape[2]} × {image.shape[1]}",
            "decode the latent of the same picture",
        )
    top, left = (rest // 2 for rest in spare)
    return image[:, top : top + smaller.shape[1], left : left + smaller.shape[2]], smaller


def visible_factor(error: Tensor) -> float:
    """The round number that brings the largest part of a difference up to about 1: 1, 2, 5, 10..."""
    high = float(torch.quantile(error.flatten()[:: max(1, error.numel() // 10**6)], 0.99))
    wanted = 1 / max(high, 1e-3)
    round_ones = [base * 10**power for power in range(3) for base in (1, 2, 5)]
    return float(max(number for number in round_ones if number <= max(wanted, 1)))


def colored(channel: Tensor) -> Tensor:
    """A map [h, w] in colours, [1, h, w, 3]: 0 is white, the largest distance from it full colour."""
    import matplotlib

    most = max(float(channel.abs().max()), 1e-9)
    shares = (channel / most / 2 + 0.5).numpy()
    pixels = matplotlib.colormaps[style.DIVERGING](shares)[..., :3]
    return torch.from_numpy(np.ascontiguousarray(pixels, dtype=np.float32))[None]


def _stacked(top: Tensor, bottom: Tensor) -> Tensor:
    """Two sheets over each other on paper of the wider one's width."""
    wide = max(top.shape[2], bottom.shape[2])
    sheets = []
    for sheet in (top, bottom):
        paper = torch.ones(1, sheet.shape[1], wide, 3)
        paper[:, :, : sheet.shape[2]] = sheet
        sheets.append(paper)
    return torch.cat(sheets, dim=1)
