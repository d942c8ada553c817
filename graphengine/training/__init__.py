"""Teaching networks, as plain functions over tensors, usable without a graph.

A name loads its module when it is first used. `Dataset` and `LatentSet`, which travel on links,
load no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from graphengine.training.autoencoder import VaeRecipe as VaeRecipe
    from graphengine.training.autoencoder import teach_autoencoder as teach_autoencoder
    from graphengine.training.datasets import Dataset as Dataset
    from graphengine.training.datasets import Folder as Folder
    from graphengine.training.datasets import depth_pictures as depth_pictures
    from graphengine.training.datasets import picture_set as picture_set
    from graphengine.training.datasets import read_folder as read_folder
    from graphengine.training.depth import DepthRecipe as DepthRecipe
    from graphengine.training.depth_teaching import DepthLesson as DepthLesson
    from graphengine.training.depth_teaching import teach_depth as teach_depth
    from graphengine.training.examples import LatentSet as LatentSet
    from graphengine.training.latents import latent_set as latent_set
    from graphengine.training.lora import LoraShape as LoraShape
    from graphengine.training.noise_predictor import Recipe as Recipe
    from graphengine.training.noising import examples_table as examples_table
    from graphengine.training.samples import Drawing as Drawing
    from graphengine.training.teaching import Lesson as Lesson
    from graphengine.training.teaching import teach as teach

_HOMES = {
    "autoencoder": ("VaeRecipe", "teach_autoencoder"),
    "datasets": ("Dataset", "Folder", "depth_pictures", "picture_set", "read_folder"),
    "depth": ("DepthRecipe",),
    "depth_teaching": ("DepthLesson", "teach_depth"),
    "examples": ("LatentSet",),
    "latents": ("latent_set",),
    "lora": ("LoraShape",),
    "noise_predictor": ("Recipe",),
    "noising": ("examples_table",),
    "samples": ("Drawing",),
    "teaching": ("Lesson", "teach"),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}
__all__ = sorted(_HOME)  # noqa: PLE0605 - derived, so that it can't disagree


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(_HOME)
