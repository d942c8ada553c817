"""How well does postcard draw what it is told? `python tests/bench/postcard.py --write`.

A small network (`graphengine.postcard.judge`) reads attributes off the pictures that postcard makes
from captions whose combinations of attributes it never saw. `--train-judge` makes that network anew.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from diffusers import DPMSolverMultistepScheduler

from graphengine.postcard import export, judge, vae
from graphengine.postcard.caption import describe, held_captions
from graphengine.postcard.judge import SEED, Judge, score
from graphengine.postcard.render import render
from graphengine.postcard.world import random_scene
from graphengine.training import loop

HERE = Path(__file__).parent


NEGATIONS = {
    "a few clouds": ("weather", "clouds"),
    "mountains": ("relief", "mountains"),
    "birds": ("birds", "birds"),
    "the sun": ("light", "sun"),
}


def negation(
    pipe: Any, reader: Judge, count: int, guidance: float
) -> list[tuple[str, float, float]]:
    """How often an attribute the prompt leaves open appears, without and with its negation."""
    rows = []
    for words, (name, value) in NEGATIONS.items():
        rng = np.random.default_rng([SEED, 2])
        prompts: list[str] = []
        while len(prompts) < count:
            scene = random_scene(rng, held=False, pairs=0.0)
            caption = describe(scene, rng)
            day = caption.stated.get("sky") in ("day", "sunset")
            if name not in caption.stated and "kind" in caption.stated and day:
                prompts.append(caption.text)
        shares = []
        for negative in ("", words):
            made = export.generate(pipe, prompts, negative=negative, guidance=guidance, seed=5000)
            shares.append(sum(r[name] == value for r in reader.read(made)) / count)
        rows.append((words, shares[0], shares[1]))
    return rows


def seconds_for_one(pipe: Any, guidance: float) -> float:
    """Seconds for one picture of 20 steps with guidance, once loaded; the better of three."""
    times = []
    for _ in range(3):
        start = time.perf_counter()
        export.generate(pipe, ["a red house by the sea at sunset"], guidance=guidance)
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    """Runs the whole measurement and prints it as markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=export.MODEL)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "postcard-bench")
    parser.add_argument("--captions", type=int, default=300)
    parser.add_argument("--guidance", type=float, default=5.0)
    parser.add_argument("--judge", type=Path, default=judge.JUDGE)
    parser.add_argument("--train-judge", action="store_true", help="train --judge, and end")
    parser.add_argument("--write", action="store_true", help="also write the tables and the sheet")
    args = parser.parse_args()

    if args.train_judge:
        made = judge.train(args.work, progress=loop.Lines("judge", 100))
        print(f"wrote {args.judge}: {judge.save(made, args.judge) / 1e6:.2f} MB")
        return
    reader = judge.load(args.judge)
    held = held_captions(args.captions, SEED)
    real, _ = zip(*(render(scene) for scene, _ in held), strict=True)
    own = score(reader.read(list(real)), [scene.attributes() for scene, _ in held])

    pipe = export.load(args.model)
    kind: Any = DPMSolverMultistepScheduler
    pipe.scheduler = kind.from_config(
        pipe.scheduler.config, algorithm_type="dpmsolver++", use_karras_sigmas=True
    )
    decibels = vae.psnr(pipe.vae, np.stack([np.asarray(p) for p in real[:200]]))
    prompts, stated = [c.text for _, c in held], [c.stated for _, c in held]
    pictures = export.generate(pipe, prompts, guidance=args.guidance)
    marks = score(reader.read(pictures), stated)

    about = (
        f"{len(held)} captions whose combinations of attributes were held out of training, 20 steps "
        f"of DPM-Solver++(2M) on Karras' schedule, guidance {args.guidance:g}, read by a judge "
        "network trained on rendered scenes."
    )
    lines = [
        "# postcard, measured",
        "",
        about,
        "",
        f"- stated attributes drawn right: **{100 * marks.share:.1f} %**",
        f"- the judge itself, on renders of the same scenes: {100 * own.share:.1f} %",
        f"- autoencoder on 200 of those renders: {decibels:.2f} dB PSNR",
        f"- one picture, {os.cpu_count()} CPU cores, float32: {seconds_for_one(pipe, args.guidance):.2f} s",
        "",
        "| attribute | stated | drawn right | judge on renders |",
        "| --- | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {name} | {asked} | {100 * marks.share_of(name):.1f} % | {100 * own.share_of(name):.1f} % |"
        for name, asked in marks.asked.items()
    ]
    lines += ["", "| guidance | stated attributes right (first 60 captions) |", "| ---: | ---: |"]
    for guidance in (1.0, 2.0, 3.0, 5.0, 7.0):
        some = export.generate(pipe, prompts[:60], guidance=guidance)
        lines.append(
            f"| {guidance:g} | {100 * score(reader.read(some), stated[:60]).share:.1f} % |"
        )
    lines += [
        "",
        "| negative prompt | seen without it | seen with it |",
        "| --- | ---: | ---: |",
    ]
    for words, before, after in negation(pipe, reader, 40, args.guidance):
        lines.append(f"| {words} | {100 * before:.0f} % | {100 * after:.0f} % |")
    text = "\n".join(lines) + "\n"
    print(text)
    if args.write:
        (HERE / "postcard.md").write_text(text)
        export.sheet(pictures[:32], prompts[:32]).save(args.model / "sheet.png", optimize=True)


if __name__ == "__main__":
    main()
