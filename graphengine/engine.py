"""The engine: a registry, a cache and a worker behind `plan`, `execute` and `run`."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import queue
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from graphengine.cache import Cache
from graphengine.check import loose_ends
from graphengine.errors import FileError, Issue, WorkflowError, nearest
from graphengine.events import Emit, Event, RunFinished, RunStarted
from graphengine.explain import Explanation, History, explain
from graphengine.files import Files
from graphengine.plan import Plan, Step
from graphengine.planner import Planner
from graphengine.ref import Ref
from graphengine.registry import Registry
from graphengine.report import Report
from graphengine.run import Run
from graphengine.worker import Worker
from graphengine.workflow import Graph, Workflow, read_workflow

Source = Workflow | Graph | Path | str
"""A workflow, a graph, the path of a file that holds one (JSON or PNG), or the name of a workflow
in its folder.
"""


@contextlib.contextmanager
def collector_paused() -> Iterator[None]:
    """Planning makes many objects and hardly any garbage: to search them for it again and again
    takes longer than the plan.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


class Engine:
    """Plans and runs workflows. `digest` names the content of a live Python value in a graph."""

    def __init__(
        self,
        registry: Registry,
        cache: Cache,
        worker: Worker,
        files: Files,
        digest: Callable[[Any], str],
        history: History | None = None,
    ) -> None:
        self.registry = registry
        self.cache = cache
        self.worker = worker
        self.files = files
        self.history = history or History()
        self._planner = Planner(registry, files, digest)
        self._runs: set[Run] = set()

    def open(self, source: Source) -> Workflow | Graph:
        """The workflow that a source names. Raises `FileError` or `WorkflowError`."""
        if isinstance(source, (Workflow, Graph)):
            return source
        path = Path(source)
        # Path.exists raises for a long name
        if path.suffix or "\0" in str(path) or os.path.exists(path):
            return read_workflow(path)
        try:
            file = self.files.resolve("workflows", f"{source}.json")
        except FileError as cause:
            known = []
            if "workflows" in self.files.folders:
                names = self.files.names("workflows", (".json",))
                known = [name.removesuffix(".json") for name in names]
            hint = nearest(str(source), known) or f"by name there are: {', '.join(known) or 'none'}"
            raise FileError(f"there is no file and no workflow {str(source)!r}", hint) from cause
        return read_workflow(file)

    @collector_paused()
    def plan(self, source: Source, targets: Sequence[str] | None = None, /, **params: Any) -> Plan:
        """Check a workflow and say what would run.

        `targets` are ids of nodes; without them, the sinks and named outputs, or else the nodes
        that nothing reads. Raises `WorkflowError` with all problems of what the targets need (of
        the whole workflow without targets).
        """
        workflow = self.open(source)
        if isinstance(workflow, Workflow):
            workflow = workflow.with_params(params)
            outputs = workflow.outputs
            issues = loose_ends(workflow, self.registry)
        else:
            result = workflow.result
            named = result._asdict() if hasattr(result, "_asdict") else {"result": result}
            outputs = {name: str(ref) for name, ref in named.items() if isinstance(ref, Ref)}
            issues = []
        drafts = list(workflow.drafts())
        known = {draft.id for draft in drafts}
        for target in targets or ():
            if target not in known:
                hint = nearest(target, known)
                message = f"there is no node {target!r} to run"
                issues.append(Issue("unknown_target", message, hint=hint))
        try:
            wanted = [name for name in targets if name in known] if targets is not None else None
            steps = self._planner.steps(drafts, wanted=wanted)
        except WorkflowError as cause:
            raise WorkflowError([*issues, *cause.issues]) from None
        if issues:
            raise WorkflowError(issues)
        named_steps = _outputs(outputs, steps)
        return Plan(
            steps=steps,
            targets=tuple(steps[name] for name in dict.fromkeys(targets))
            if targets is not None
            else _targets(steps, named_steps),
            outputs=named_steps,
            source=workflow,
            title=workflow.title if isinstance(workflow, Workflow) else "",
        )

    async def execute(
        self, plan: Plan, emit: Emit | None = None, *, fail_fast: bool = False
    ) -> Report:
        """Run a plan. Failures and cancellation are told by the report.

        Cancelling the coroutine cancels the run.
        """
        return await self._execute(self._new_run(plan, emit, fail_fast))

    def run(
        self,
        source: Source,
        targets: Sequence[str] | None = None,
        /,
        *,
        emit: Emit | None = None,
        fail_fast: bool = False,
        **params: Any,
    ) -> Report:
        """Plan and run, and wait for it.

        Raises `WorkflowError` before the run and `RunError` if a step failed. If it was cancelled,
        the report says so.
        """
        plan = self.plan(source, targets, **params)
        return _wait_for(self.execute(plan, emit, fail_fast=fail_fast)).checked()

    def events(self, source: Source, /, **params: Any) -> Iterator[Event]:
        """Plan and run, and iterate over what happens; `RunFinished` with the report comes last.

        The run begins with the first `next`. Leaving the iteration cancels it.
        """
        plan = self.plan(source, **params)
        events: queue.SimpleQueue[Event | BaseException] = queue.SimpleQueue()
        return self._iterate(self._new_run(plan, events.put), events)

    def cancel(self) -> None:
        """Cancel all runs of this engine, from any thread. Each stops at its next report."""
        for run in list(self._runs):
            run.cancel()

    def explain(self, plan: Plan) -> list[Explanation]:
        """For each step, whether it is cached and, if not, what differs from its last run."""
        return explain(plan, self.cache, self.history)

    def _new_run(self, plan: Plan, emit: Emit | None, fail_fast: bool = False) -> Run:
        return Run(plan, self._planner, self.cache, self.worker, emit, fail_fast)

    async def _execute(self, run: Run) -> Report:
        run.ledger.tell(RunStarted(len(run.plan.steps)))
        self._runs.add(run)
        running = asyncio.ensure_future(run.execute())
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            run.cancel()
            await asyncio.wait([running])  # a device is not used again before the call has ended
            raise
        finally:
            self._runs.discard(run)
            if running.done() and not running.cancelled() and not running.exception():
                report = running.result()
                await asyncio.to_thread(self._settle, run.plan, report)
                run.ledger.tell(RunFinished(report.status, report.seconds, report))

    def _settle(self, plan: Plan, report: Report) -> None:
        """Wait for the disk, beside the event loop."""
        self.history.record(plan, report)
        self.cache.flush()

    def _iterate(
        self, run: Run, events: queue.SimpleQueue[Event | BaseException]
    ) -> Iterator[Event]:
        def work() -> None:
            try:
                asyncio.run(self._execute(run))
            except BaseException as cause:
                events.put(cause)

        thread = threading.Thread(target=work, name="graphengine-run")
        thread.start()
        try:
            while True:
                event = events.get()
                if isinstance(event, BaseException):
                    raise event
                yield event
                if isinstance(event, RunFinished):
                    return
        finally:
            if thread.is_alive():
                run.cancel()
            thread.join()


def _wait_for(report: Coroutine[Any, Any, Report]) -> Report:
    """Run to the end, in a thread of its own if this one has an event loop (in a notebook)."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(report)
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, report).result()


def _outputs(outputs: dict[str, str], steps: dict[str, Step]) -> dict[str, tuple[Step, int]]:
    found: dict[str, tuple[Step, int]] = {}
    for name, place in outputs.items():
        node, _, output = place.rpartition(".")
        if node in steps:  # else it is left out, as other targets were asked for
            found[name] = (steps[node], steps[node].spec.output_index[output])
    return found


def _targets(steps: dict[str, Step], outputs: dict[str, tuple[Step, int]]) -> tuple[Step, ...]:
    wanted = {step.id for step in steps.values() if step.spec.sink} | {
        step.id for step, _ in outputs.values()
    }
    if not wanted:
        wanted = set(steps) - {
            link.source.id for step in steps.values() for link in step.links.values()
        }
    return tuple(step for step in steps.values() if step.id in wanted)
