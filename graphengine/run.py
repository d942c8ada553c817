"""One run of a plan, owned by one event loop.

State, all of it:
    tasks    signature -> task; equal steps are one task
    known    "#7" -> step, for the refs that were handed to nodes
    ready    tasks whose inputs are all there; the last made ready runs first, which keeps few results alive
    calls    (task, index, inputs) that wait for a slot
    active   calls being made now
    attended tasks of the event loop that attend to async nodes
What happens: targets are demanded; a demanded task asks the cache, or demands its sources and waits; a ready task is
opened into calls (several if it is mapped over a list); an answer is a value, or a ref whose task is demanded and
waited for. A finished task counts down those that wait for it. Work lists, never recursion, carry this on.
"""

from __future__ import annotations

import asyncio
import threading
import time
import traceback
from collections.abc import Mapping
from typing import Any

from graphengine.cache import Cache
from graphengine.errors import Cancelled, GraphEngineError, WorkflowError
from graphengine.events import Emit, Failure, StepFailed, StepFinished, StepSkipped, StepStarted
from graphengine.files import Artifact
from graphengine.gather import NoInputs, calls_of, outputs_of
from graphengine.outcome import outcome
from graphengine.plan import Plan, Planner, Step
from graphengine.ref import Blocked, Ref
from graphengine.report import Report, clip
from graphengine.task import State, Task
from graphengine.worker import Call, Worker
from graphengine.workflow import Graph


def silent(event: Any) -> None:
    """Emit to nobody."""


