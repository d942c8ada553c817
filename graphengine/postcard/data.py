"""Training pictures: scene number `i` of a set is a function of the set's seed and `i` alone."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from graphengine.postcard.render import render
from graphengine.postcard.world import Scene, random_scene

Array = np.ndarray[Any, np.dtype[Any]]


def scene(seed: int, index: int, *, held: bool | None = False, pairs: float = 0.1) -> Scene:
    """Scene `index` of the set with this seed."""
    return random_scene(np.random.default_rng([seed, index]), held=held, pairs=pairs)


def _pixels(job: tuple[int, int]) -> Array:
    return np.asarray(render(scene(*job))[0])


def _nearness(job: tuple[int, int]) -> Array:
    return (1 / render(scene(*job))[1].astype(np.float32)).astype(np.float16)


def render_set(path: Path, seed: int, count: int, workers: int) -> Array:
    """The set's pictures, uint8 [count, 128, 128, 3], rendered once and then read from disk."""
    return _rendered(path, seed, count, workers, _pixels)


def render_depth(path: Path, seed: int, count: int, workers: int) -> Array:
    """Exact inverse depth of the set, float16 [count, 128, 128]: 1 at the lower edge of a picture,
    0.01 in the sky. Rendered once and then read from disk.
    """
    return _rendered(path, seed, count, workers, _nearness)


def _rendered(
    path: Path, seed: int, count: int, workers: int, draw: Callable[[tuple[int, int]], Array]
) -> Array:
    """One array for each scene, stacked in a file."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial.npy")
        first = draw((seed, 0))
        shape = (count, *first.shape)
        out = np.lib.format.open_memmap(partial, mode="w+", dtype=first.dtype, shape=shape)
        jobs = [(seed, i) for i in range(count)]
        if workers < 2 or count < 1000:
            for i, job in enumerate(jobs):
                out[i] = draw(job)
        else:
            with multiprocessing.get_context("spawn").Pool(workers) as pool:
                for i, drawn in enumerate(pool.imap(draw, jobs, chunksize=64)):
                    out[i] = drawn
                    if (i + 1) % 5000 == 0:
                        print(f"rendered {i + 1}/{count}", flush=True)
        out.flush()
        partial.rename(path)
    stacked: Array = np.load(path, mmap_mode="r")
    if len(stacked) < count:
        raise ValueError(f"{path} holds {len(stacked)} scenes, not {count}: delete it")
    return stacked[:count]


def kept(path: Path, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """Tensors that are made once and then read from their file."""
    if not path.exists():
        partial = path.with_suffix(".partial")
        save_file({name: tensor.contiguous() for name, tensor in make().items()}, partial)
        partial.rename(path)
    return dict(load_file(path))


def to_tensor(pixels: Array) -> Tensor:
    """uint8 [b, h, w, 3] to float [b, 3, h, w] in -1..1."""
    x = torch.from_numpy(np.array(pixels)).permute(0, 3, 1, 2)
    return x.float().div(127.5).sub(1).contiguous(memory_format=torch.channels_last)
