"""Teaching networks, as plain functions over tensors, usable without a graph.

A name loads its module when it is first used, and those named here import no torch before they
are called: they are the descriptions that travel on links, and what nodes call.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from graphengine.training.datasets import Dataset as Dataset
    from graphengine.training.datasets import Folder as Folder
    from graphengine.training.datasets import depth_pictures as depth_pictures
    from graphengine.training.datasets import picture_set as picture_set
    from graphengine.training.datasets import read_folder as read_folder
    from graphengine.training.examples import LatentSet as LatentSet

_HOMES = {
    "datasets": ("Dataset", "Folder", "depth_pictures", "picture_set", "read_folder"),
    "examples": ("LatentSet",),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}
__all__ = sorted(_HOME)  # noqa: PLE0605 - derived, so that it can't disagree


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(_HOME)
