"""What a command prints for people: problems, failures and notes on stderr, results on stdout."""

from __future__ import annotations

import contextlib
import logging
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, TextIO

from rich.console import Console
from rich.text import Text

if TYPE_CHECKING:
    from graphengine.cli.answer import Answer
    from graphengine.errors import Issue
    from graphengine.events import Failure
    from graphengine.explain import Explanation
    from graphengine.registry import LoadError

MANY = 40
"""Problems that are listed before the rest is only counted."""


class Terminal:
    """Prints to two streams. `debug` adds tracebacks and what libraries warn of."""

    def __init__(self, stdout: TextIO, stderr: TextIO, debug: bool = False) -> None:
        self.stdout = stdout
        self.stderr = stderr
        self.debug = debug
        self.notes = Console(file=stderr, highlight=False, markup=False, soft_wrap=True)

    def print(self, text: str) -> None:
        """A line of the result."""
        print(text, file=self.stdout)

    def note(self, text: str, style: str = "") -> None:
        self.notes.print(Text(text, style))

    @contextlib.contextmanager
    def quiet_libraries(self) -> Iterator[None]:
        """Log warnings become notes; warnings of Python code are for those who debug it."""
        notes = _Notes(self)
        with warnings.catch_warnings():
            if not self.debug and not sys.warnoptions:
                warnings.simplefilter("ignore")
            logging.getLogger().addHandler(notes)
            try:
                yield
            finally:
                logging.getLogger().removeHandler(notes)

    def load_errors(self, errors: Sequence[LoadError]) -> None:
        """Packs that are not there, and why."""
        for error in errors:
            self.note(f"warning: pack {error.origin}: {error.message}", "yellow")
            if self.debug and error.traceback:
                self.note(error.traceback.rstrip())
        if errors and not self.debug and any(error.traceback for error in errors):
            self.note("  --debug shows the traceback")

    def explanations(self, explanations: Sequence[Explanation]) -> None:
        """Per step, whether it is cached or why it runs."""
        width = min(max((len(explained.node) for explained in explanations), default=0), 32)
        for explained in explanations:
            state = "cached" if explained.cached else "runs  "
            style = "dim" if explained.cached else ""
            self.note(f"{state}  {explained.node:{width}}  {explained.reason}".rstrip(), style)

    def issues(self, title: str, issues: Sequence[Issue]) -> None:
        """Everything that is wrong, each with its place and remedy."""
        if len(issues) == 1 and not issues[0].place:
            self._problem(f"error: {issues[0].message}", issues[0].hint)
            return
        count = f"{len(issues)} problems" if len(issues) > 1 else "a problem"
        self.note(f"error: {count} in {title}", "bold red")
        for issue in issues[:MANY]:
            self._problem(
                f"  {issue.place}: {issue.message}" if issue.place else f"  {issue.message}",
                issue.hint,
            )
        if len(issues) > MANY:
            self.note(f"  and {len(issues) - MANY} more; --json lists them all")

    def failure(self, failure: Failure) -> None:
        """One step that failed, with what it was given."""
        place = f"failed: {failure.node} ({failure.type})" if failure.node else "error"
        self._problem(f"{place}: {failure.message}", failure.hint)
        if failure.inputs:
            self.note(
                "    with "
                + ", ".join(f"{name}={value}" for name, value in failure.inputs.items()),
                "dim",
            )
        if self.debug and failure.traceback:
            self.note(failure.traceback.rstrip())
        elif failure.traceback:
            self.note("    --debug shows the traceback", "dim")

    def answer(self, answer: Answer, title: str) -> None:
        """What a run came to: problems and a closing line as notes, then the saved files and named results."""
        if answer.issues:
            self.issues(title, answer.issues)
        for failure in answer.failed[:MANY]:
            self.failure(failure)
        blocked = [
            (node, reason)
            for node, reason in answer.skipped.items()
            if not reason.endswith(" failed")
        ]
        for node, reason in blocked[:MANY]:
            self.note(f"skipped: {node}: {reason}", "yellow")
        if answer.status != "invalid" and not answer.only_checked:
            self.note(
                _closing(answer),
                {"success": "green", "failed": "bold red"}.get(answer.status, "yellow"),
            )
        for name, value in answer.results.items():
            self.print(f"{name} = {value}")
        for output in answer.outputs:
            self.print(output["path"])

    def _problem(self, text: str, hint: str | None) -> None:
        self.note(text, "red")
        if hint:
            indent = " " * (len(text) - len(text.lstrip()) + 4)
            self.note(f"{indent}{hint}")


class _Notes(logging.Handler):
    """Log records as notes, which a live board knows to print above itself."""

    def __init__(self, terminal: Terminal) -> None:
        super().__init__(logging.WARNING)
        self._terminal = terminal

    def emit(self, record: logging.LogRecord) -> None:
        self._terminal.note(f"{record.levelname.lower()}: {record.getMessage()}", "yellow")


def _closing(answer: Answer) -> str:
    word = {"success": "done in", "failed": "failed after", "cancelled": "cancelled after"}[
        answer.status
    ]
    if answer.status == "cancelled" and not answer.seconds:
        return "cancelled"
    ran, cached, skipped = len(answer.executed), len(answer.cached), len(answer.skipped)
    parts = [f"{ran} {'step' if ran == 1 else 'steps'} ran"] if ran or not cached else []
    parts += [f"{cached} cached"] if cached else []
    parts += [f"{len(answer.failed)} failed"] if answer.failed else []
    parts += [f"{skipped} skipped"] if skipped else []
    return f"{word} {answer.seconds:.1f} s: {', '.join(parts)}"
