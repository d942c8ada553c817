"""Pictures as frames of an animated file."""

from __future__ import annotations

import io
from typing import Any, Literal, get_args

from torch import Tensor

from graphengine.diffusion.images import to_pillow
from graphengine.errors import GraphEngineError

Animation = Literal["webp", "png"]
OPTIONS: dict[Animation, dict[str, Any]] = {
    "webp": {"quality": 90, "method": 4},
    "png": {},
}


def animation_bytes(
    frames: Tensor, kind: Animation = "webp", fps: float = 8, hold: float = 2
) -> bytes:
    """Frames [n, H, W, 3 or 4] as an animated file that plays over and over.

    `fps`: frames a second. `hold`: seconds that the last frame stays. Raises `GraphEngineError` for
    another kind of file or no frames, `ModelError` for NaN.
    """
    if kind not in get_args(Animation) or not len(frames):
        raise GraphEngineError(
            f"{len(frames)} frames as {kind!r} are no animation",
            f"give at least one, and one of {', '.join(get_args(Animation))}",
        )
    pictures = [to_pillow(frame) for frame in frames]
    each = round(1000 / fps)
    times = [*[each] * (len(pictures) - 1), max(each, round(hold * 1000))]
    stream = io.BytesIO()
    pictures[0].save(
        stream,
        format=kind.upper(),
        save_all=True,
        append_images=pictures[1:],
        duration=times if len(pictures) > 1 else times[0],
        loop=0,
        **OPTIONS[kind],
    )
    return stream.getvalue()
