"""Runs the bundled workflows and keeps their pictures: `python tests/bench/gallery.py [NAME ...]`.

The README's gallery: of the pictures that `graphengine run NAME` saves, the sheet or else the
first output, made small enough for a page. Prints how long each workflow took in a process of its
own, and its CPU time.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

from graphengine import read_workflow

ROOT = Path(__file__).parents[2]
PICTURES = ROOT / "workflows" / "pictures"
WIDEST, SMALL = 1200, 300
LONG = {"train_noise_predictor", "train_vae", "train_depth", "train_lora", "fine_tune", "gan"}
"""Trainings: minutes, not seconds."""


def run(name: str, out: Path) -> tuple[float, float, Path]:
    """Runs a workflow without its cache; seconds, seconds of CPU, and the picture to show."""
    command = [sys.executable, "-m", "graphengine", "run", name]
    options = ["--json", "--no-cache", "--out", str(out / name)]
    before = os.times()
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    after = os.times()
    if done.returncode:
        raise SystemExit(f"{name}: {done.stdout}{done.stderr}")
    report = json.loads(done.stdout)
    saved = {o["node"]: Path(o["path"]) for o in reversed(report["outputs"]) if "path" in o}
    cpu = after.children_user + after.children_system
    cpu -= before.children_user + before.children_system
    return after.elapsed - before.elapsed, cpu, saved[shown(name)]


def shown(name: str) -> str:
    """The node that saves a workflow's sheet, or else the first of its outputs that is saved."""
    workflow = read_workflow(ROOT / "workflows" / f"{name}.json")
    saving = {
        node.links["image"]: id
        for id, node in reversed(workflow.nodes.items())
        if node.type == "image.save"
    }
    sources = sorted(workflow.outputs.items(), key=lambda output: output[0] != "sheet")
    return next(saving[source] for _, source in sources if source in saving)


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
