"""Our loop against that of diffusers, around the same UNet: `python tests/bench/sampling.py --write`.

Both draw from the same noise and text with Euler's steps and guidance, in turns in one process; the
table has the medians, and the peak memory of a process of each one's own. The numbers of steps make
all timesteps whole, and so the same for both.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import torch
from diffusers import AutoencoderKL, EulerDiscreteScheduler, StableDiffusionPipeline
from diffusers import UNet2DConditionModel as UNet
from diffusers.utils import logging

from graphengine.diffusion import Conditioning, Latent, Memory, ksampler, load_checkpoint
from graphengine.diffusion.noise import start_noise

HERE = Path(__file__).parent
POSTCARD = HERE.parents[1] / "graphengine" / "postcard" / "checkpoints" / "postcard"
CASES = {"postcard": (28, 16, 15), "SD1": (2, 64, 3)}
"""Name: steps, latent cells a side, rounds."""
CFG, SEED, LENGTH = 5.0, 7, 77
TITLE = """# The loop against diffusers, measured

Made by `python tests/bench/sampling.py --write`. `ksampler` and the StableDiffusionPipeline of
diffusers {diffusers} around the same UNet: Euler on the normal schedule, guidance {cfg}, float32,
{threads} threads, torch {torch}. postcard is our small model, SD1 has random weights in the size of
Stable Diffusion 1 (64x64 latents, for 512x512 pictures). Seconds are medians of runs in turns;
± is the range from the first to the third quartile of the ratios of neighbouring runs. Memory is
the peak of a whole process, weights and libraries with it.

| model | steps | ours | diffusers | ratio | ± | peak of ours | peak of diffusers | largest difference |
|---|---:|---:|---:|---:|---:|---:|---:|---:|
"""


def sd1_unet() -> Any:
    """A UNet of Stable Diffusion 1's size."""
    torch.manual_seed(0)
    make: Any = UNet
    return make(sample_size=64, cross_attention_dim=768, attention_head_dim=8)


def sides(case: str) -> dict[str, Callable[[], torch.Tensor]]:
    """A run of either, on the same UNet. Answers [1, 4, h, w] in the model's numbers."""
    steps, cells, _ = CASES[case]
    model, _, vae = load_checkpoint(POSTCARD)
    unet = UNet.from_pretrained(POSTCARD / "unet") if case == "postcard" else sd1_unet()
    unet = unet.eval().requires_grad_(False)
    width = unet.config.cross_attention_dim
    model = replace(model, width=width, latent_scale=1.0, latent_shift=0.0)
    memory = Memory(load=lambda weights, dtype: unet)
    texts = [
        torch.randn(1, LENGTH, width, generator=torch.Generator().manual_seed(seed))
        for seed in (1, 2)
    ]
    positive, negative = (Conditioning(text) for text in texts)
    latent = Latent(torch.zeros(1, 4, cells, cells))
    noise = start_noise(SEED, latent.samples.shape[1:], [0])

    def ours() -> torch.Tensor:
        return ksampler(
            model,
            positive,
            negative,
            latent,
            seed=SEED,
            steps=steps,
            cfg=CFG,
            sampler="euler",
            schedule="normal",
            memory=memory,
        ).samples

    betas = model.betas
    scheduler = EulerDiscreteScheduler(
        num_train_timesteps=betas.count,
        beta_start=betas.start,
        beta_end=betas.end,
        beta_schedule=betas.kind,
        timestep_spacing="linspace",
        steps_offset=1,
        prediction_type=model.prediction,
    )
    pipe = StableDiffusionPipeline(
        vae=AutoencoderKL.from_pretrained(POSTCARD / "vae"),
        text_encoder=None,
        tokenizer=None,
        unet=unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.set_progress_bar_config(disable=True)

    def theirs() -> torch.Tensor:
        return pipe(
            prompt_embeds=texts[0],
            negative_prompt_embeds=texts[1],
            latents=noise,
            num_inference_steps=steps,
            guidance_scale=CFG,
            height=cells * vae.factor,
            width=cells * vae.factor,
            output_type="latent",
        ).images

    return {"ours": ours, "diffusers": theirs}


def compare(case: str) -> tuple[dict[str, float], list[float], float]:
    """Median seconds of each side, the ratio of each round, the largest difference."""
    both, rounds = sides(case), CASES[case][2]
    results = {name: run() for name, run in both.items()}  # warm up
    taken: dict[str, list[float]] = {name: [] for name in both}
    for number in range(rounds):
        for name in sorted(both, reverse=bool(number % 2)):
            start = time.perf_counter()
            both[name]()
            taken[name].append(time.perf_counter() - start)
    ratios = [one / other for one, other in zip(taken["ours"], taken["diffusers"], strict=True)]
    medians = {name: statistics.median(seconds) for name, seconds in taken.items()}
    one, other = results.values()
    return medians, ratios, float((one - other).abs().max() / other.std())


def peak(case: str, side: str) -> int:
    """Most bytes of memory that a process of its own takes for one run (Linux)."""
    command = [sys.executable, __file__, "--peak", case, side]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def own_peak() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def row(case: str) -> str:
    seconds, ratios, difference = compare(case)
    low, _, high = statistics.quantiles(ratios, n=4)
    peaks = [peak(case, side) / 2**20 for side in ("ours", "diffusers")]
    figures = [
        case,
        f"{CASES[case][0]}",
        *(f"{seconds[side]:.2f} s" for side in ("ours", "diffusers")),
        f"**{statistics.median(ratios):.3f}**",
        f"{low:.2f} - {high:.2f}",
        *(f"{size:.0f} MiB" for size in peaks),
        f"{difference:.0e} of the spread",
    ]
    return f"| {' | '.join(figures)} |\n"


def main() -> None:
    import diffusers

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write the table beside this file")
    parser.add_argument("--case", choices=CASES, action="append")
    parser.add_argument("--peak", nargs=2, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    logging.set_verbosity_error()
    if chosen.peak:
        case, side = chosen.peak
        sides(case)[side]()
        print(own_peak())
        return
    text = TITLE.format(
        diffusers=diffusers.__version__,
        torch=torch.__version__.split("+")[0],
        cfg=CFG,
        threads=torch.get_num_threads(),
    ) + "".join(row(case) for case in chosen.case or CASES)
    text += f"\nPython {platform.python_version()}, {platform.machine()}, CPU.\n"
    print(text)
    if chosen.write:
        HERE.joinpath("sampling.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
