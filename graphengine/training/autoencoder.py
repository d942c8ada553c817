"""Teaching an autoencoder: pictures into few numbers and back (Rombach et al. 2022,
arXiv:2112.10752, without the adversary).
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from graphengine.diffusion.memory import Memory
from graphengine.diffusion.types import Vae
from graphengine.diffusion.weights import load_weights
from graphengine.errors import ModelError
from graphengine.resource import Progress
from graphengine.training import loop
from graphengine.training.checkpoints import TOLD, check_free, save_part, write_json
from graphengine.training.datasets import Dataset
from graphengine.training.samples import Snapshots, spaced

COLUMNS = 6


@dataclass(frozen=True)
class VaeRecipe:
    """How an autoencoder is taught.

    `channels` of each resolution, from whole pictures downwards: one cell stands for 2 ** (n - 1)
    pixels a side. `kl`: weight of the distance from normal latents, small so that little is lost.
    `crop`: pixels a side of what a step looks at, random pieces of the pictures; 0: all of them.
    """

    channels: tuple[int, ...] = (16, 32, 64, 96)
    latent_channels: int = 4
    batch: int = 16
    rate: float = 1.2e-3
    warmup: int = 50
    kl: float = 1e-6
    crop: int = 64
    ema: float = 0.995

    @property
    def factor(self) -> int:
        """Pixels a side of one cell."""
        return int(2 ** (len(self.channels) - 1))


class TaughtVae(NamedTuple):
    """What came of it. `sheet`: pictures (rows) and what is left of them at some steps (columns)."""

    vae: Vae
    losses: loop.Losses
    sheet: Tensor


def new_autoencoder(channels: tuple[int, ...], latent_channels: int = 4, size: int = 128) -> Any:
    """An untrained autoencoder, its weights from torch's global generator."""
    from diffusers import AutoencoderKL

    make: Any = AutoencoderKL
    vae = make(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * len(channels),
        up_block_types=("UpDecoderBlock2D",) * len(channels),
        block_out_channels=channels,
        layers_per_block=1,
        latent_channels=latent_channels,
        norm_num_groups=8,
        sample_size=size,
        mid_block_add_attention=False,
    )
    # A posterior that starts narrow can't collapse: the decoder sees the latents from the first step.
    with torch.no_grad():
        vae.quant_conv.weight.copy_(torch.eye(2 * latent_channels)[:, :, None, None])
        start = [0.0] * latent_channels + [-6.0] * latent_channels
        vae.quant_conv.bias.copy_(torch.tensor(start))
    return vae.to(memory_format=torch.channels_last)


def edges(x: Tensor) -> Tensor:
    """Differences to the right and below, as channels: [b, c, h, w] -> [b, 2c, h-1, w-1]."""
    return torch.cat((x[..., :-1, 1:] - x[..., :-1, :-1], x[..., 1:, :-1] - x[..., :-1, :-1]), 1)


