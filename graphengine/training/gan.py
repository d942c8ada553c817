"""A generative adversarial network (Goodfellow et al. 2014, arXiv:1406.2661), the older way.

One network draws from noise in a single step, another tells its pictures from real ones, and each
learns from the other. The shape is DCGAN's (Radford et al. 2015, arXiv:1511.06434), with plain
convolutions after doubling in place of transposed ones, which leave a chequered pattern (Odena et
al. 2016, doi:10.23915/distill.00003). The loss is the non-saturating one, the critic's layers are
spectrally normalized (Miyato et al. 2018, arXiv:1802.05957), and what is kept is a running average
of the drawing network.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from graphengine.diffusion.noise import start_noise
from graphengine.errors import ModelError
from graphengine.resource import Progress
from graphengine.training import loop
from graphengine.training.datasets import Dataset

NOISE = 64
"""Numbers that a picture is drawn from."""


@dataclass(frozen=True)
class GanRecipe:
    """How the two networks are taught.

    `width`: channels of both at full size; each halving of the picture doubles them, up to eight
    times. `rate`: learning rate of the critic and of the drawing network. `ema`: decay of the
    running average. `looks`: moments at which the same few noises are drawn, to see it learn.
    """

    batch: int = 32
    width: int = 16
    rate: float = 3e-3
    ema: float = 0.99
    looks: int = 5
    shown: int = 6


def check_side(side: int) -> int:
    """How often 4 is doubled to give `side`. Raises `ModelError` for other sizes."""
    doublings = round(math.log2(max(side, 1) / 4))
    if doublings < 1 or 4 * 2**doublings != side:
        raise ModelError(f"a GAN can't draw {side} pixels a side", "give 16, 32, 64 or 128")
    return doublings


def build_generator(side: int, width: int) -> nn.Sequential:
    """Noise [n, 64] to pictures [n, 3, side, side], -1 to 1."""
    levels = check_side(side)
    sizes = [width * min(2**i, 8) for i in reversed(range(levels))]
    layers: list[nn.Module] = [
        nn.Unflatten(1, (NOISE, 1, 1)),
        nn.ConvTranspose2d(NOISE, sizes[0], 4, bias=False),
        nn.BatchNorm2d(sizes[0]),
        nn.ReLU(),
    ]
    for inner, outer in zip(sizes, [*sizes[1:], width]):
        layers += [
            nn.Upsample(scale_factor=2),
            nn.Conv2d(inner, outer, 3, padding=1, bias=False),
            nn.BatchNorm2d(outer),
            nn.ReLU(),
        ]
    return nn.Sequential(*layers, nn.Conv2d(width, 3, 3, padding=1), nn.Tanh())


def build_critic(side: int, width: int) -> nn.Sequential:
    """Pictures [n, 3, side, side] to how real each looks [n, 1], a logit."""
    levels = check_side(side)
    sizes = [3, *(width * min(2**i, 8) for i in range(levels))]
    layers: list[nn.Module] = []
    for inner, outer in zip(sizes, sizes[1:]):
        layers += [spectral_norm(nn.Conv2d(inner, outer, 4, 2, 1)), nn.LeakyReLU(0.2)]
    layers += [spectral_norm(nn.Conv2d(sizes[-1], 1, 4)), nn.Flatten()]
    return nn.Sequential(*layers)


def critic_loss(told_real: Tensor, told_fake: Tensor) -> Tensor:
    """Of logits: -log D(real) - log(1 - D(fake)), the mean; 2 log 2 is when it can't tell."""
    return F.softplus(-told_real).mean() + F.softplus(told_fake).mean()


def drawing_loss(told_fake: Tensor) -> Tensor:
    """Of logits: -log D(fake), the mean."""
    return F.softplus(-told_fake).mean()


class Looks(nn.Module):
    """What the same noises give at several moments of a training: kept with its state."""

    pictures: Tensor

    def __init__(self, moments: list[int], noise: Tensor, side: int) -> None:
        super().__init__()
        self.moments, self.noise = moments, noise
        self.register_buffer("pictures", torch.zeros(len(moments), len(noise), 3, side, side))

    def take(self, generator: nn.Module, step: int) -> None:
        """Draws, if this is one of the moments."""
        if step in self.moments:
            self.pictures[self.moments.index(step)] = draw(generator, self.noise)


@dataclass(frozen=True)
class TrainedGan:
    """The running average of the drawing network, as weights by name; the losses of each step; and
    what it drew from the same noises after each of `moments` steps, one row of pictures after the
    other: `looks`, float32 [moments * shown, side, side, 3], 0 to 1.
    """

    weights: dict[str, Tensor]
    losses: loop.Losses
    moments: list[int]
    looks: Tensor


def moments_of(steps: int, count: int) -> list[int]:
    """Steps at which to look: at the end, after half as many steps, a quarter, and so on."""
    return sorted({max(1, round(steps / 2**i)) for i in range(count)})


