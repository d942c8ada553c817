"""Forward diffusion as a lesson: pictures, noise, and how much of both a network is shown."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from graphengine.diffusion.latents import from_model
from graphengine.diffusion.memory import Memory
from graphengine.diffusion.noise import start_noise
from graphengine.diffusion.schedules import noise_table
from graphengine.diffusion.types import Latent, Model, Vae
from graphengine.diffusion.vae import decode_latent
from graphengine.errors import ModelError
from graphengine.training.examples import LatentSet
from graphengine.training.noise_predictor import noised, signal


def noised_examples(
    data: LatentSet, model: Model, count: int, seed: int, timesteps: Sequence[int] = ()
) -> tuple[Tensor, Tensor, Tensor]:
    """The first examples' noise and noised latents, in the model's numbers, and their timesteps:

        noisy = sqrt(abar_t) latent + sqrt(1 - abar_t) noise            (arXiv:2006.11239, eq. 4)

    Without `timesteps` each is drawn at random, as in training. Raises `ModelError` for timesteps
    that the model was not trained for, or fewer examples than asked for.
    """
    abar = signal(noise_table(model.betas))
    if not 0 < count <= len(data):
        raise ModelError(f"{count} examples of a set of {len(data)}", "ask for fewer")
    wrong = [t for t in timesteps if not 0 <= t < len(abar)]
    if wrong:
        raise ModelError(f"there is no timestep {wrong[0]}", f"they go from 0 to {len(abar) - 1}")
    clean = data.latents[:count].float()
    noise = start_noise(seed, clean.shape[1:], range(count))
    if timesteps:
        t = torch.tensor([timesteps[i % len(timesteps)] for i in range(count)])
    else:
        generator = torch.Generator().manual_seed(seed)
        t = torch.randint(0, len(abar), (count,), generator=generator)
    return noise, noised(clean, noise, abar[t]), t


def examples_table(
    data: LatentSet,
    model: Model,
    vae: Vae,
    count: int,
    seed: int,
    timesteps: Sequence[int] = (),
    *,
    memory: Memory,
) -> Tensor:
    """Examples as rows of a table [1, H, W, 3]: picture, noise, amount, and what the network sees."""
    from graphengine.figures import labelled_grid

    noise, noisy, t = noised_examples(data, model, count, seed, timesteps)
    abar = signal(noise_table(model.betas))[t]

    def shown(latents: Tensor) -> Tensor:
        return decode_latent(vae, Latent(from_model(model, latents)), memory=memory)

    clean = data.latents[:count].float()
    columns = [shown(clean), shown(noise), shown(noisy)]
    amounts = [
        f"t = {step}: {a.sqrt():.2f} × picture + {(1 - a).sqrt():.2f} × noise"
        for step, a in zip(t.tolist(), abar)
    ]
    captions = [text for row in range(count) for text in (data.captions[row][0], "", amounts[row])]
    return labelled_grid(
        [column[row] for row in range(count) for column in columns],
        title="Examples for a noise predictor",
        note="It sees the right column, the amount and the words, and is asked for the noise.",
        column_labels=["picture", "noise", "noised picture"],
        captions=captions,
    )
