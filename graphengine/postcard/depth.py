"""postcard's depth model: MiDaS's hybrid network, made tiny, taught the exact depth of the world."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from graphengine.diffusion.depth_loader import PROCESSOR, Preprocessing
from graphengine.diffusion.weights import quiet
from graphengine.postcard.config import Config
from graphengine.postcard.data import render_depth, render_set
from graphengine.postcard.world import SIZE
from graphengine.resource import Progress
from graphengine.training import depth, loop
from graphengine.training.depth_network import new_estimator, write_preprocessing

MODEL = Path(__file__).parent / "depth_models" / "postcard"
"""The folder of the shipped model."""

PREPROCESSING = Preprocessing(size=(SIZE, SIZE))


def train(config: Config, out: Path, progress: Progress, stop_at: int | None = None) -> Any:
    """The depth model, from nothing; its state lies in the folder `out`."""
    pictures = render_set(out / "pictures.npy", config.seed, config.scenes, config.workers)
    near = render_depth(out / "depth.npy", config.seed, config.variant_scenes, config.workers)
    data = depth.DepthSet(pictures[: len(near)], near)
    torch.manual_seed(config.seed)
    network = new_estimator(SIZE).to(torch.device(config.device))
    recipe = depth.DepthRecipe(batch=config.estimator_batch, rate=config.estimator_rate)
    run = loop.Run("estimator", out, config.estimator_steps, config.seed, 100, stop_at)
    return depth.train_depth(network, data, PREPROCESSING, recipe, run, progress=progress)[0]


def export(network: Any, folder: Path) -> int:
    """Writes a depth model as transformers does, in half precision; the size of its weights in
    bytes.
    """
    with quiet():
        network.to(torch.float16).save_pretrained(folder, safe_serialization=True)
    write_preprocessing(PREPROCESSING, folder / PROCESSOR)
    return sum(file.stat().st_size for file in folder.rglob("*.safetensors"))
