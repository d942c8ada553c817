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
    from graphengine.figures.bars import bar_chart as bar_chart
    from graphengine.figures.grid import labelled_grid as labelled_grid
    from graphengine.figures.heat import attention_figure as attention_figure
    from graphengine.figures.tokens import tokens_figure as tokens_figure
    from graphengine.figures.verdicts import marked_sheet as marked_sheet

_HOMES = {
    "bars": ("bar_chart",),
    "verdicts": ("marked_sheet",),
    "grid": ("labelled_grid",),
    "heat": ("attention_figure",),
    "tokens": ("tokens_figure",),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}
__all__ = sorted(_HOME)  # noqa: PLE0605 - derived, so that it can't disagree


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(_HOME)
