"""How far a run is: a live board on a terminal, plain lines elsewhere. Both are handed a run's events."""

from __future__ import annotations

import abc
import os
import time
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, TextIO

from graphengine.cli.interrupts import ASK_AGAIN
from graphengine.events import (
    Event,
    RunFinished,
    RunStarted,
    StepFailed,
    StepFinished,
    StepProgress,
    StepSkipped,
    StepStarted,
)

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

WORTH_A_LINE = 0.1
BETWEEN_LINES = 5.0


class Display(AbstractContextManager["Display"]):
    """Shows the events of one run."""

    @abc.abstractmethod
    def show(self, event: Event) -> None:
        """Take one event in. Called for every one, so it does little."""

    @abc.abstractmethod
    def cancelling(self) -> None:
        """Say that the run is being cancelled. Called by a signal handler: takes no lock and writes no buffer."""


class Activity:
    """A step that is running: how far it is and how fast."""

    def __init__(self, node: str) -> None:
        self.node = node
        self.started = time.perf_counter()
        self.done = self.total = 0.0
        self.note = ""
        self._first = (self.started, 0.0)

    def advance(self, event: StepProgress) -> None:
        if not self.total or event.total != self.total or event.done < self.done:
            self._first = (time.perf_counter(), event.done)  # another stage of the step begins
        self.done, self.total, self.note = event.done, event.total, event.note

    @property
    def rate(self) -> float:
        """Units per second, 0 while it is not known."""
        since, before = self._first
        elapsed = time.perf_counter() - since
        return (self.done - before) / elapsed if elapsed > 0 and self.done > before else 0.0

    def words(self) -> str:
        """`12/20, 3.1 it/s, 3 s left`."""
        parts = [f"{self.done:g}/{self.total:g}"] if self.total else []
        if rate := self.rate:
            parts.append(f"{rate:.1f} it/s" if rate >= 1 else f"{1 / rate:.1f} s/it")
            if self.done < self.total:
                parts.append(f"{(self.total - self.done) / rate:.0f} s left")
        return ", ".join([*parts, self.note] if self.note else parts)


class Tally:
    """What the events of a run add up to so far."""

    def __init__(self) -> None:
        self.steps = 0
        self.done = 0
        self.active: dict[str, Activity] = {}

    def take(self, event: Event) -> None:
        match event:
            case RunStarted():
                self.steps = event.steps
            case StepStarted():
                self.active[event.node] = Activity(event.node)
            case StepProgress():
                self.active.setdefault(event.node, Activity(event.node)).advance(event)
            case StepFinished() | StepFailed() | StepSkipped():
                self.active.pop(event.node, None)
                self.done += 1
                if "#" in event.node:
                    self.steps += 1  # it grew in the run, out of an answer
            case RunFinished():
                self.active.clear()


class LiveBoard(Display):
    """A board at the bottom of a terminal: the run, and the steps that are running."""

    def __init__(self, console: Console, title: str) -> None:
        from rich.live import Live

        self._tally = Tally()
        self._title = title or "running"
        self._started = time.perf_counter()
        self._cancelling = False
        self._live = Live(self, console=console, refresh_per_second=8, transient=True)

    def __enter__(self) -> LiveBoard:
        self._live.start()
        return self

    def __exit__(self, *cause: object) -> None:
        self._live.stop()

    def show(self, event: Event) -> None:
        self._tally.take(event)

    def cancelling(self) -> None:
        self._cancelling = True

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        tally = self._tally
        board = Table.grid(padding=(0, 2))
        board.add_column(max_width=28, no_wrap=True, overflow="ellipsis")
        board.add_column(width=24)
        board.add_column(no_wrap=True, overflow="ellipsis")
        seconds = time.perf_counter() - self._started
        total = max(tally.steps, 1)
        title = Text("cancelling…", "yellow") if self._cancelling else Text(self._title, "bold")
        figures = f"{tally.done}/{tally.steps} steps  {seconds:.0f} s"
        board.add_row(
            title,
            ProgressBar(total=total, completed=min(tally.done, total), width=24),
            Text(figures),
        )
        for activity in list(tally.active.values())[-3:]:
            bar = ProgressBar(
                total=activity.total or None,
                completed=activity.done,
                width=24,
                pulse=not activity.total,
            )
            board.add_row(Text(f"  {activity.node}", "cyan"), bar, Text(activity.words(), "dim"))
        if self._cancelling:
            board.add_row(Text("  Ctrl-C again ends at once", "dim"), "", "")
        yield board


class Lines(Display):
    """A line for each step that takes a while, and now and then one for how far it is."""

    def __init__(self, stream: TextIO) -> None:
        self._tally = Tally()
        self._stream = stream
        self._last = time.perf_counter()

    def __exit__(self, *cause: object) -> None:
        pass

    def show(self, event: Event) -> None:
        if isinstance(event, StepProgress):
            now = time.perf_counter()
            self._tally.take(event)
            if now - self._last >= BETWEEN_LINES:
                self._last = now
                print(
                    f"{event.node}: {self._tally.active[event.node].words()}",
                    file=self._stream,
                    flush=True,
                )
            return
        self._tally.take(event)
        if isinstance(event, StepFinished) and not event.cached and event.seconds >= WORTH_A_LINE:
            self._last = time.perf_counter()
            print(
                f"{event.node} ({event.type}): {event.seconds:.1f} s", file=self._stream, flush=True
            )

    def cancelling(self) -> None:
        os.write(2, ASK_AGAIN)
