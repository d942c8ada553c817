"""The engine: a registry, a cache and a worker behind three methods, `plan`, `execute` and `run`."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from graphengine.cache import Cache
from graphengine.errors import FileError, Issue, WorkflowError, nearest
from graphengine.events import Emit, Event, RunFinished, RunStarted
from graphengine.explain import Explanation, History, explain
from graphengine.files import Files
from graphengine.plan import Plan, Planner, Step
from graphengine.ref import Ref
from graphengine.registry import Registry
from graphengine.report import Report
from graphengine.run import Run
from graphengine.worker import Worker
from graphengine.workflow import Graph, Workflow, read_workflow

Source = Workflow | Graph | Path | str
"""A workflow, a graph, the path of a file that holds one (JSON or PNG), or the name of a workflow in its folder."""


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
        if path.suffix or path.exists():
            return read_workflow(path)
        try:
            return read_workflow(self.files.resolve("workflows", f"{source}.json"))
        except FileError as cause:
            known = [name.removesuffix(".json") for name in self.files.names("workflows", (".json",))]
            hint = nearest(str(source), known) or f"bundled: {', '.join(known)}"
            raise FileError(f"there is no file and no workflow {str(source)!r}", hint) from cause

    def plan(self, source: Source, targets: Sequence[str] | None = None, /, **params: Any) -> Plan:
        """Check a workflow and say what would run.

        `targets` are ids of nodes; without them, the sinks and named outputs, or else the nodes that nothing reads.
        Raises `WorkflowError` with all problems of what the targets need (of the whole workflow without targets).
        """
        workflow = self.open(source)
        if isinstance(workflow, Workflow):
            workflow = workflow.with_params(params)
            outputs = workflow.outputs
            issues = _loose_ends(workflow)
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
                issues.append(Issue("unknown_target", f"there is no node {target!r} to run", hint=hint))
        try:
            wanted = [target for target in targets if target in known] if targets is not None else None
            steps = self._planner.steps(drafts, wanted=wanted)
        except WorkflowError as cause:
            raise WorkflowError([*issues, *cause.issues]) from None
        if issues:
            raise WorkflowError(issues)
        named_steps = _outputs(outputs, steps)
        return Plan(
            steps=steps,
            targets=tuple(steps[name] for name in targets) if targets is not None else _targets(steps, named_steps),
            outputs=named_steps,
            source=workflow,
            title=workflow.title if isinstance(workflow, Workflow) else "",
        )

    async def execute(self, plan: Plan, emit: Emit | None = None, *, fail_fast: bool = False) -> Report:
        """Run a plan. Failures and cancellation are told by the report; cancelling the coroutine cancels the run."""
        run = Run(plan, self._planner, self.cache, self.worker, emit, fail_fast)
        if emit is not None:
            emit(RunStarted(len(plan.steps)))
        self._runs.add(run)
        running = asyncio.ensure_future(run.execute())
        try:
            report = await asyncio.shield(running)
        except asyncio.CancelledError:
            run.cancel()
            await running  # the device is not used again before the call on it has ended
            raise
        finally:
            self._runs.discard(run)
            self.history.record(plan)
            self.cache.flush()
        if emit is not None:
            emit(RunFinished(report.status, report.seconds, report))
        return report

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
        """Plan and run, and wait for it. Raises `WorkflowError` before the run and `RunError` if a step failed."""
        plan = self.plan(source, targets, **params)
        return asyncio.run(self.execute(plan, emit, fail_fast=fail_fast)).checked()

    def events(self, source: Source, /, **params: Any) -> Iterator[Event]:
        """Plan and run, and iterate over what happens; `RunFinished` with the report comes last.

        Leaving the iteration cancels the run.
        """
        plan = self.plan(source, **params)
        events: queue.SimpleQueue[Event | BaseException] = queue.SimpleQueue()

        def work() -> None:
            try:
                asyncio.run(self.execute(plan, events.put))
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
                self.cancel()
            thread.join()

    def cancel(self) -> None:
        """Cancel every run of this engine, from any thread. Each stops at its next progress report."""
        for run in list(self._runs):
            run.cancel()

    def explain(self, plan: Plan) -> list[Explanation]:
        """For each step, whether it is cached and, if not, what differs from its last run."""
        return explain(plan, self.cache, self.history)


def _loose_ends(workflow: Workflow) -> list[Issue]:
    """Params and named outputs that lead to nodes which do not exist. (An unknown input is the planner's to find.)"""
    issues = []
    places = [(f"params.{name}", to) for name, param in workflow.params.items() for to in param.to]
    places += [(f"outputs.{name}", output) for name, output in workflow.outputs.items()]
    for where, place in places:
        node = place.rpartition(".")[0]
        if node not in workflow.nodes:
            hint = nearest(node, workflow.nodes) or 'write "node.name"'
            issues.append(Issue("unknown_node", f"{where} leads to {place!r}, but there is no such node", hint=hint))
    return issues


def _outputs(outputs: dict[str, str], steps: dict[str, Step]) -> dict[str, tuple[Step, int]]:
    found: dict[str, tuple[Step, int]] = {}
    issues = []
    for name, place in outputs.items():
        node, _, output = place.rpartition(".")
        if node not in steps:
            continue  # left out, as other targets were asked for
        index = steps[node].spec.output_index.get(output)
        if index is None:
            hint = f"{node} has: {', '.join(steps[node].spec.output_index) or 'no outputs'}"
            issues.append(Issue("unknown_output", f"outputs.{name} leads to {place!r}", node, hint=hint))
        else:
            found[name] = (steps[node], index)
    if issues:
        raise WorkflowError(issues)
    return found


def _targets(steps: dict[str, Step], outputs: dict[str, tuple[Step, int]]) -> tuple[Step, ...]:
    wanted = {step.id for step in steps.values() if step.spec.sink} | {step.id for step, _ in outputs.values()}
    if not wanted:
        wanted = set(steps) - {link.source.id for step in steps.values() for link in step.links.values()}
    return tuple(step for step in steps.values() if step.id in wanted)
