"""The state of a sampling run in the middle, so that a run that was killed goes on to the same bits.

A state is one safetensors file: tensors, and JSON in its header. Nothing is executed to read it.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from graphengine.diffusion.samplers import History


@dataclass(frozen=True, eq=False)
class State:
    """Where a run is. `run`: digest of all that it was started with. `done`: the items that are
    finished, [n, channels, h, w]; `step`: steps taken of the next one, `x` its latent after them,
    `history` what its sampler remembers, `draws` how often it drew noise.
    """

    run: str
    done: Tensor
    step: int
    x: Tensor
    history: History
    draws: int

    def to(self, device: torch.device) -> State:
        """The same on another device."""
        return replace(
            self,
            done=self.done.to(device),
            x=self.x.to(device),
            history=_moved(self.history, device),
        )


class Snapshots(Protocol):
    """Where the state of one run is kept."""

    def load(self) -> State | None:
        """The state kept last; None if there is none that can be read."""

    def save(self, state: State) -> None:
        """Told after every step; may keep the state, which is not to be changed, or let it pass."""


class FileSnapshots:
    """The last state in one file, written beside and renamed, so that it is whole or not there.

        snapshots = FileSnapshots(Path("run.safetensors"), "castle, cfg 7, v1-5", seconds=30)
        data = sample(..., snapshots=snapshots)
        snapshots.clear()

    `denoiser`: what the run is made with as far as `sample` can't see it: model, prompts, guidance.
    A state kept with another text is not taken up. A state is written after `every` steps, if
    `seconds` have passed since the last was.
    """

    def __init__(self, path: Path, denoiser: str, *, every: int = 1, seconds: float = 0.0) -> None:
        if every < 1:
            raise ValueError(f"a snapshot every {every} steps: take 1 or more")
        self.path, self.denoiser, self.every, self.seconds = path, denoiser, every, seconds
        self._told, self._written = 0, time.monotonic()

    def load(self) -> State | None:
        """The state of the file; None if there is none, it is damaged, or of another denoiser."""
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return None
        try:
            told = json.loads(_header(data)["state"])
            if told["denoiser"] != self.denoiser:
                return None
            tensors = load(data)
            history = _unpacked(told["history"], tensors)
            return State(
                told["run"], tensors["done"], told["step"], tensors["x"], history, told["draws"]
            )
        except (SafetensorError, ValueError, KeyError, TypeError):
            return None

    def save(self, state: State) -> None:
        self._told += 1
        now = time.monotonic()
        if self._told % self.every or now - self._written < self.seconds:
            return
        tensors = {"done": state.done, "x": state.x}
        told = {
            "denoiser": self.denoiser,
            "run": state.run,
            "step": state.step,
            "draws": state.draws,
            "history": _packed(state.history, tensors),
        }
        # a copy each, for safetensors takes no two that share memory
        own = {name: tensor.cpu().clone().contiguous() for name, tensor in tensors.items()}
        partial = self.path.with_name(f"{self.path.name}.{os.getpid()}.partial")
        partial.write_bytes(save(own, {"state": json.dumps(told)}))
        os.replace(partial, self.path)
        self._written = now

    def clear(self) -> None:
        """Remove the file, for a run that is done."""
        self.path.unlink(missing_ok=True)


def run_digest(facts: Mapping[str, Any], tensors: Sequence[Tensor | None]) -> str:
    """SHA-256 of JSON data and tensors, type and shape with them."""
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for tensor in tensors:
        if tensor is None:
            digest.update(b"none")
            continue
        digest.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _packed(value: Any, tensors: dict[str, Tensor]) -> Any:
    """A history as JSON data in which tensors are named."""
    if isinstance(value, Tensor):
        name = f"history.{len(tensors)}"
        tensors[name] = value
        return {"tensor": name}
    if isinstance(value, tuple | list):
        kind = "tuple" if isinstance(value, tuple) else "list"  # a named tuple is taken up as plain
        return {kind: [_packed(item, tensors) for item in value]}
    if value is None or isinstance(value, int | float):
        return value
    raise TypeError(f"a history with a {type(value).__name__} can't be kept")


def _unpacked(data: Any, tensors: Mapping[str, Tensor]) -> Any:
    match data:
        case {"tensor": name}:
            return tensors[name]
        case {"tuple": items}:
            return tuple(_unpacked(item, tensors) for item in items)
        case {"list": items}:
            return [_unpacked(item, tensors) for item in items]
    return data


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, tuple):
        return tuple(_moved(item, device) for item in value)
    if isinstance(value, list):
        return [_moved(item, device) for item in value]
    return value


def _header(data: bytes) -> dict[str, str]:
    """The metadata of a safetensors file."""
    length = int.from_bytes(data[:8], "little")
    told: dict[str, str] = json.loads(data[8 : 8 + length])["__metadata__"]
    return told
