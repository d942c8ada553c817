"""Trains postcard from nothing: `python -m graphengine.postcard.train --stage all --out runs/pc`.

Stages: `text` (tokenizer and text encoder), `vae`, `latents`, `unet`, `decoder` (the autoencoder's
second half again, its latents fixed), `export`; then postcard's relatives: `inpaint` (the U-Net goes
on learning with masks), `depth` (a U-Net that follows depth), `estimator` (a network that sees depth
in pictures). Each stage keeps its state in the output folder and goes on from it when called again.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch

from graphengine.postcard import depth, text, unet, vae, variants
from graphengine.postcard.config import Config
from graphengine.postcard.data import render_depth
from graphengine.postcard.export import assemble, export, export_relative
from graphengine.training.loop import Lines

BASE = ("text", "vae", "latents", "unet", "decoder", "export")
STAGES = (*BASE, "inpaint", "depth", "estimator")


def tokenizer_of(config: Config, out: Path) -> Any:
    """The run's tokenizer, learnt if need be."""
    folder = out / "tokenizer"
    if not (folder / "vocab.json").exists():
        text.train_tokenizer(config, folder)
    return text.load_tokenizer(folder)


def vae_of(config: Config, out: Path) -> Any:
    """The run's trained autoencoder, standardized."""
    return vae.finish(config, vae.train(config, out), out)


def decoder_of(config: Config, out: Path, *, stop_at: int | None = None) -> Any:
    """The run's autoencoder with its decoder polished."""
    model = vae_of(config, out)
    return vae.polish(config, model, unet.latents(config, model, out), out, stop_at=stop_at)


def pipeline_of(config: Config, out: Path) -> Any:
    """The run's ordinary model, all its parts trained, in full precision."""
    parts = (decoder_of(config, out), text.train(config, out), tokenizer_of(config, out))
    return assemble(*parts, unet.train(config, parts[0], parts[1], out))


def run_stage(stage: str, config: Config, out: Path, *, stop_at: int | None = None) -> None:
    """Runs one stage on top of what the earlier ones left in `out`."""
    tokenizer_of(config, out)
    if stage == "text":
        text.train(config, out, stop_at=stop_at)
    elif stage == "vae":
        vae.train(config, out, stop_at=stop_at)
    elif stage == "latents":
        unet.latents(config, vae_of(config, out), out)
    elif stage == "unet":
        unet.train(config, vae_of(config, out), text.train(config, out), out, stop_at=stop_at)
    elif stage == "decoder":
        decoder_of(config, out, stop_at=stop_at)
    elif stage == "export":
        _told(out / "model", export(pipeline_of(config, out), out / "model", out / "tokenizer"))
    elif stage in STAGES:
        run_relative(stage, config, out, stop_at=stop_at)
    else:
        raise ValueError(f"no stage {stage!r}: the stages are {', '.join(STAGES)}")


def run_relative(stage: str, config: Config, out: Path, *, stop_at: int | None = None) -> None:
    """Trains one of postcard's relatives and writes it beside the model, when it is finished."""
    progress, folder = Lines(stage), out / f"model-{stage}"
    if stage == "estimator":
        network = depth.train(config, out, progress, stop_at)
    else:
        pipe = pipeline_of(config, out)
        if stage == "inpaint":
            network = variants.train_inpaint(config, pipe, out, progress, stop_at)
        else:
            near = render_depth(
                out / "depth.npy", config.seed, config.variant_scenes, config.workers
            )
            network = variants.train_depth(config, pipe, near, out, progress, stop_at)
    if stop_at is None:
        size = depth.export(network, folder) if stage == "estimator" else None
        _told(folder, export_relative(network, folder, out / "model") if size is None else size)


def _told(folder: Path, size: int) -> None:
    print(f"wrote {folder}: {size / 1e6:.1f} MB of weights")


def main(argv: Sequence[str] | None = None) -> None:
    """Parses the command line and runs the stages asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--stage", choices=("all", *STAGES), default="all")
    parser.add_argument("--out", type=Path, required=True, help="folder of checkpoints and model")
    parser.add_argument("--threads", type=int, default=None, help="CPU threads to use")
    for field in fields(Config):
        if field.type in ("int", "float", "str"):
            kind = {"int": int, "float": float, "str": str}[str(field.type)]
            parser.add_argument(f"--{field.name.replace('_', '-')}", type=kind, default=None)
    chosen = vars(parser.parse_args(argv))
    stage, out, threads = chosen.pop("stage"), chosen.pop("out"), chosen.pop("threads")
    if threads:
        torch.set_num_threads(threads)
    config = replace(Config(), **{k: v for k, v in chosen.items() if v is not None})
    for name in STAGES if stage == "all" else (stage,):
        run_stage(name, config, out)


if __name__ == "__main__":
    main()