def train_gan(
    pictures: np.ndarray[Any, Any],
    recipe: GanRecipe,
    run: loop.Run,
    *,
    progress: Progress | None = None,
) -> TrainedGan:
    """Teaches both networks on pictures, uint8 [n, side, side, 3].

    Goes on from the state in `run.file` if there is one, to the bit. Raises `ModelError` for NaN or
    pictures of a size that can't be drawn, `Cancelled` out of `progress`.
    """
    count, side = len(pictures), pictures.shape[1]
    if not count:
        raise ModelError("there are no pictures to learn from", "give at least one")
    with loop.own_randomness():
        torch.manual_seed(int(loop.step_rng(run.seed, "gan", 0).integers(2**62)))
        generator, critic = build_generator(side, recipe.width), build_critic(side, recipe.width)
        fixed = torch.randn(recipe.shown, NOISE)
    optimizers = {name: _adam(net, recipe) for name, net in _both(generator, critic).items()}
    average = loop.Ema(generator, recipe.ema)
    looks = Looks(moments_of(run.steps, recipe.looks), fixed, side)

    def step_fn(step: int) -> dict[str, Tensor]:
        rng = loop.step_rng(run.seed, f"{run.name}-data", step)
        chosen = rng.choice(count, recipe.batch, replace=recipe.batch > count)
        real = torch.from_numpy(pictures[chosen]).permute(0, 3, 1, 2).float().div(127.5).sub(1)
        fake = _forward(generator, torch.randn(recipe.batch, NOISE))
        told_real, told_fake = _forward(critic, real), _forward(critic, fake.detach())
        told_apart = critic_loss(told_real, told_fake)
        loop.descend(optimizers["critic"], told_apart, recipe.rate)
        critic.requires_grad_(False)
        seen_through = drawing_loss(_forward(critic, fake))
        loop.descend(optimizers["generator"], seen_through, recipe.rate)
        critic.requires_grad_(True)
        average.update(generator, step)
        _follow(average.model, generator)
        looks.take(average.model, step + 1)
        return {"generator": seen_through.detach(), "critic": told_apart.detach()}

    parts: dict[str, loop.Part] = {"average": average, "looks": looks}
    parts |= _both(generator, critic)
    parts |= {f"{name} optimizer": optimizer for name, optimizer in optimizers.items()}
    losses = loop.train(run, parts, step_fn, progress=progress)
    weights = {name: tensor.clone() for name, tensor in average.model.state_dict().items()}
    return TrainedGan(weights, losses, looks.moments, _shown(looks.pictures.flatten(0, 1)))


def _both(generator: nn.Module, critic: nn.Module) -> dict[str, nn.Module]:
    return {"generator": generator.train(), "critic": critic.train()}


def _adam(network: nn.Module, recipe: GanRecipe) -> torch.optim.Optimizer:
    """Adam with a short memory of the gradient, for the goal moves all the time."""
    return torch.optim.Adam(network.parameters(), lr=recipe.rate, betas=(0.5, 0.99), fused=True)


def _forward(network: nn.Module, x: Tensor) -> Tensor:
    with loop.autocast(x.device):
        return network(x).float()  # type: ignore[no-any-return]


@torch.no_grad()
def _follow(average: nn.Module, network: nn.Module) -> None:
    """Takes over what is measured and not learnt: means and variances of the layers."""
    for mine, theirs in zip(average.buffers(), network.buffers(), strict=True):
        mine.copy_(theirs)


@torch.no_grad()
def draw(generator: nn.Module, noise: Tensor) -> Tensor:
    """Pictures [n, 3, side, side], -1 to 1, of noise [n, 64]; each depends on its own noise only."""
    learning = generator.training
    made: Tensor = generator.eval()(noise)
    generator.train(learning)
    return made


def _shown(pictures: Tensor) -> Tensor:
    """Pictures as they travel: [n, side, side, 3], 0 to 1."""
    return pictures.permute(0, 2, 3, 1).mul(0.5).add(0.5).clamp(0, 1).contiguous()


def draw_pictures(
    weights: Mapping[str, Tensor], side: int, width: int, count: int, seed: int
) -> Tensor:
    """Pictures [count, side, side, 3], 0 to 1, by a network with the given weights.

    Raises `ModelError` if they are of another shape.
    """
    network = build_generator(side, width)
    try:
        network.load_state_dict(dict(weights))
    except RuntimeError as cause:
        raise ModelError(f"these weights are no GAN of {side} pixels a side: {cause}") from cause
    noise = start_noise(seed, (NOISE,), range(count))
    return torch.cat([_shown(draw(network, some)) for some in torch.split(noise, 64)])


def pixels_of(dataset: Dataset) -> np.ndarray[Any, Any]:
    """All pictures of a data set, uint8 [n, size, size, 3]. Raises `ModelError` for a size that a
    GAN can't draw, before any is read.
    """
    check_side(dataset.size)
    parts = [dataset.pictures(part).mul(255).round().byte() for part in dataset.parts(64)]
    return torch.cat(parts).numpy() if parts else np.zeros((0, dataset.size, dataset.size, 3))


def run_for(folder: Path, dataset: Dataset, recipe: GanRecipe, steps: int, seed: int) -> loop.Run:
    """A run whose state lies under a name of its own for these settings, so that the same settings
    find it again and others don't.
    """
    settings = repr((dataset, recipe, steps, seed))
    name = f"gan-{hashlib.sha256(settings.encode()).hexdigest()[:16]}"
    return loop.Run(name, folder, steps, seed, save_every=250)