class Run:
    """Runs a plan once. `cancel` may be called from any thread."""

    def __init__(
        self, plan: Plan, planner: Planner, cache: Cache, worker: Worker, emit: Emit | None = None, fail_fast: bool = False
    ) -> None:
        self.plan = plan
        self.planner = planner
        self.cache = cache
        self.worker = worker
        self.emit = emit or silent
        self.fail_fast = fail_fast
        self.stop = threading.Event()
        self.cancelled = False
        self.tasks: dict[str, Task] = {}
        self.known: dict[str, Step] = {}
        self.ready: list[Task] = []
        self.calls: list[tuple[Task, int, dict[str, Any]]] = []
        self.active = 0
        self.attended: set[asyncio.Task[None]] = set()
        self.executed: dict[str, None] = {}
        self.hits: dict[str, None] = {}
        self.skipped: dict[str, str] = {}
        self.failures: list[Failure] = []
        self._handles: dict[Step, str] = {}
        self._grown = 0
        self._wake = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    def cancel(self) -> None:
        """Stop at the next progress report. What is finished stays in the cache."""
        self.cancelled = True
        self.stop.set()
        if self._loop is not None:
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
            for task in [task for task in self.tasks.values() if task.state is State.WAITING]:
                self._fail(task, GraphEngineError("it waits for its own result", "a dynamic answer links in a circle"))
        return outcome(self, time.perf_counter() - started)

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
                else:
                    await self._attend(task, index, inputs)
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
        attended.add_done_callback(self.attended.discard)

    def _cancel_attended(self) -> None:
        for attended in self.attended:
            attended.cancel()
        self._wake.set()

    async def _attend(self, task: Task, index: int, inputs: dict[str, Any]) -> None:
        """Make one call and take its answer. Whatever goes wrong in it is the task's failure."""
        try:
            if task.state is State.FAILED:
                return
            call = Call(task.name, task.step.spec, inputs, self.stop, self.plan.resolved)
            answer = await self.worker.run(call, self.emit)
            self._answered(task, index, answer)
        except (Cancelled, asyncio.CancelledError) as cause:
            if not self.stop.is_set():
                self._fail(task, cause, inputs)
        except (Exception, SystemExit, KeyboardInterrupt, GeneratorExit) as cause:
            self._fail(task, cause, inputs)
        finally:
            self.active -= 1
            self._wake.set()

    def _task(self, step: Step, name: str, root: str) -> Task:
        task = self.tasks.get(step.signature)
        if task is None:
            task = self.tasks[step.signature] = Task(step, name, root)
        return task

    def _demand(self, tasks: list[Task]) -> None:
        """See to it that these tasks get their results: from the cache, or by running what they need."""
        stack = [task for task in reversed(tasks) if task.state in (State.NEW, State.RELEASED)]
        while stack:
            task = stack.pop()
            if task.state not in (State.NEW, State.RELEASED):
                continue
            task.state = State.WAITING
            results = self._cached(task)
            if results is not None:
                for name in task.names:
                    self.hits[name] = None
                self._finish(task, results, cached=True)
                continue
            for link in reversed(task.step.links.values()):
                source = self._task(link.source, link.source.id, task.root)
                source.readers += 1
                if link.deferred:
                    continue
                if source.state is State.FAILED:
                    self._skip([task], f"{source.name} failed")
                    break
                if source.state is not State.DONE:
                    task.waiting += 1
                    source.dependents.append(task)
                    stack.append(source)
            else:
                if not task.waiting:
                    self.ready.append(task)

    def _cached(self, task: Task) -> tuple[Any, ...] | None:
        if not task.step.spec.cache:
            return None
        results = self.cache.get(task.step.signature)
        if results is not None and task.step.spec.sink:
            files = [item for value in results for item in (value if isinstance(value, list) else [value])]
            if not all(item.is_whole() for item in files if isinstance(item, Artifact)):
                return None
        return results

    def _open(self, task: Task) -> None:
        """Turn a ready task into its calls."""
        if task.state is not State.WAITING:
            return
        try:
            calls = calls_of(task, self.tasks, self._handle)
        except NoInputs as blocked:
            self._release(task, deferred=False)
            for name in task.names:
                self.skipped[name] = blocked.reason
                self.emit(StepSkipped(name, task.step.spec.id, blocked.reason))
            self._finish(task, tuple(Blocked(blocked.reason) for _ in task.step.spec.outputs), cached=None)
            return
        except (ValueError, GraphEngineError) as cause:
            self._fail(task, cause)
            return
        self._release(task, deferred=False)
        for name in task.names:
            self.executed[name] = None
            self.emit(StepStarted(name, task.step.spec.id))
        task.started = time.perf_counter()
        width = len(task.step.spec.outputs)
        task.answers = [[inputs] * width if isinstance(inputs, Blocked) else [] for inputs in calls]
        made = [(task, index, inputs) for index, inputs in enumerate(calls) if not isinstance(inputs, Blocked)]
        task.pending = len(made)
        if made:
            self.calls.extend(reversed(made))
        else:
            self._finish(task, task.collect())

    def _handle(self, step: Step) -> str:
        handle = self._handles.get(step)
        if handle is None:
            handle = self._handles[step] = f"#{len(self._handles)}"
            self.known[handle] = step
        return handle

    def _answered(self, task: Task, index: int, answer: Any) -> None:
        if task.state is not State.WAITING:
            return
        steps: Mapping[str, Step] = {}
        number = ""
        if isinstance(answer, Graph):
            self._grown += 1
            number = f"#{self._grown}"
            steps = self.planner.steps(answer.drafts(), self.known)
            answer = answer.result
        outputs = outputs_of(task.step, answer)
        task.answers[index] = outputs
        demanded = [
            self._task(step, f"{task.root}/{step.id}{number}", task.root) for step in steps.values() if step.spec.sink
        ]
        for position, value in enumerate(outputs):
            if not isinstance(value, Ref):
                continue
            step = steps.get(value.step) or self.known.get(value.step)
            if step is None or value.output not in step.spec.output_index:
                hint = "answer with a ref that was given to the node, or one of the graph it answers with"
                raise GraphEngineError(f"it answers with {value}, which it was not given", hint)
            source = self._task(step, f"{task.root}/{step.id}{number}", task.root)
            output = step.spec.output_index[value.output]
            if source.state is State.DONE:
                outputs[position] = source.results[output]  # type: ignore[index]
            elif source.state is State.FAILED:
                self._skip([task], f"{source.name} failed")
                return
            else:
                task.pending += 1
                source.readers += 1
                source.waiters.append((task, index, position, output))
                demanded.append(source)
        for step in steps.values():
            self._task(step, f"{task.root}/{step.id}{number}", task.root)
        self._demand(demanded)
        task.pending -= 1
        if not task.pending and task.state is State.WAITING:
            self._finish(task, task.collect())

    def _finish(self, task: Task, results: tuple[Any, ...], cached: bool | None = False) -> None:
        """A task has its results: store them, and count down everybody who waits. `cached=None`: it was blocked."""
        stack = [(task, results, cached)]
        while stack:
            task, results, cached = stack.pop()
            task.state, task.results = State.DONE, results
            if cached is not None:
                for name in task.names:
                    self.emit(StepFinished(name, task.step.spec.id, task.seconds, cached))
            if cached is not True:
                self._release(task, deferred=True)
            if cached is False and task.step.spec.cache and not any(isinstance(v, Blocked) for v in results):
                self.cache.put(task.step.signature, results)
            for dependent in task.dependents:
                dependent.waiting -= 1
                if not dependent.waiting and dependent.state is State.WAITING:
                    self.ready.append(dependent)
            for waiter, index, position, output in task.waiters:
                task.readers -= 1
                waiter.answers[index][position] = results[output]
                waiter.pending -= 1
                if not waiter.pending and waiter.state is State.WAITING:
                    stack.append((waiter, waiter.collect(), False))
            task.dependents, task.waiters, task.answers = [], [], []
            self._drop(task)

    def _release(self, task: Task, deferred: bool) -> None:
        """A task has read its links of one kind."""
        for link in task.step.links.values():
            if link.deferred is deferred:
                source = self.tasks[link.source.signature]
                source.readers -= 1
                self._drop(source)

    def _drop(self, task: Task) -> None:
        if not task.keep and task.readers <= 0 and task.state is State.DONE:
            task.state, task.results = State.RELEASED, None

    def _fail(self, task: Task, cause: BaseException, inputs: Mapping[str, Any] | None = None) -> None:
        """A task failed: report it, and stop what depends on it and nothing else."""
        if task.state is State.FAILED:
            return
        ours = isinstance(cause, GraphEngineError)
        message = cause.message if isinstance(cause, GraphEngineError) else f"{type(cause).__name__}: {cause}"
        if isinstance(cause, WorkflowError):
            message = f"its answer can't be run: {'; '.join(map(str, cause.issues))}"
        failure = Failure(
            node=task.name,
            type=task.step.spec.id,
            code=cause.code if isinstance(cause, GraphEngineError) else "exception",
            message=message,
            hint=cause.hint if isinstance(cause, GraphEngineError) else None,
            inputs={name: clip(value) for name, value in (inputs or {}).items()},
            traceback="" if ours else "".join(traceback.format_exception(cause)),
        )
        self.failures.append(failure)
        self.emit(StepFailed(failure))
        task.state = State.FAILED
        for name in task.names:
            self.executed.pop(name, None)
        self._skip([waiter for waiter, *_ in task.waiters] + task.dependents, f"{task.name} failed")
        if self.fail_fast:
            self.stop.set()
            self._cancel_attended()

    def _skip(self, tasks: list[Task], reason: str) -> None:
        stack = list(reversed(tasks))
        while stack:
            task = stack.pop()
            if task.state is State.FAILED:
                continue
            task.state = State.FAILED
            for name in task.names:
                self.skipped[name] = reason
                self.executed.pop(name, None)
                self.emit(StepSkipped(name, task.step.spec.id, reason))
            stack.extend(reversed([waiter for waiter, *_ in task.waiters] + task.dependents))
