"""Trains postcard from nothing: `python -m graphengine.postcard.train --stage all --out runs/pc`.

Stages: `text` (tokenizer and text encoder), `vae`, `latents`, `unet`, `decoder` (the autoencoder's
second half again, its latents fixed), `export`. Each stage keeps a checkpoint in the output folder
and goes on from it when called again.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch

from graphengine.postcard import text, unet, vae
from graphengine.postcard.config import Config
from graphengine.postcard.export import assemble, export

STAGES = ("text", "vae", "latents", "unet", "decoder", "export")


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


def run_stage(stage: str, config: Config, out: Path, *, stop_at: int | None = None) -> None:
    """Runs one stage on top of what the earlier ones left in `out`."""
    tokenizer = tokenizer_of(config, out)
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
        parts = (decoder_of(config, out), text.train(config, out), tokenizer)
        denoiser = unet.train(config, parts[0], parts[1], out)
        size = export(assemble(*parts, denoiser), out / "model", out / "tokenizer")
        print(f"wrote {out / 'model'}: {size / 1e6:.1f} MB of weights")
    else:
        raise ValueError(f"no stage {stage!r}: the stages are {', '.join(STAGES)}")


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
