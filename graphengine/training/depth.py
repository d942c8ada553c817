"""Teaching a depth network from pictures with inverse depth, as MiDaS was (Ranftl et al. 2020,
arXiv:1907.01341).

What is near and what is far can be seen in a picture, but not in which unit: both maps are brought
to a common shift and scale before they are compared, and what is compared besides is their slopes,
so that edges come out sharp.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graphengine.diffusion.depth import prepare
from graphengine.diffusion.depth_loader import Preprocessing
from graphengine.errors import ModelError
from graphengine.resource import Progress
from graphengine.training import loop
from graphengine.training.datasets import Dataset

LEAST = 1e-4
"""Maps that vary less than this are taken for flat."""


@dataclass(frozen=True)
class DepthSet:
    """Pictures with how near everything in them is.

    `pictures`: uint8 [n, H, W, 3]. `inverse_depth`: [n, H, W], larger is nearer, in any unit. Both
    may be arrays on disk: only what a step needs is read.
    """

    pictures: Any
    inverse_depth: Any

    def __len__(self) -> int:
        return len(self.pictures)

    def batch(self, indices: Any) -> tuple[Tensor, Tensor]:
        """Pictures [b, H, W, 3], 0 to 1, and their inverse depth [b, H, W], float32."""
        pictures, near = (
            torch.from_numpy(np.stack([np.asarray(values[int(i)]) for i in indices]))
            for values in (self.pictures, self.inverse_depth)
        )
        return pictures.float() / 255, near.float()

    def check(self) -> None:
        """Whether there is something to learn. Raises `ModelError`."""
        if not len(self):
            raise ModelError("there are no pictures to learn from", "give at least one")
        if len(self.inverse_depth) != len(self):
            raise ModelError(f"{len(self)} pictures, but depth of {len(self.inverse_depth)}")


def depth_set(dataset: Dataset, chosen: range, progress: Progress | None = None) -> DepthSet:
    """Some pictures of a data set in main memory, their depth in half precision. Raises
    `ModelError` if nobody knows it.
    """
    pictures, near = [], []
    for start in range(chosen.start, chosen.stop, 64):
        part = range(start, min(start + 64, chosen.stop))
        (progress or Progress()).report(start, chosen.stop, note="reading pictures")
        near.append(dataset.depth(part).to(torch.float16).numpy())
        pictures.append((dataset.pictures(part) * 255).round().to(torch.uint8).numpy())
    return DepthSet(np.concatenate(pictures), np.concatenate(near))


@dataclass(frozen=True)
class DepthRecipe:
    """How a depth network is taught.

    `batch`: pictures a step. `rate`: the peak learning rate, reached after `warmup` steps and then
    lowered along half a cosine. `ema`: decay of the running average, which is what is kept in the
    end. `trim`: the share of pixels, those farthest off, that is left out: 0.2 where the depth is
    measured and partly wrong, 0 where it is exact. `slopes`: the weight of the slopes. `anchor`:
    the weight of the distance in the data's own unit; the rest doesn't mind how large all answers
    are, and they would grow beyond measure. `grain`: the most noise that is put on a picture,
    standard deviation.
    """

    batch: int = 16
    rate: float = 1e-3
    warmup: int = 100
    floor: float = 0.01
    ema: float = 0.998
    trim: float = 0.0
    slopes: float = 0.5
    anchor: float = 0.2
    grain: float = 0.03


def level(near: Tensor) -> Tensor:
    """Maps [b, h, w] without their shift, the median, and their scale, the mean distance from it."""
    flat = near.flatten(1)
    shifted = flat - flat.median(1, keepdim=True).values
    scale = shifted.abs().mean(1, keepdim=True).clamp_min(LEAST)
    return (shifted / scale).view_as(near)


def depth_loss(answer: Tensor, near: Tensor, trim: float = 0.0, slopes: float = 0.5) -> Tensor:
    """How far inverse depth [b, h, w] is off, whatever its shift and scale: equations 7 to 11.

    The mean distance of the maps brought to one level, without the share `trim` of the pixels that
    are farthest off, and `slopes` times what their slopes differ at four scales.
    """
    off = level(answer) - level(near)
    distances = off.abs().flatten(1)
    if trim:
        keep = max(1, round(distances.shape[1] * (1 - trim)))
        distances = distances.topk(keep, largest=False).values
    return distances.mean() / 2 + slopes * slope_loss(off)


def slope_loss(off: Tensor, scales: int = 4) -> Tensor:
    """The mean slope of a difference [b, h, w], sideways and down, at falling resolution."""
    total = off.new_zeros(())
    for scale in range(scales):
        small = off[:, :: 2**scale, :: 2**scale]
        for axis in (1, 2):
            if small.shape[axis] > 1:
                total = total + small.diff(dim=axis).abs().mean()
    return total


def agreement(one: Tensor, other: Tensor) -> Tensor:
    """How well two maps [b, h, w] agree on what is nearer than what, [b]: 1 perfectly, 0 not at
    all (Spearman's rank correlation; equal values share the mean of their ranks).
    """
    ranks = [torch.stack([_ranks(item) for item in maps.flatten(1)]) for maps in (one, other)]
    left, right = (rank - rank.mean(1, keepdim=True) for rank in ranks)
    lengths = left.norm(dim=1) * right.norm(dim=1)
    agreed: Tensor = (left * right).sum(1) / lengths.clamp_min(1e-12)
    return agreed


def _ranks(values: Tensor) -> Tensor:
    _, places, counts = torch.unique(values, return_inverse=True, return_counts=True)
    ranks: Tensor = (counts.cumsum(0) - (counts - 1) / 2).double()[places]
    return ranks


def train_depth(
    network: Any,
    data: DepthSet,
    preprocessing: Preprocessing,
    recipe: DepthRecipe,
    run: loop.Run,
    *,
    progress: Progress | None = None,
    after: Callable[[int, Any], None] | None = None,
    preview: Callable[[], Any] | None = None,
) -> tuple[Any, loop.Losses]:
    """Teaches a `DPTForDepthEstimation` on its device; gives the averaged network and all losses.

    Pictures are turned left for right half of the time. While it learns, the network may answer
    less than 0, which it cuts off afterwards. `after(step, averaged)` is called at each
    save. Raises `ModelError` for NaN or without data, `Cancelled` out of `progress`.
    """
    data.check()
    device = network.device
    network.train()
    optimizer = loop.adamw(network, recipe.rate)
    average = loop.Ema(network, recipe.ema)
    cut, network.head.head[-1] = network.head.head[-1], nn.Identity()  # what is cut learns nothing

    def step_fn(step: int) -> dict[str, Tensor]:
        rng = loop.step_rng(run.seed, f"{run.name}-data", step)
        chosen = rng.choice(len(data), recipe.batch, replace=recipe.batch > len(data))
        pictures, near = data.batch(np.sort(chosen))
        turned = torch.from_numpy(rng.random(len(chosen)) < 0.5)
        pictures, near = (
            torch.where(turned.view(-1, *(1,) * (v.ndim - 1)), v.flip(2), v)
            for v in (pictures, near)
        )
        pictures = pictures + float(rng.uniform(0, recipe.grain)) * torch.randn_like(pictures)
        pixels = prepare(pictures, preprocessing).to(device)
        with loop.autocast(device):
            answer = network(pixels).predicted_depth
        fitted = F.interpolate(answer.float()[:, None], near.shape[1:], mode="bilinear")[:, 0]
        wanted = near.to(device)
        loss = depth_loss(fitted, wanted, recipe.trim, recipe.slopes)
        loss = loss + recipe.anchor * (fitted - wanted).abs().mean()
        warmup = min(recipe.warmup, max(1, run.steps // 4))
        rate = loop.cosine(step, run.steps, recipe.rate, warmup, recipe.floor)
        loop.descend(optimizer, loss, rate)
        average.update(network, step)
        return {"loss": loss.detach()}

    try:
        losses = loop.train(
            run,
            {"model": network, "optimizer": optimizer, "average": average},
            step_fn,
            progress=progress,
            after=None if after is None else lambda step: after(step, average.model),
            preview=preview,
        )
    finally:
        network.head.head[-1] = cut
    return average.model, losses
