"""One run of a plan, owned by one event loop.

State, all of it:
    tasks     signature -> task; equal steps are one task
    known     "#7" -> step, for the refs that were handed to nodes
    ready     tasks whose inputs are there; the last made ready runs first: few results stay alive
    calls     (task, index, inputs) that wait for a slot
    active    how many calls are being made now
    attended  tasks of the event loop that attend to async nodes
What happens: targets are demanded; a demanded task asks the cache, or demands its sources and
waits; a ready task is opened into calls (several if it is mapped over a list); an answer is a
value, or a ref whose task is demanded and waited for. A finished task counts down those that wait
for it. Work lists, never recursion, carry this on.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
import time
from collections.abc import Iterable, Mapping
from typing import Any

from graphengine.cache import Cache
from graphengine.errors import Cancelled, GraphEngineError
from graphengine.events import Emit
from graphengine.files import all_whole
from graphengine.gather import NoInputs, calls_of, outputs_of
from graphengine.ledger import Ledger
from graphengine.outcome import outcome
from graphengine.plan import Plan, Step
from graphengine.planner import Planner
from graphengine.ref import Blocked, Ref
from graphengine.report import Report
from graphengine.task import Reads, State, Task
from graphengine.worker import Call, Worker
from graphengine.workflow import Graph


class Run:
    """Runs a plan once. `cancel` may be called from any thread."""

    def __init__(
        self,
        plan: Plan,
        planner: Planner,
        cache: Cache,
        worker: Worker,
        emit: Emit | None = None,
        fail_fast: bool = False,
    ) -> None:
        self.plan = plan
        self.planner = planner
        self.cache = cache
        self.worker = worker
        self.fail_fast = fail_fast
        self.ledger = Ledger(emit)
        self.stop = threading.Event()
        self.cancelled = False
        self.tasks: dict[str, Task] = {}
        self.known: dict[str, Step] = {}
        self.ready: list[Task] = []
        self.calls: list[tuple[Task, int, dict[str, Any]]] = []
        self.active = 0
        self.attended: set[asyncio.Task[None]] = set()
        self._handles: dict[Step, str] = {}
        self._grown = 0
        self._wake = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._resolved = functools.cache(plan.resolved)

    def cancel(self) -> None:
        """Stop at the next progress report. What is finished stays in the cache."""
        self.cancelled = True
        self.stop.set()
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the run has ended, and its loop with it
                self._loop.call_soon_threadsafe(self._cancel_attended)

    async def execute(self) -> Report:
        """Run everything the targets need. Failures are in the report, never raised."""
        started = time.perf_counter()
        self._loop = asyncio.get_running_loop()
        for step in self.plan.steps.values():
            task = self._task(step, step.id, step.id)
            if step.id != task.name:
                task.names.append(step.id)
        targets = [self.tasks[step.signature] for step in self.plan.targets]
        for task in targets:
            task.keep = True
        self._demand(targets)
        await asyncio.gather(*(self._lane() for _ in range(self.worker.slots)))
        if not self.stop.is_set():
            left = [task for task in self.tasks.values() if task.state is State.WAITING]
            for task in sorted(left, key=lambda task: task.waiting):  # those in the circle first
                remedy = "an answer of it needs the step itself, with the same inputs"
                self._fail(task, GraphEngineError("it waits for its own result", remedy))
        took = time.perf_counter() - started
        return outcome(self.plan, self.tasks, self.ledger, self.cancelled, took)

    async def _lane(self) -> None:
        """Make calls, one at a time, until there is nothing left to wait for."""
        while True:
            if self.stop.is_set():
                self.calls.clear()
                self.ready.clear()
            if self.calls:
                task, index, inputs = self.calls.pop()
                self.active += 1
                if task.step.spec.asynchronous:
                    self._attend_beside(task, index, inputs)
                    continue
                try:
                    await self._attend(task, index, inputs)
                finally:
                    self.active -= 1
                    self._wake.set()
            elif self.ready:
                self._open(self.ready.pop())
            elif self.active:
                self._wake.clear()
                await self._wake.wait()
            else:
                self._wake.set()
                return

    def _attend_beside(self, task: Task, index: int, inputs: dict[str, Any]) -> None:
        attended = asyncio.get_running_loop().create_task(self._attend(task, index, inputs))
        self.attended.add(attended)
        attended.add_done_callback(self._attended)

    def _attended(self, attended: asyncio.Task[None]) -> None:
        self.attended.discard(attended)
        self.active -= 1
        self._wake.set()

    def _cancel_attended(self) -> None:
        for attended in self.attended:
            attended.cancel()
        self._wake.set()

    async def _attend(self, task: Task, index: int, inputs: dict[str, Any]) -> None:
        """Make one call and take its answer. Whatever goes wrong in it is the task's failure."""
        if task.state is State.FAILED:
            return
        try:
            call = Call(task.name, task.step.spec, inputs, self.stop, self._resolved)
            answer = await self.worker.run(call, self.ledger.tell)
            self._answered(task, index, answer)
        except (Cancelled, asyncio.CancelledError) as cause:
            if not self.stop.is_set():
                self._fail(task, cause, inputs)
        except (Exception, SystemExit, KeyboardInterrupt, GeneratorExit) as cause:
            self._fail(task, cause, inputs)

    def _task(self, step: Step, name: str, root: str) -> Task:
        task = self.tasks.get(step.signature)
        if task is None:
            task = self.tasks[step.signature] = Task(step, name, root)
        return task

    def _demand(self, tasks: Iterable[Task]) -> None:
        """See to it that these tasks get results: from the cache, or by running what they need."""
        stack = [*tasks]
        stack.reverse()
        while stack:
            task = stack.pop()
            if task.state not in (State.NEW, State.RELEASED):
                continue
            task.state = State.WAITING
            results = self._cached(task)
            if results is not None:
                self._finish(task, results, cached=True)
                continue
            links = [
                (link, self._task(link.source, link.source.id, task.root))
                for link in task.step.links.values()
            ]
            if failed := [s for li, s in links if s.state is State.FAILED and not li.deferred]:
                self._skip([task], f"{failed[0].name} failed")
                continue
            task.reads = Reads.ALL
            for link, source in reversed(links):
                source.readers += 1
                if not link.deferred and source.state is not State.DONE:
                    task.waiting += 1
                    source.dependents.append(task)
                    stack.append(source)
            if not task.waiting:
                self.ready.append(task)

    def _cached(self, task: Task) -> tuple[Any, ...] | None:
        if task.step.volatile:
            return None
        results = self.cache.get(task.step.signature)
        if results is not None and task.step.spec.sink and not all_whole(results):
            return None
        return results

    def _open(self, task: Task) -> None:
        """Turn a ready task into its calls."""
        if task.state is not State.WAITING:
            return
        try:
            calls = calls_of(task, self.tasks, self._handle)
        except NoInputs as blocked:
            self.ledger.skip(task, blocked.reason)
            answer = Blocked(blocked.reason)
            self._finish(task, tuple(answer for _ in task.step.spec.outputs), blocked=True)
            return
        except Exception as cause:
            self._fail(task, cause)
            return
        task.volatile = task.step.volatile or any(
            self.tasks[link.source.signature].volatile for link in task.step.links.values()
        )
        self._release(task, Reads.DEFERRED)
        self.ledger.started(task)
        task.started = time.perf_counter()
        width = len(task.step.spec.outputs)
        task.answers = [[inputs] * width if isinstance(inputs, Blocked) else [] for inputs in calls]
        indexed = enumerate(calls)
        made = [(task, index, it) for index, it in indexed if not isinstance(it, Blocked)]
        task.pending = len(made)
        if made:
            self.calls.extend(reversed(made))
        else:
            self._finish(task, task.collect())

    def _handle(self, step: Step) -> str:
        handle = self._handles.setdefault(step, f"#{len(self._handles)}")
        self.known[handle] = step
        return handle

    def _answered(self, task: Task, index: int, answer: Any) -> None:
        """Take the answer of a call: values at once, refs when what they name has its results."""
        if task.state is not State.WAITING:
            return
        steps: Mapping[str, Step] = {}
        grown: dict[str, Task] = {}
        if isinstance(answer, Graph):
            self._grown += 1
            steps = self.planner.steps(answer.drafts(), self.known)
            answer = answer.result
            for name, step in steps.items():
                grown[name] = self._task(step, f"{task.root}/{name}#{self._grown}", task.root)
        task.answers[index] = outputs = outputs_of(task.step, answer)
        task.volatile = task.volatile or any(step.volatile for step in steps.values())
        demanded = [grown[name] for name, step in steps.items() if step.spec.sink]
        for position, value in enumerate(outputs):
            if not isinstance(value, Ref):
                continue
            known = self.known.get(value.step)
            source = grown.get(value.step)
            if source is None and known is not None:
                source = self._task(known, known.id, task.root)
            output = source.step.spec.output_index.get(value.output) if source else None
            if source is None or output is None:
                hint = "answer with a ref that it was given, or one of the graph it answers with"
                raise GraphEngineError(f"it answers with {value}, which it was not given", hint)
            if source.state is State.FAILED:
                self._skip([task], f"{source.name} failed")
                return
            if source.state is State.DONE and source.results is not None:
                outputs[position] = source.results[output]
                task.volatile = task.volatile or source.volatile
                continue
            task.pending += 1
            source.readers += 1
            source.waiters.append((task, index, position, output))
            demanded.append(source)
        self._demand(demanded)
        task.pending -= 1
        if not task.pending and task.state is State.WAITING:
            self._finish(task, task.collect())

    def _finish(
        self, task: Task, results: tuple[Any, ...], cached: bool = False, blocked: bool = False
    ) -> None:
        """A task has its results: store them, and count down everybody who waits."""
        stack = [(task, results, cached)]
        while stack:
            task, results, cached = stack.pop()
            task.state, task.results = State.DONE, results
            if not blocked:
                self.ledger.finished(task, cached)
            if not cached:
                self._release(task, Reads.NONE)
                if not task.volatile and not any(isinstance(value, Blocked) for value in results):
                    self.cache.put(task.step.signature, results)
            for dependent in task.dependents:
                dependent.waiting -= 1
                if not dependent.waiting and dependent.state is State.WAITING:
                    self.ready.append(dependent)
            for waiter, index, position, output in task.waiters:
                task.readers -= 1
                if waiter.state is not State.WAITING:
                    continue
                waiter.volatile = waiter.volatile or task.volatile
                waiter.answers[index][position] = results[output]
                waiter.pending -= 1
                if not waiter.pending:
                    stack.append((waiter, waiter.collect(), False))
            for read in (task.dependents, task.waiters, task.answers):
                read.clear()
            blocked = False
            self._drop(task)

    def _release(self, task: Task, reads: Reads) -> None:
        """A task reads no more links than these from now on."""
        before, task.reads = task.reads, reads
        for link in task.step.links.values():
            needed = Reads.DEFERRED if link.deferred else Reads.ALL
            if before >= needed > reads:
                source = self.tasks[link.source.signature]
                source.readers -= 1
                self._drop(source)

    def _drop(self, task: Task) -> None:
        if not task.keep and task.readers <= 0 and task.state is State.DONE:
            task.state, task.results = State.RELEASED, None

    def _fail(
        self, task: Task, cause: BaseException, inputs: Mapping[str, Any] | None = None
    ) -> None:
        """A task failed: report it, and stop what depends on it and nothing else."""
        if task.state is not State.WAITING:
            return
        self.ledger.failed(task, cause, inputs)
        self._stop_waiting(task)
        self._skip(task.behind(), f"{task.name} failed")
        if self.fail_fast:
            self.stop.set()
            self._cancel_attended()

    def _skip(self, tasks: Iterable[Task], reason: str) -> None:
        stack = [*tasks]
        while stack:
            task = stack.pop()
            if task.state is State.WAITING:
                self.ledger.skip(task, reason)
                self._stop_waiting(task)
                stack.extend(task.behind())

    def _stop_waiting(self, task: Task) -> None:
        task.state = State.FAILED
        task.answers = []
        self._release(task, Reads.NONE)
