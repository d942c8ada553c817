"""`run` and `check`: from options and flags to an answer."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from graphengine.cli.answer import Answer, answer_of
from graphengine.cli.flags import Flag, flags_of, parse_flags
from graphengine.cli.streams import diverted
from graphengine.cli.values import with_sets
from graphengine.errors import WorkflowError

if TYPE_CHECKING:
    from graphengine.cli.interrupts import Interrupts
    from graphengine.cli.options import Options
    from graphengine.cli.progress import Display
    from graphengine.cli.terminal import Terminal
    from graphengine.engine import Engine
    from graphengine.events import Event
    from graphengine.plan import Plan
    from graphengine.report import Report
    from graphengine.workflow import Workflow


@dataclass(frozen=True)
class Opened:
    """A workflow that was found, with the engine that will run it and the flags that its params are."""

    file: str
    engine: Engine
    workflow: Workflow
    flags: Sequence[Flag]

    @property
    def title(self) -> str:
        return self.workflow.title or self.file


def open_workflow(options: Options, taken: Sequence[str]) -> Opened:
    """Find the workflow that the options name. `taken` are the names of options, which params can't have."""
    from graphengine.default import default_engine
    from graphengine.workflow import Workflow, parse_workflow

    with diverted():  # packs are imported, and may print
        engine = default_engine(options.settings(), use_cache=not options.no_cache)
    if options.file == "-":
        found = parse_workflow(sys.stdin.read(), "stdin")
    else:
        opened = engine.open(options.file)
        assert isinstance(opened, Workflow), "a file holds no graph"
        found = opened
    return Opened(
        options.file, engine, found, flags_of(found, engine.registry, engine.files, taken)
    )


def plan_of(opened: Opened, options: Options, arguments: Sequence[str], name: str) -> Plan:
    """The plan for what the options and flags ask for. Raises `WorkflowError` with everything that is wrong."""
    params, issues = parse_flags(opened.flags, arguments, name)
    workflow, more = with_sets(opened.workflow, opened.engine.registry, options.sets)
    issues += more
    try:
        plan = opened.engine.plan(workflow, list(options.targets) or None, **params)
    except WorkflowError as cause:
        raise WorkflowError([*issues, *cause.issues]) from cause
    if issues:
        raise WorkflowError(issues)
    return plan


def check(opened: Opened, plan: Plan, options: Options, terminal: Terminal, quiet: bool) -> Answer:
    """The answer of a plan that is not run."""
    explanations = opened.engine.explain(plan) if options.explain else None
    if not quiet:
        terminal.explanations(explanations or ())
        count = len(plan.steps)
        terminal.print(f"{opened.title}: all is well, {count} {'step' if count == 1 else 'steps'}")
    return Answer("success", explanations=explanations, only_checked=True)


def run(
    opened: Opened,
    plan: Plan,
    options: Options,
    terminal: Terminal,
    interrupts: Interrupts,
    quiet: bool,
) -> Answer:
    """The answer of a plan that is run, shown while it goes on. What nodes print goes to stderr."""
    explanations = opened.engine.explain(plan) if options.explain else None
    if explanations and not quiet:
        terminal.explanations(explanations)
    started = time.perf_counter()
    with display_for(terminal, opened.title) as display, diverted():
        report = execute(
            opened.engine, plan, options.fail_fast, display.show, display.cancelling, interrupts
        )
    answer = answer_of(report, explanations)
    if interrupts.count and answer.status != "success":
        return Answer(
            **{**vars(answer), "status": "cancelled", "seconds": time.perf_counter() - started}
        )
    return answer


def execute(
    engine: Engine,
    plan: Plan,
    fail_fast: bool,
    show: Callable[[Event], None],
    tell: Callable[[], None],
    interrupts: Interrupts,
) -> Report:
    """Run a plan, and cancel it on an interrupt."""

    def emit(event: Event) -> None:
        if interrupts.count:
            engine.cancel()  # again, in case the interrupt came before there was a run
        show(event)

    def cancel() -> None:
        engine.cancel()
        tell()

    with interrupts.cancelling(cancel):
        return asyncio.run(engine.execute(plan, emit, fail_fast=fail_fast))


def display_for(terminal: Terminal, title: str) -> Display:
    from graphengine.cli.progress import Lines, LiveBoard

    return (
        LiveBoard(terminal.notes, title) if terminal.notes.is_terminal else Lines(terminal.stderr)
    )
