"""One training loop for every network: seeded by step, resumable to the bit, cancelled without loss.

The state of a training lies in one safetensors file, so no pickle is ever read: the weights, the
optimizer's moments, the running average, and in its header the step and the losses so far.
"""

from __future__ import annotations

import copy
import json
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from graphengine.errors import Cancelled, FileError, ModelError
from graphengine.resource import Progress

Losses = dict[str, list[float]]
"""What each step measured, by name."""


@dataclass(frozen=True)
class Run:
    """How a training is driven. `stop_at` ends it early, as an interruption would."""

    name: str
    folder: Path
    steps: int
    seed: int = 0
    save_every: int = 500
    stop_at: int | None = None

    @property
    def file(self) -> Path:
        """Where its state lies."""
        return self.folder / f"{self.name}.safetensors"


class Lines(Progress):
    """Progress as lines of text: the means of `every` steps, the speed, and the time left."""

    def __init__(self, name: str, every: int = 50) -> None:
        self.name, self.every = name, every
        self._seen: list[dict[str, float]] = []

    def report(
        self,
        done: float,
        total: float,
        note: str = "",
        preview: Callable[[], Any] | None = None,
        **figures: float,
    ) -> None:
        if figures:
            self._seen.append(figures)
        if self._seen and (done % self.every == 0 or done == total):
            mean = {k: sum(f[k] for f in self._seen) / len(self._seen) for k in self._seen[0]}
            speed = mean.pop("steps_per_second")
            told = "  ".join(f"{name} {value:.4f}" for name, value in mean.items())
            left = (total - done) / speed / 60
            print(
                f"{self.name} {done:.0f}/{total:.0f}  {told}  {speed:.2f} it/s  {left:.1f} min left",
                flush=True,
            )
            self._seen.clear()


def step_rng(seed: int, name: str, step: int) -> np.random.Generator:
    """The random stream of one step: the same whether or not training was interrupted before it."""
    return np.random.default_rng([seed, step, *name.encode()])


def cosine(step: int, steps: int, peak: float, warmup: int, floor: float = 0.0) -> float:
    """Learning rate: linear warm-up, then half a cosine down to `floor` of the peak."""
    if step < warmup:
        return peak * (step + 1) / warmup
    t = min(1.0, (step - warmup) / max(1, steps - warmup))
    return peak * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * t)))


def adamw(model: nn.Module, rate: float, decay: float = 0.01) -> torch.optim.AdamW:
    """AdamW (arXiv:1711.05101) that decays matrices and leaves gains and biases alone."""
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.99), fused=True)


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


Part = nn.Module | torch.optim.Optimizer | Ema
"""A thing with state that a training keeps."""


def descend(optimizer: torch.optim.Optimizer, loss: Tensor, rate: float, clip: float = 1.0) -> None:
    """One step down the gradient at a learning rate, the gradient's norm clipped.

    Raises `ModelError` for a loss or gradient that is NaN or infinite, before the weights change.
    """
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    weights: Iterable[Tensor] = (p for g in optimizer.param_groups for p in g["params"])
    norm = nn.utils.clip_grad_norm_(list(weights), clip)
    if not (math.isfinite(loss.item()) and math.isfinite(norm.item())):
        what = "gradient" if math.isfinite(loss.item()) else "loss"
        raise ModelError(f"the {what} became NaN or infinite", "lower the learning rate")
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.step()


