"""The standard streams, with what others print kept apart from what a command answers."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import TextIO


@contextlib.contextmanager
def standard_streams() -> Iterator[tuple[TextIO, TextIO]]:
    """Our own way to standard output, and standard error; a stream that is closed is replaced by one to nowhere."""
    with contextlib.ExitStack() as stack:
        nowhere = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
        stdout, stderr = sys.stdout or nowhere, sys.stderr or nowhere
        if descriptor_of(stdout) == 1:
            stdout.flush()
            encoding = stdout.encoding or "utf-8"
            stdout = os.fdopen(os.dup(1), "w", encoding=encoding, errors="backslashreplace")
            stack.callback(_close, stdout)
        for stream in (sys.stdout, stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")
        yield stdout, stderr


@contextlib.contextmanager
def diverted() -> Iterator[None]:
    """What anybody prints goes to standard error, even from below Python."""
    with contextlib.ExitStack() as stack:
        if descriptor_of(sys.stdout) == 1 and descriptor_of(sys.__stderr__) == 2:
            sys.stdout.flush()
            kept = os.dup(1)
            os.dup2(2, 1)
            stack.callback(os.close, kept)
            stack.callback(os.dup2, kept, 1)
        if sys.stderr is not None:
            stack.enter_context(contextlib.redirect_stdout(sys.stderr))
        yield


def _close(stream: TextIO) -> None:
    with contextlib.suppress(OSError):  # what can't be written has been told when it was flushed
        stream.close()


def descriptor_of(stream: TextIO | None) -> int:
    """The number of the file behind a stream, -1 if there is none."""
    try:
        return stream.fileno() if stream is not None else -1
    except (OSError, ValueError, AttributeError):
        return -1
