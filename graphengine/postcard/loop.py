"""One training loop for every stage: seeded by step, resumable to the bit, progress shown."""

from __future__ import annotations

import copy
import math
import os
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


def step_rng(seed: int, stage: str, step: int) -> np.random.Generator:
    """The random stream of one step: the same whether or not training was interrupted before it."""
    return np.random.default_rng([seed, step, *stage.encode()])


def cosine(step: int, steps: int, peak: float, warmup: int, floor: float = 0.0) -> float:
    """Learning rate: linear warm-up, then half a cosine down to `floor` of the peak."""
    if step < warmup:
        return peak * (step + 1) / warmup
    t = min(1.0, (step - warmup) / max(1, steps - warmup))
    return peak * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * t)))


def adamw(model: nn.Module, lr: float, decay: float = 0.01) -> torch.optim.AdamW:
    """AdamW that decays matrices and leaves gains and biases alone."""
    weights = [p for p in model.parameters() if p.requires_grad and p.ndim > 1]
    others = [p for p in model.parameters() if p.requires_grad and p.ndim <= 1]
    groups = [
        {"params": weights, "weight_decay": decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.99), fused=True)


class Ema:
    """Exponential moving average of a model's weights, quicker while it is young."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Moves the average towards the model."""
        decay = min(self.decay, (1 + step) / (10 + step))
        pairs = zip(self.model.parameters(), model.parameters(), strict=True)
        mine, theirs = zip(*pairs, strict=True)
        torch._foreach_lerp_(list(mine), list(theirs), 1 - decay)

    def state_dict(self) -> dict[str, Any]:
        """The averaged weights."""
        return self.model.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes averaged weights back."""
        self.model.load_state_dict(state)


def save(path: Path, state: Mapping[str, Any]) -> None:
    """Writes a checkpoint so that a reader sees the old one or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".partial")
    torch.save(dict(state), temporary)
    os.replace(temporary, path)


def run(
    stage: str,
    folder: Path,
    steps: int,
    parts: Mapping[str, Any],
    step_fn: Callable[[int], dict[str, Tensor]],
    *,
    seed: int,
    save_every: int = 500,
    log_every: int = 50,
    stop_at: int | None = None,
    after: Callable[[int], None] | None = None,
) -> None:
    """Calls `step_fn(step)` for each step left, keeping all of `parts` in `folder/stage.pt`.

    `parts` are the things with state (model, optimizer, average). `step_fn` must draw all its
    randomness from `step_rng` or torch's global generator, which is seeded here for each step.
    `stop_at` ends this call early, as an interruption would; `after` is called at each save.
    """
    path = folder / f"{stage}.pt"
    start = 0
    if path.exists():
        saved = torch.load(path, map_location="cpu", weights_only=True)
        for name, part in parts.items():
            part.load_state_dict(saved[name])
        start = int(saved["step"])
    end = steps if stop_at is None else min(steps, stop_at)
    sums: dict[str, Tensor] = {}
    began, counted = time.monotonic(), 0
    for step in range(start, end):
        torch.manual_seed(int(step_rng(seed, stage, step).integers(2**62)))
        losses = step_fn(step)
        counted += 1
        for name, value in losses.items():
            sums[name] = sums.get(name, 0.0) + value.detach().float()
        done = step + 1
        if done % log_every == 0 or done == end:
            speed = (done - start) / (time.monotonic() - began)
            shown = "  ".join(f"{k} {float(v) / counted:.4f}" for k, v in sums.items())
            left = (steps - done) / speed / 60
            print(
                f"{stage} {done}/{steps}  {shown}  {speed:.2f} it/s  {left:.1f} min left",
                flush=True,
            )
            sums, counted = {}, 0
        if done % save_every == 0 or done == end:
            save(path, {"step": done, **{name: part.state_dict() for name, part in parts.items()}})
            if after is not None:
                after(done)


def parameters(model: nn.Module) -> int:
    """How many weights a model has."""
    return sum(p.numel() for p in model.parameters())


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Sets the learning rate of every group."""
    for group in optimizer.param_groups:
        group["lr"] = lr


def descend(optimizer: torch.optim.Optimizer, loss: Tensor, clip: float = 1.0) -> None:
    """One step down the gradient, its norm clipped."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    weights: Iterable[Tensor] = (p for g in optimizer.param_groups for p in g["params"])
    nn.utils.clip_grad_norm_(list(weights), clip)
    optimizer.step()
