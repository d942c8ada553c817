"""The unit of a run's bookkeeping: all steps of one signature."""

from __future__ import annotations

import enum
import time
from typing import Any

from graphengine.plan import Step
from graphengine.ref import Blocked


class State(enum.IntEnum):
    """NEW: known but not wanted. WAITING: for inputs or answers. RELEASED: done, results dropped as
    all have read them.
    """

    NEW = 0
    WAITING = 1
    DONE = 2
    RELEASED = 3
    FAILED = 4


class Reads(enum.IntEnum):
    """Which of its links a task has yet to read, so that their results are kept for it."""

    NONE = 0
    DEFERRED = 1
    ALL = 2


class Task:
    """A step in a run. Two equal steps are one task with two names."""

    __slots__ = (
        "answers",  # outputs of each call, with gaps where an answer is still to come
        "dependents",  # tasks that wait for the results, once per link
        "keep",  # results are part of the report
        "names",  # ids of the workflow, or root/id#number in a dynamic graph
        "pending",  # calls and answers still to come
        "readers",  # links and answers that have yet to read the results
        "reads",  # which links are counted as readers of their sources
        "results",  # outputs, while somebody needs them
        "root",  # the id in the workflow from which it grew
        "started",  # when its first call began
        "state",
        "step",
        "volatile",  # something without cache took part, so the results are not kept either
        "waiters",  # (task, call, output, our output) that take one of our outputs as their answer
        "waiting",  # inputs still to come
    )

    def __init__(self, step: Step, name: str, root: str) -> None:
        self.step = step
        self.names = [name]
        self.root = root
        self.state = State.NEW
        self.results: tuple[Any, ...] | None = None
        self.waiting = 0
        self.dependents: list[Task] = []
        self.waiters: list[tuple[Task, int, int, int]] = []
        self.readers = 0
        self.reads = Reads.NONE
        self.volatile = step.volatile
        self.keep = False
        self.answers: list[list[Any]] = []
        self.pending = 0
        self.started = 0.0

    @property
    def name(self) -> str:
        return self.names[0]

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self.started if self.started else 0.0

    def behind(self) -> list[Task]:
        """The tasks that can't have results without this one's."""
        return [*(waiter for waiter, *_ in self.waiters), *self.dependents]

    def collect(self) -> tuple[Any, ...]:
        """The outputs of the step out of its calls' answers: lists where it was mapped, joined if
        they were lists.
        """
        if not self.step.mapped:
            return tuple(self.answers[0])
        outputs = []
        for index, output in enumerate(self.step.spec.outputs):
            items = [answer[index] for answer in self.answers]
            if output.many:
                parts = [part for part in items if not isinstance(part, Blocked)]
                items = [item for part in parts for item in as_list(part)]
            outputs.append(items)
        return tuple(outputs)


def as_list(value: Any) -> list[Any]:
    """What comes over a link that may give a list: after a branch, it may be a single value as
    well.
    """
    return value if isinstance(value, list) else [value]
