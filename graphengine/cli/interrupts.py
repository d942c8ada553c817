"""What Ctrl-C does: the first one cancels, the second one ends the process at once."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

SHOW_CURSOR = b"\x1b[?25h"
ASK_AGAIN = b"cancelling at the next progress report; Ctrl-C again ends at once\n"


class Interrupts:
    """Takes SIGINT and SIGTERM of the process.

    Outside a run the first one is a `KeyboardInterrupt`. Within `cancelling(...)` it calls that function, once per
    signal, and the run comes to its own end. After `finish` it is ignored. Every further one ends the process hard,
    with `last_words` written to the file descriptor `stdout`.
    """

    def __init__(self, last_words: bytes = b"", stdout: int = 1) -> None:
        self.count = 0
        self._cancel: Callable[[], None] | None = None
        self._finished = False
        self._last_words = last_words
        self._stdout = stdout

    def __call__(self, number: int, frame: Any) -> None:
        self.count += 1
        if self.count > 1:
            self._end()
        elif self._cancel is not None:
            self._cancel()
        elif not self._finished:
            raise KeyboardInterrupt

    def check(self) -> None:
        """Raise `KeyboardInterrupt` if there was one that somebody swallowed."""
        if self.count:
            raise KeyboardInterrupt

    def finish(self) -> None:
        """From here on only the answer is written."""
        self._finished = True

    @contextmanager
    def cancelling(self, cancel: Callable[[], None]) -> Iterator[None]:
        """Call `cancel` for an interrupt that comes while this is open."""
        self._cancel = cancel
        try:
            self.check()
            yield
        finally:
            self._cancel = None

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Be the handler of the process."""
        numbers = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, self) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _end(self) -> None:
        if sys.stderr.isatty():
            os.write(2, SHOW_CURSOR)
        if not self._finished and self._last_words:
            os.write(self._stdout, self._last_words)
        os._exit(130)
