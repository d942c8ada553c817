"""Weights in memory: loaded when used, shared by content, put away least recently used first.
Imports without torch.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from graphengine.diffusion.types import Weights
from graphengine.resource import Progress, Resource

if TYPE_CHECKING:
    import torch
    from torch import nn

T = TypeVar("T")


@dataclass
class _Held:
    """Weights that are in memory: `users` leases are open, `resident` says whether they lie on the
    device.
    """

    module: nn.Module
    size: int
    users: int = 0
    resident: bool = False


class Memory(Resource):
    """The weights of one device.

        with memory.use(model, working=2**30) as unet:
            ...

    `device`: where modules compute, as torch names it; "auto" is the best there is. `dtype`:
    "float32", "float16", "bfloat16"; None is float32 on the CPU, and elsewhere what the file holds.
    `budget`: bytes that weights and work may take on the device; None sets no limit, and only
    running out of memory puts weights away. Weights in use stay. May be shared by threads.
    """

    def __init__(
        self,
        device: str = "cpu",
        dtype: str | None = None,
        budget: int | None = None,
        load: Callable[[Weights, torch.dtype | None], nn.Module] | None = None,
    ) -> None:
        self.budget = budget
        self._device, self._dtype, self._load = device, dtype, load
        self._lock = threading.RLock()
        self._held: dict[tuple[type[Weights], str], _Held] = {}  # least recently used first

    @cached_property
    def device(self) -> str:
        """Where modules compute."""
        import torch

        if self._device != "auto":
            return self._device
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"

    @property
    def dtype(self) -> torch.dtype | None:
        """The type weights are converted to; None keeps the file's."""
        import torch

        if self._dtype is None:
            return torch.float32 if self.device == "cpu" else None
        return {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}[
            self._dtype
        ]

    @contextmanager
    def use(
        self, weights: Weights, working: int = 0, progress: Progress | None = None
    ) -> Iterator[Any]:
        """Lease the module of a description, on the device. `working`: bytes the work will need
        beside the weights.
        """
        with self._lock:
            held = self._fetch(weights, progress or Progress())
            held.users += 1
            try:
                self._bring(held, working)
            except BaseException:
                held.users -= 1
                raise
        try:
            yield held.module
        finally:
            with self._lock:
                held.users -= 1

    @property
    def used(self) -> int:
        """Bytes of weights on the device."""
        with self._lock:
            return sum(held.size for held in self._held.values() if held.resident)

    def free(self) -> int:
        """Put away all weights that nobody uses; the bytes that came free on the device."""
        with self._lock:
            before = self.used
            for key in [key for key, held in self._held.items() if not held.users]:
                self._put_away(key)
            _empty_cache(self.device)
            return before - self.used

    def ladder(
        self, rungs: Sequence[tuple[str, Callable[..., T]]], tell: Callable[[str], None]
    ) -> Callable[..., T]:
        """One function out of several that do the same with less and less memory, each with its
        name.

        When one runs out of memory, unused weights are freed and it is tried once more; then the
        next is taken, which is told, and kept for later calls. The last one's error is raised.
        """
        state = [0]

        def climb_down(*arguments: Any) -> T:
            while True:
                name, work = rungs[state[0]]
                try:
                    return work(*arguments)
                except Exception as problem:
                    if not is_out_of_memory(problem):
                        raise
                self.free()
                try:
                    return work(*arguments)
                except Exception as problem:
                    if not is_out_of_memory(problem) or state[0] + 1 == len(rungs):
                        raise
                state[0] += 1
                tell(f"out of memory with {name}: now {rungs[state[0]][0]}")

        return climb_down

    def _fetch(self, weights: Weights, progress: Progress) -> _Held:
        key = (type(weights), weights.digest)
        held = self._held.pop(key, None)
        if held is None:
            progress.report(
                0, 1, note=f"loading {weights.folder.parent.name}/{weights.folder.name}"
            )
            load = self._load or _load_weights
            try:
                module = load(weights, self.dtype)
            except Exception as problem:
                if not is_out_of_memory(problem):
                    raise
                self.free()
                module = load(weights, self.dtype)
            held = _Held(module, sum(p.nbytes for p in (*module.parameters(), *module.buffers())))
        self._held[key] = held
        progress.check()
        return held

    def _bring(self, held: _Held, working: int) -> None:
        if self.budget is not None:
            coming = 0 if held.resident else held.size
            for key in [
                key for key, other in self._held.items() if other.resident and not other.users
            ]:
                if self.used + coming + working <= self.budget:
                    break
                self._put_away(key)
        if held.resident:
            return
        try:
            held.module.to(self.device)
        except Exception as problem:
            if not is_out_of_memory(problem):
                raise
            self.free()
            held.module.to(self.device)
        held.resident = True

    def _put_away(self, key: tuple[type[Weights], str]) -> None:
        """Off the device, into main memory; where main memory is the device, out of it."""
        held = self._held[key]
        if self.device == "cpu":
            del self._held[key]
        else:
            held.module.to("cpu")
        held.resident = False


class Remarks(Progress):
    """Progress whose reports carry what was remarked on the way: "out of memory: ..."."""

    def __init__(self, progress: Progress) -> None:
        self._progress, self._remarks, self._last = progress, list[str](), (0.0, 1.0)

    def remark(self, text: str) -> None:
        """Tell `text` now and with every later report."""
        self._remarks.append(text)
        self.report(*self._last)

    def report(
        self,
        done: float,
        total: float,
        note: str = "",
        preview: Callable[[], Any] | None = None,
        **figures: float,
    ) -> None:
        self._last = (done, total)
        self._progress.report(
            done, total, "; ".join(filter(None, [note, *self._remarks])), preview, **figures
        )

    def check(self) -> None:
        self._progress.check()


def is_out_of_memory(problem: BaseException) -> bool:
    """Whether an error means that memory ran out, on a device or in main memory."""
    import torch

    if isinstance(problem, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(problem, RuntimeError) and any(
        words in str(problem).lower() for words in ("out of memory", "not enough memory")
    )


def _load_weights(weights: Weights, dtype: torch.dtype | None) -> nn.Module:
    from graphengine.diffusion.weights import load_weights

    return load_weights(weights, dtype)


def _empty_cache(device: str) -> None:
    import gc

    import torch

    gc.collect()
    if device.startswith("cuda"):
        torch.cuda.empty_cache()