def loss_terms(vae: Any, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Squared error, a sharper mixture (absolute error of colours and edges), and the KL term."""
    with loop.autocast(x.device):
        posterior = vae.encode(x).latent_dist
        y = vae.decode(posterior.sample()).sample
    y = y.float()
    mean, logvar = posterior.mean.float(), posterior.logvar.float()
    kl = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).sum((1, 2, 3)).mean()
    return F.mse_loss(y, x), F.l1_loss(y, x) + F.l1_loss(edges(y), edges(x)), kl


def train_autoencoder(
    vae: Any,
    batch: Callable[[int, np.random.Generator], Tensor],
    recipe: VaeRecipe,
    run: loop.Run,
    *,
    progress: Progress | None = None,
    after: Callable[[int, Any], None] | None = None,
    preview: Callable[[], Any] | None = None,
) -> tuple[Any, loop.Losses]:
    """Teaches an autoencoder on its device; gives the averaged one and the losses of all steps.

    `batch(step, rng)` gives what a step looks at, [b, 3, h, w], -1 to 1. `after(step, averaged)` is
    called at each save. Raises `ModelError` for NaN, `Cancelled` out of `progress`.
    """
    vae.train()
    optimizer = loop.adamw(vae, recipe.rate, 0.0)
    average = loop.Ema(vae, recipe.ema)

    def step_fn(step: int) -> dict[str, Tensor]:
        rng = loop.step_rng(run.seed, f"{run.name}-data", step)
        x = batch(step, rng).to(vae.device).contiguous(memory_format=torch.channels_last)
        mse, sharp, kl = loss_terms(vae, x)
        rate = loop.cosine(step, run.steps, recipe.rate, recipe.warmup)
        ramp = min(1.0, step / (0.2 * run.steps))  # first of all the latents must be of use
        loop.descend(optimizer, 4 * mse + sharp + recipe.kl * ramp * kl, rate)
        average.update(vae, step)
        return {"psnr": 10 * torch.log10(4 / mse.detach()), "sharp": sharp, "kl": kl}

    losses = loop.train(
        run,
        {"model": vae, "optimizer": optimizer, "ema": average},
        step_fn,
        progress=progress,
        after=None if after is None else lambda step: after(step, average.model),
        preview=preview,
    )
    return average.model, losses


def crops(pictures: Tensor, side: int, cell: int, rng: np.random.Generator) -> Tensor:
    """A random piece of each picture [b, h, w, 3], 0 to 1, as [b, 3, side, side], -1 to 1. Pieces
    start at whole cells.
    """
    height, width = pictures.shape[1:3]
    side = min(side or height, height, width)
    pieces = []
    for picture in pictures:
        y, x = (int(rng.integers(0, (s - side) // cell + 1)) * cell for s in (height, width))
        pieces.append(picture[y : y + side, x : x + side])
    return torch.stack(pieces).permute(0, 3, 1, 2) * 2 - 1


def teach_autoencoder(
    dataset: Dataset,
    start: Vae | None,
    recipe: VaeRecipe,
    steps: int,
    result: Path,
    work: Path,
    *,
    seed: int = 0,
    every: int = 100,
    shown: int = 4,
    memory: Memory,
    digest: Callable[[Path], str],
    progress: Progress | None = None,
) -> TaughtVae:
    """Teaches a new autoencoder, or goes on with `start`, on a data set; writes it to the folder
    `result` whenever the state is kept. Goes on where it was cut short, as `teaching.teach` does.
    """
    factor = recipe.factor if start is None else start.factor
    if dataset.size % factor or recipe.crop % factor:
        raise ModelError(
            f"pictures of {dataset.size} and pieces of {recipe.crop} pixels are no whole cells of "
            f"{factor}",
            f"take multiples of {factor}",
        )
    check_free(result, "VAE")
    begun = "" if start is None else start.digest
    told = {"dataset": repr(dataset), "start": begun, "recipe": asdict(recipe), "steps": steps,
            "seed": seed, "every": every}  # fmt: skip
    key = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:12]
    run = loop.Run("vae", work / f"state-{key}", steps, seed, every)
    with loop.own_randomness():
        torch.manual_seed(int(loop.step_rng(seed, "new", 0).integers(2**62)))
        vae: Any = (
            new_autoencoder(recipe.channels, recipe.latent_channels, dataset.size)
            if start is None
            else load_weights(start, torch.float32).requires_grad_(True)
        )
    vae.to(memory.device)
    snapshots, examples = Snapshots(work), dataset.pictures(range(min(shown, len(dataset))))

    def after(step: int, network: Any) -> None:
        snapshots.keep(step, reconstructed(network, examples))
        save_part(network, result)
        write_json(result / TOLD, told)

    if not run.file.exists():
        snapshots.forget()
        snapshots.keep(0, reconstructed(vae, examples))
    _, losses = train_autoencoder(
        vae,
        lambda step, rng: crops(
            dataset.pictures(_chosen(len(dataset), recipe.batch, rng)), recipe.crop, factor, rng
        ),
        recipe,
        run,
        progress=progress,
        after=after,
        preview=lambda: snapshots.last,
    )
    sheet = _sheet(snapshots, examples)
    shutil.rmtree(run.folder)
    channels = int(vae.config.latent_channels)
    return TaughtVae(Vae(result, digest(result), channels, factor), losses, sheet)


def _chosen(count: int, batch: int, rng: np.random.Generator) -> list[int]:
    return [int(i) for i in rng.choice(count, batch, replace=batch > count)]


@torch.no_grad()
def reconstructed(vae: Any, pictures: Tensor) -> Tensor:
    """Pictures [n, h, w, 3], encoded and decoded."""
    x = (pictures.permute(0, 3, 1, 2) * 2 - 1).to(vae.device)
    y: Tensor = vae.decode(vae.encode(x).latent_dist.mode()).sample
    return ((y.float().cpu() + 1) / 2).clamp(0, 1).permute(0, 2, 3, 1)


def _sheet(snapshots: Snapshots, examples: Tensor) -> Tensor:
    from graphengine.figures import labelled_grid

    steps = spaced(snapshots.steps(), COLUMNS - 1)
    columns = [list(examples), *(snapshots.read(step, len(examples)) for step in steps)]
    quality = [
        float(10 * torch.log10(1 / (torch.stack(c) - examples).square().mean()))
        for c in columns[1:]
    ]
    return labelled_grid(
        [column[row] for row in range(len(examples)) for column in columns],
        title="What is left of a picture",
        note="encoded and decoded again; below the step, how near to the original that is",
        column_labels=["picture", *(f"{s}\n{q:.1f} dB" for s, q in zip(steps, quality))],
        columns_are="training steps",
    )
