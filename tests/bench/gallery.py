"""Runs the bundled workflows and keeps their pictures: `python tests/bench/gallery.py [NAME ...]`.

The README's gallery: of the pictures that `graphengine run NAME` saves, the largest, made small
enough for a page. Prints how long each workflow took in a process of its own, and its CPU time.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parents[2]
PICTURES = ROOT / "workflows" / "pictures"
WIDEST, SMALL = 1200, 300
LONG = {"train_noise_predictor", "train_vae", "train_depth", "train_lora", "fine_tune", "gan"}
"""Trainings: minutes, not seconds."""


def run(name: str, out: Path) -> tuple[float, float, Path]:
    """Runs a workflow without its cache; seconds, seconds of CPU, and the largest picture."""
    command = [sys.executable, "-m", "graphengine", "run", name]
    options = ["--json", "--no-cache", "--out", str(out / name)]
    before = os.times()
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    after = os.times()
    if done.returncode:
        raise SystemExit(f"{name}: {done.stdout}{done.stderr}")
    report = json.loads(done.stdout)
    paths = [Path(o["path"]) for o in report["outputs"] if o.get("path", "").endswith(".png")]
    cpu = after.children_user + after.children_system
    cpu -= before.children_user + before.children_system
    return after.elapsed - before.elapsed, cpu, max(paths, key=area)


def area(path: Path) -> int:
    """Pixels of a picture."""
    with Image.open(path) as picture:
        return picture.width * picture.height


def keep(path: Path, name: str) -> None:
    """Saves a picture small enough for a page."""
    with Image.open(path) as picture:
        picture.thumbnail((WIDEST, WIDEST * 2), Image.Resampling.LANCZOS)
        if picture.width < SMALL:
            picture = picture.resize(
                (picture.width * 4, picture.height * 4), Image.Resampling.LANCZOS
            )
        picture.convert("RGB").save(PICTURES / f"{name}.webp", quality=88, method=6)


def main(names: list[str]) -> None:
    known = sorted(path.stem for path in (ROOT / "workflows").glob("*.json"))
    PICTURES.mkdir(exist_ok=True)
    print("| workflow | seconds | CPU seconds |\n|---|---:|---:|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for name in names or [name for name in known if name not in LONG]:
            took, cpu, picture = run(name, Path(folder))
            keep(picture, name)
            print(f"| `{name}` | {took:.1f} | {cpu:.1f} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
