"""Where calls are made: in threads of this process, or inline for tests. The run knows only the
protocol.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

from graphengine.errors import Cancelled, GraphEngineError
from graphengine.events import Emit, StepProgress
from graphengine.resource import Progress, Provenance, Resource
from graphengine.spec import NodeSpec

Supply = Callable[[type[Resource]], Resource]
"""The resource of a type, for parameters that ask for one."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a node's function. `stop` is set when the run is cancelled; `workflow` tells what
    is being run.
    """

    node: str
    spec: NodeSpec
    inputs: Mapping[str, Any]
    stop: threading.Event
    workflow: Callable[[], Mapping[str, Any]]


class Worker(Protocol):
    """Makes calls, `slots` of them at a time."""

    slots: int

    async def run(self, call: Call, emit: Emit) -> Any:
        """What the function answers, or what it raises."""

    async def close(self) -> None:
        """Give back what the worker holds."""


class CallProgress(Progress):
    """Progress that becomes events, and ends the call when its run was cancelled."""

    def __init__(self, call: Call, emit: Emit) -> None:
        self._call = call
        self._emit = emit

    def report(
        self,
        done: float,
        total: float,
        note: str = "",
        preview: Callable[[], Any] | None = None,
        **figures: float,
    ) -> None:
        self.check()
        self._emit(StepProgress(self._call.node, done, total, note, figures, preview))

    def check(self) -> None:
        if self._call.stop.is_set():
            raise Cancelled


def no_supply(kind: type[Resource]) -> Resource:
    raise GraphEngineError(
        f"nobody supplies a {kind.__name__}", "give the worker a supply that knows it"
    )


class InlineWorker:
    """Makes each call at once, in the thread of the event loop."""

    slots = 1

    def __init__(self, supply: Supply = no_supply) -> None:
        self._supply = supply

    async def run(self, call: Call, emit: Emit) -> Any:
        answer = invoke(call, emit, self._supply)
        return await answer if call.spec.asynchronous else answer

    async def close(self) -> None:
        pass


class ThreadWorker:
    """Makes calls in `slots` threads. One, the default, is right for a device: nothing else uses it
    meanwhile.
    """

    def __init__(self, supply: Supply = no_supply, slots: int = 1) -> None:
        self.slots = slots
        self._supply = supply
        self._threads = ThreadPoolExecutor(slots, thread_name_prefix="graphengine-worker")

    async def run(self, call: Call, emit: Emit) -> Any:
        if call.spec.asynchronous:
            return await invoke(call, emit, self._supply)
        loop = asyncio.get_running_loop()

        def emit_in_loop(event: Any) -> None:
            loop.call_soon_threadsafe(emit, event)

        return await loop.run_in_executor(self._threads, invoke, call, emit_in_loop, self._supply)

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def invoke(call: Call, emit: Emit, supply: Supply) -> Any:
    """Call the function with its inputs and the resources it asks for."""
    spec = call.spec
    if not spec.resources:
        return spec.function(**call.inputs)
    resources: dict[str, Resource] = {}
    for name, kind in spec.resources.items():
        if kind is Progress:
            resources[name] = CallProgress(call, emit)
        elif kind is Provenance:
            resources[name] = Provenance(call.workflow())
        else:
            resources[name] = supply(kind)
    return spec.function(**call.inputs, **resources)
