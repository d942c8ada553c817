"""Figures: tensors in, pictures [1, H, W, 3] out, all in one look.

A name loads its module when it is first used, so importing this package loads no torch, Pillow or
matplotlib.

    from graphengine import figures

    sheet = figures.labelled_grid(pictures, title="Guidance", column_labels=["1", "3", "5"])
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from graphengine.figures.animation import Animation as Animation
    from graphengine.figures.animation import animation_bytes as animation_bytes
    from graphengine.figures.bars import bar_chart as bar_chart
    from graphengine.figures.curves import loss_curves as loss_curves
    from graphengine.figures.forward import forward_figure as forward_figure
    from graphengine.figures.grid import labelled_grid as labelled_grid
    from graphengine.figures.heat import attention_figure as attention_figure
    from graphengine.figures.latent import latent_figure as latent_figure
    from graphengine.figures.paths import Way as Way
    from graphengine.figures.paths import paths_figure as paths_figure
    from graphengine.figures.schedule import schedule_csv as schedule_csv
    from graphengine.figures.schedule import schedule_figure as schedule_figure
    from graphengine.figures.schedule import schedule_text as schedule_text
    from graphengine.figures.strip import film_frames as film_frames
    from graphengine.figures.strip import film_strip as film_strip
    from graphengine.figures.tokens import tokens_figure as tokens_figure
    from graphengine.figures.verdicts import marked_sheet as marked_sheet

_HOMES = {
    "animation": ("Animation", "animation_bytes"),
    "bars": ("bar_chart",),
    "curves": ("loss_curves",),
    "forward": ("forward_figure",),
    "grid": ("labelled_grid",),
    "heat": ("attention_figure",),
    "latent": ("latent_figure",),
    "paths": ("Way", "paths_figure"),
    "schedule": ("schedule_csv", "schedule_figure", "schedule_text"),
    "strip": ("film_frames", "film_strip"),
    "tokens": ("tokens_figure",),
    "verdicts": ("marked_sheet",),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}
__all__ = sorted(_HOME)  # noqa: PLE0605 - derived, so that it can't disagree


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(_HOME)
