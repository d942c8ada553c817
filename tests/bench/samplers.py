"""How close are samplers and schedules to the field? `python tests/bench/samplers.py --write`.

Runs every case of tests/diffusion/vectors.json and tables the largest error of each sampler with
each schedule, beside the tolerance.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import torch

from graphengine.diffusion import SAMPLERS, SCHEDULES
from tests.diffusion.vectors import CASES, TOLERANCES, error_of, tolerance_of

HERE = Path(__file__).parent
TITLE = """# Samplers and schedules against the field

Made by `python tests/bench/samplers.py --write`. Largest absolute difference from the results of
ComfyUI 0.3.64 on a model whose exact answer is known ({count} runs, float32 on a CPU, values up to
about 100, known to six digits); **bold** where it is above the tolerance. The tolerance follows
from how far the reference differs from itself in float64. An empty cell has no known result; a
sampler that is the same function as another has the other's row.
"""


def kind_of(case: dict[str, Any]) -> str:
    """The extra that a case tests, or nothing."""
    if "mask" in case:
        return f"mask ({case['mask']})"
    if "start_step" in case:
        whole = case["force_full_denoise"] and case["last_step"] < case["steps"]
        return "stopped early" if whole else "split, noise left over"
    names = {"batch_index": "numbered noise", "batch": "batch of 2", "latent_scale": "latent scale"}
    names["cpu_seed_plus_one"] = "step noise from seed + 1"
    for field, name in names.items():
        if field in case:
            return name
    if case["level"] == "unet":
        return {"eps": "whole timesteps, noise", "v": "whole timesteps, velocity"}[
            case["prediction"]
        ]
    if case["steps"] == 1:
        return "one step"
    return "denoise 0.6" if case["denoise"] < 1 else ""


def table(
    rows: Sequence[str],
    columns: Sequence[str],
    cases: Iterable[tuple[str, str, float, float]],
    tolerances: Callable[[str], str],
) -> list[str]:
    """Lines of a table: of all cases of a (row, column) the largest error."""
    cells: dict[tuple[str, str], tuple[float, bool]] = {}
    for row, column, error, tolerance in cases:
        before, was_over = cells.get((row, column), (0.0, False))
        cells[row, column] = max(before, error), was_over or not error <= tolerance
    lines = [f"| sampler | {' | '.join(columns)} | tolerance |", "|---" * (len(columns) + 2) + "|"]
    for row in rows:
        shown = []
        for column in columns:
            error, is_over = cells.get((row, column), (math.nan, False))
            text = "" if math.isnan(error) else f"{error:.0e}".replace("e-0", "e-")
            shown.append(f"**{text}**" if is_over else text)
        lines.append(f"| {row} | {' | '.join(shown)} | {tolerances(row)} |")
    return lines


def aliases(name: str) -> list[str]:
    """A sampler and the others that are the same function."""
    return [
        name,
        *(other for other in SAMPLERS if other != name and SAMPLERS[other] == SAMPLERS[name]),
    ]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--write", action="store_true", help="into samplers.md, beside this")
    write = arguments.parse_args().write
    torch.set_num_threads(1)
    runs = [(case, error_of(case), tolerance_of(case)) for case in CASES]
    tolerance = {name: f"{TOLERANCES[name]:.0e}".replace("e-0", "e-") for name in TOLERANCES}
    plain = [
        (name, case["scheduler"], error, allowed)
        for case, error, allowed in runs
        if kind_of(case) in ("", "denoise 0.6")
        for name in aliases(case["sampler"])
    ]
    special = [
        (case["sampler"], kind_of(case), error, allowed)
        for case, error, allowed in runs
        if kind_of(case)
    ]
    known = [name for name in SAMPLERS if name in {row for row, *_ in plain}]
    rest = [name for name in SAMPLERS if name not in known]
    kinds = list(dict.fromkeys(column for _, column, *_ in special))
    schedules = [name for name in SCHEDULES if name != "linear"]
    text = [TITLE.format(count=len(runs)), *table(known, schedules, plain, tolerance.__getitem__)]
    text += [
        "",
        f"Without known results: {', '.join(rest)}. They are tested by what they have to be:",
    ]
    text += [
        "the same as another method in a special case, the limit of many steps, the statistics."
    ]
    text += ["", "## Special runs", ""]
    rows = [name for name in SAMPLERS if name in {row for row, *_ in special}]
    text += table(rows, kinds, special, tolerance.__getitem__)
    page = "\n".join(text) + "\n"
    print(page)
    if write:
        (HERE / "samplers.md").write_text(page)


if __name__ == "__main__":
    main()