def train(
    run: Run,
    parts: Mapping[str, Part],
    step_fn: Callable[[int], Mapping[str, Tensor | float]],
    *,
    progress: Progress | None = None,
    after: Callable[[int], None] | None = None,
    preview: Callable[[], Any] | None = None,
) -> Losses:
    """Calls `step_fn(step)` for each step that is left, and gives what all steps measured.

    `parts` are kept in `run.file`, every `save_every` steps and at the end, also when the training
    is cancelled; a later call goes on from there, to the same bits as if it had never stopped.
    `step_fn` draws all its randomness from `step_rng` or torch's global generator, which is seeded
    here for each step, and left as it was. `after(step)` is called at each save; `preview` makes a
    small picture for `progress`. Raises `ModelError` when the loss is NaN, with the last good state
    kept, and `Cancelled` out of `progress`.
    """
    progress = progress or Progress()
    start, losses = load(run.file, parts) if run.file.exists() else (0, {})
    end = run.steps if run.stop_at is None else min(run.steps, run.stop_at)
    begun = time.monotonic()
    progress.report(start, run.steps)
    done = saved = start
    with own_randomness():
        while done < end:
            torch.manual_seed(int(step_rng(run.seed, run.name, done).integers(2**62)))
            try:
                measured = {
                    k: v.item() if isinstance(v, Tensor) else v for k, v in step_fn(done).items()
                }
            except ModelError as cause:
                kept = f"; the state after step {saved} is kept" if saved else ""
                message = f"{run.name}, step {done + 1} of {run.steps}: {cause.message}{kept}"
                raise ModelError(message, cause.hint) from cause
            for name, value in measured.items():
                losses.setdefault(name, []).append(value)
            done += 1
            speed = (done - start) / max(time.monotonic() - begun, 1e-9)
            note = f"{next(iter(measured))} {next(iter(measured.values())):.4g}" if measured else ""
            try:
                progress.report(done, run.steps, note, preview, **measured, steps_per_second=speed)
            except Cancelled:
                save(run.file, parts, done, losses)
                raise
            if done % run.save_every == 0 or done == end:
                save(run.file, parts, done, losses)
                saved = done
                if after is not None:
                    after(done)
    return losses


@contextmanager
def own_randomness() -> Iterator[None]:
    """Torch's global generators are used inside and are as before afterwards."""
    devices = range(torch.cuda.device_count())
    with torch.random.fork_rng(devices):
        yield


def save(path: Path, parts: Mapping[str, Part], step: int, losses: Losses) -> None:
    """Writes the state of a training so that a reader sees the old one or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {
        f"{part}/{name}": tensor.detach().cpu().contiguous().clone()
        for part, state in parts.items()
        for name, tensor in _tensors(state).items()
    }
    temporary = path.with_suffix(f".{os.getpid()}.partial")
    save_file(tensors, temporary, {"step": str(step), "losses": json.dumps(losses)})
    os.replace(temporary, path)


def load(path: Path, parts: Mapping[str, Part]) -> tuple[int, Losses]:
    """Puts a saved state back into `parts`; its step and the losses so far. Raises `FileError`."""
    hint = "the settings are other than before: give another name, or delete the file"
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        for part, state in parts.items():
            prefix = f"{part}/"
            mine = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
            _restore(state, mine)
        return int(header["step"]), json.loads(header["losses"])
    except (SafetensorError, LookupError, ValueError, RuntimeError) as cause:
        raise FileError(f"{path.name} can't be gone on with: {cause}", hint) from cause


def _tensors(part: Part) -> dict[str, Tensor]:
    if isinstance(part, torch.optim.Optimizer):
        state = part.state_dict()["state"]
        return {f"{i}.{name}": t for i, moments in state.items() for name, t in moments.items()}
    module = part.model if isinstance(part, Ema) else part
    return dict(module.state_dict())


def _restore(part: Part, tensors: dict[str, Tensor]) -> None:
    if isinstance(part, torch.optim.Optimizer):
        weights = [weight for group in part.param_groups for weight in group["params"]]
        state: dict[int, dict[str, Tensor]] = {}
        for key, tensor in tensors.items():
            index, _, name = key.partition(".")
            weight = weights[int(index)]
            if tensor.shape == weight.shape:  # laid out as the weight: the fused step counts on it
                tensor = torch.empty_like(weight).copy_(tensor)
            state.setdefault(int(index), {})[name] = tensor
        part.load_state_dict({"state": state, "param_groups": part.state_dict()["param_groups"]})
    else:
        module = part.model if isinstance(part, Ema) else part
        module.load_state_dict(tensors)


def parameters(model: nn.Module) -> int:
    """How many weights a model has."""
    return sum(p.numel() for p in model.parameters())


def autocast(device: torch.device) -> Any:
    """Matrix products in bfloat16, where they are quicker and exact enough to learn by."""
    return torch.autocast(device.type, torch.bfloat16)
