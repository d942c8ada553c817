"""A sampling run as a film: every step's noisy latent and the clean one that the model saw in it."""

from __future__ import annotations

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from graphengine.diffusion.images import to_pillow
from graphengine.diffusion.trace import Trace, spread
from graphengine.errors import GraphEngineError
from graphengine.figures import style
from graphengine.figures.grid import labelled_grid
from graphengine.figures.style import font, px

FORMULA = (
    "Top: the noisy latent x as the model sees it, x\u00a0/\u00a0√(1\u00a0+\u00a0σ²). "
    "Bottom: its jump to a clean latent, x\u00a0−\u00a0σ\u00a0·\u00a0predicted\u00a0noise. Both decoded."
)

NARROWEST = 150
"""Points: of the room for a picture in an animation, so that its name and the bar fit."""


def film_strip(noisy: Tensor, clean: Tensor, trace: Trace, shown: int = 6) -> Tensor:
    """Some steps of a run side by side, [1, H, W, 3]: above what the model was given, below what it
    saw in it.

    `noisy`, `clean`: decoded pictures, [steps, H, W, 3] each. `shown`: how many steps at most,
    evenly, the first and the last among them. Raises `GraphEngineError` when the pictures are not
    those of the run.
    """
    check_pictures(trace, noisy, clean)
    places = spread(len(trace), shown)
    return labelled_grid(
        torch.cat([noisy[places], clean[places]]),
        title="Denoising, step by step",
        note=f"{len(trace)} steps of {trace.name}. {FORMULA}",
        column_labels=[f"step {place + 1}\nσ {level(trace.sigmas[place])}" for place in places],
        row_labels=["noisy", "predicted clean"],
    )


def film_frames(noisy: Tensor, clean: Tensor, trace: Trace, side: float = 192) -> Tensor:
    """A run as the frames of an animation, [steps, H, W, 3]: noisy and clean picture side by side,
    with step and sigma, and a bar that says how far it is.

    `noisy`, `clean`: decoded pictures, [steps, H, W, 3] each. `side`: points of a picture's longer
    side. Raises `GraphEngineError` when the pictures are not those of the run.
    """
    check_pictures(trace, noisy, clean)
    frames = [
        _frame(to_pillow(before[..., :3]), to_pillow(after[..., :3]), trace, step, side)
        for step, (before, after) in enumerate(zip(noisy, clean))
    ]
    return torch.cat([style.image_of(frame) for frame in frames])


def _frame(
    before: Image.Image, after: Image.Image, trace: Trace, step: int, side: float
) -> Image.Image:
    factor = px(side) / max(before.size)
    size = (round(before.width * factor), round(before.height * factor))
    gap, margin, head = px(16), px(style.MARGIN), px(48)
    slot = max(size[0], px(NARROWEST))
    wide = 2 * (margin + slot) + gap
    sheet = Image.new("RGB", (wide, head + size[1] + px(44)), style.PAPER)
    pen = ImageDraw.Draw(sheet)
    names = ("noisy", "predicted clean")
    for place, (picture, name) in enumerate(zip((before, after), names)):
        left = margin + place * (slot + gap)
        sheet.paste(picture.resize(size, Image.Resampling.BICUBIC), (left, head))
        frame = (left - 1, head - 1, left + size[0], head + size[1])
        pen.rectangle(frame, outline=style.LINE)
        pen.text((left, px(28)), name, style.INK, font(style.HEADING, "bold"), "lm")
    foot = head + size[1] + px(22)
    letters = font(style.TEXT)
    told = (f"step {step + 1} of {len(trace)}", f"σ {level(trace.sigmas[step])}")
    pen.text((margin, foot), told[0], style.MUTED, letters, "lm")
    pen.text((wide - margin, foot), told[1], style.MUTED, letters, "rm")
    left, right = margin + px(108), wide - margin - px(72)
    done = left + (right - left) * (step + 1) / len(trace)
    thick = px(2)
    pen.rounded_rectangle((left, foot - thick, right, foot + thick), thick, style.LINE)
    pen.rounded_rectangle((left, foot - thick, done, foot + thick), thick, style.ACCENTS[0])
    return sheet


def level(sigma: float) -> str:
    """A noise level for people to read: three figures that count."""
    return f"{sigma:.2f}" if sigma < 10 else f"{sigma:.1f}"


def check_pictures(trace: Trace, *pictures: Tensor) -> None:
    """Whether there is a picture for each step. Raises `GraphEngineError`."""
    for batch in pictures:
        if len(batch) != len(trace):
            raise GraphEngineError(
                f"{len(batch)} pictures for a run of {len(trace)} steps",
                "decode the latents of the same run",
            )
