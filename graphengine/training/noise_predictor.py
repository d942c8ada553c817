"""Teaching a U-Net to predict the noise in latents (Ho et al. 2020, arXiv:2006.11239).

The training of Stable Diffusion (Rombach et al. 2022, arXiv:2112.10752): a latent is noised to a
random timestep, the network reads it, the timestep and the caption, and its answer is compared with
the noise. Leaving out a tenth of the captions makes classifier-free guidance possible (Ho and
Salimans 2022, arXiv:2207.12598). The loss is weighted by Min-SNR (Hang et al. 2023,
arXiv:2303.09556).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from graphengine.diffusion.schedules import NoiseTable
from graphengine.errors import ModelError
from graphengine.resource import Progress
from graphengine.training import loop
from graphengine.training.examples import LatentSet

ReadText = Callable[[list[str]], Tensor]
"""Captions -> text states [n, tokens, width] on the network's device."""


@dataclass(frozen=True)
class Recipe:
    """How a noise predictor is taught.

    `batch`: examples a step. `rate`: the peak learning rate, reached after `warmup` steps and then
    lowered along half a cosine. `ema`: decay of the running average, which is what is kept in the
    end. `caption_dropout`: how often a caption is left out. `snr_limit`: where the loss weight of
    Min-SNR is cut off; 0 weights all timesteps alike. `prediction`: "epsilon" or "v_prediction".
    """

    batch: int = 16
    rate: float = 1e-4
    warmup: int = 50
    floor: float = 0.01
    ema: float = 0.999
    caption_dropout: float = 0.1
    snr_limit: float = 5.0
    prediction: str = "epsilon"


def signal(table: NoiseTable) -> Tensor:
    """What is left of the picture's variance at each timestep, abar_t = 1 / (1 + sigma_t^2)."""
    return 1 / (1 + torch.tensor(table.sigmas).square())


def noised(clean: Tensor, noise: Tensor, abar: Tensor) -> Tensor:
    """Forward diffusion: x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) noise; `abar` [n]."""
    a = abar.view(-1, 1, 1, 1)
    return a.sqrt() * clean + (1 - a).sqrt() * noise


def goal(clean: Tensor, noise: Tensor, abar: Tensor, prediction: str) -> Tensor:
    """What the network shall answer: the noise, or the velocity of Salimans and Ho 2022
    (arXiv:2202.00512).
    """
    if prediction == "epsilon":
        return noise
    if prediction == "v_prediction":
        a = abar.view(-1, 1, 1, 1)
        return a.sqrt() * noise - (1 - a).sqrt() * clean
    raise ModelError(f"prediction kind {prediction!r} can't be taught", "epsilon or v_prediction")


def loss_weights(abar: Tensor, recipe: Recipe) -> Tensor:
    """The weight of each timestep's squared error; 1 for all without a limit."""
    if not recipe.snr_limit:
        return torch.ones_like(abar)
    ratio = abar / (1 - abar)
    divisor = ratio if recipe.prediction == "epsilon" else ratio + 1
    return ratio.clamp(max=recipe.snr_limit) / divisor


def widen_input(unet: Any, channels: int) -> Any:
    """Gives a U-Net `channels` input channels in place; weights of the new ones are zero.

    So it answers at first as it did before, and learns from there what the new channels tell: how
    Stable Diffusion's inpainting and depth models were made. Raises `ModelError` for fewer channels.
    """
    old = unet.conv_in
    if channels < old.in_channels:
        had = old.in_channels
        raise ModelError(f"a U-Net of {had} input channels can't be cut to {channels}")
    new = nn.Conv2d(channels, old.out_channels, old.kernel_size, old.stride, old.padding)
    with torch.no_grad():
        new.weight.zero_()
        new.weight[:, : old.in_channels] = old.weight
        if new.bias is not None and old.bias is not None:
            new.bias.copy_(old.bias)
    unet.conv_in = new.to(old.weight)
    unet.register_to_config(in_channels=channels)
    return unet


NetworkSize = Literal["tiny", "small", "medium"]
CHANNELS: dict[NetworkSize, tuple[int, ...]] = {
    "tiny": (32, 64, 96),
    "small": (64, 128, 192),
    "medium": (96, 192, 288),
}
"""Channels of each resolution in new networks; the small one is postcard's own."""


def new_network(
    channels: tuple[int, ...], latent_channels: int, extra: int, text_width: int, cells: int
) -> Any:
    """An untrained U-Net, its weights from torch's global generator, for latents of `cells` a side.

    `channels` of each resolution; it attends to the text at all but the first, with heads 32 wide.
    """
    from diffusers import UNet2DConditionModel

    make: Any = UNet2DConditionModel
    return make(
        sample_size=cells,
        in_channels=latent_channels + extra,
        out_channels=latent_channels,
        block_out_channels=channels,
        layers_per_block=1,
        down_block_types=("DownBlock2D", *("CrossAttnDownBlock2D",) * (len(channels) - 1)),
        up_block_types=(*("CrossAttnUpBlock2D",) * (len(channels) - 1), "UpBlock2D"),
        cross_attention_dim=text_width,
        attention_head_dim=tuple(c // 32 for c in channels),  # despite its name, of heads
    )


def text_reader(tokenizer: Any, encoder: Any, skip: int = 0) -> ReadText:
    """Captions to text states, [n, length, width], with the text encoder fixed. What does not fit
    into its length is cut off; `skip` leaves out its last layers.
    """
    length = int(encoder.config.max_position_embeddings)

    @torch.no_grad()
    def read(texts: list[str]) -> Tensor:
        ids = tokenizer(
            texts, padding="max_length", max_length=length, truncation=True, return_tensors="pt"
        ).input_ids.to(encoder.device)
        with loop.autocast(encoder.device):
            answer = encoder(ids, output_hidden_states=True)
            states: Tensor = answer.last_hidden_state
            if skip:
                inner = getattr(encoder, "text_model", encoder)
                states = inner.final_layer_norm(answer.hidden_states[-(skip + 1)])
        return states.float()

    return read


def train_noise_predictor(
    unet: Any,
    read_text: ReadText,
    data: LatentSet,
    table: NoiseTable,
    recipe: Recipe,
    run: loop.Run,
    *,
    trained: nn.Module | None = None,
    progress: Progress | None = None,
    after: Callable[[int, Any], None] | None = None,
    preview: Callable[[], Any] | None = None,
) -> tuple[Any, loop.Losses]:
    """Teaches `unet` on its device; gives the averaged network and the losses of all steps.

    `trained`: the module whose weights change and are averaged, if not the whole network; then
    the network itself is given back, holding the average. Latents of `data` are in the model's
    numbers. `after(step, network)` is called at each save with the averaged network. Raises
    `ModelError` for NaN or data that do not fit the network, `Cancelled` out of `progress`.
    """
    data.check_fit(unet.config.in_channels)
    device = unet.device
    part = trained if trained is not None else unet
    if device.type == "cpu" and trained is None:  # plain attention has the faster backward there
        from diffusers.models.attention_processor import AttnProcessor

        unet.set_attn_processor(AttnProcessor())
    unet.train()
    optimizer = loop.adamw(part, recipe.rate)
    average = loop.Ema(part, recipe.ema)
    abar = signal(table)
    weights = loss_weights(abar, recipe)

    def step_fn(step: int) -> dict[str, Tensor]:
        rng = loop.step_rng(run.seed, f"{run.name}-data", step)
        chosen = rng.choice(len(data), recipe.batch, replace=recipe.batch > len(data))
        drop = rng.random(recipe.batch) < recipe.caption_dropout
        picks = [data.caption(int(i), rng) for i in chosen]
        texts = ["" if dropped else text for text, dropped in zip(picks, drop, strict=True)]
        clean, extra = data.batch(torch.from_numpy(chosen))
        t = torch.randint(0, len(abar), (len(clean),))
        noise = torch.randn_like(clean)
        noisy, wanted = (
            noised(clean, noise, abar[t]),
            goal(clean, noise, abar[t], recipe.prediction),
        )
        seen = torch.cat([noisy, extra], 1) if extra is not None else noisy
        seen, wanted, weight = (v.to(device) for v in (seen, wanted, weights[t]))
        states = read_text(texts)
        with loop.autocast(device):
            answer = unet(seen, t.to(device), states, return_dict=False)[0]
        error = (answer.float() - wanted).square().mean((1, 2, 3))
        loss = (error * weight).mean()
        warmup = min(recipe.warmup, max(1, run.steps // 4))
        rate = loop.cosine(step, run.steps, recipe.rate, warmup, recipe.floor)
        loop.descend(optimizer, loss, rate)
        average.update(part, step)
        return {"loss": loss.detach(), "mse": error.detach().mean()}

    def show(step: int) -> None:
        if after is None:
            return
        if trained is None:
            after(step, average.model)
            return
        with holding(trained, average.model):
            after(step, unet.eval())
        unet.train()

    losses = loop.train(
        run,
        {"model": part, "optimizer": optimizer, "average": average},
        step_fn,
        progress=progress,
        after=show,
        preview=preview,
    )
    if trained is None:
        return average.model, losses
    trained.load_state_dict(average.model.state_dict())
    return unet.eval(), losses


@contextmanager
def holding(module: nn.Module, other: nn.Module) -> Iterator[None]:
    """Inside, a module has the weights of another one of the same shape."""
    own = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    module.load_state_dict(other.state_dict())
    try:
        yield
    finally:
        module.load_state_dict(own)
