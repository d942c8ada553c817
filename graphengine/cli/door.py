"""The way in: whatever happens in a command becomes one answer and one exit code, and no traceback."""

from __future__ import annotations

import contextlib
import os
import traceback
from collections.abc import Sequence

import typer

import graphengine.cli.grid  # noqa: F401 - a command in a module of its own
from graphengine.cli.answer import Answer, invalid
from graphengine.cli.commands import NAME, Session, app
from graphengine.cli.interrupts import Interrupts
from graphengine.cli.streams import descriptor_of, diverted, standard_streams
from graphengine.cli.terminal import Terminal
from graphengine.errors import GraphEngineError, Issue, WorkflowError
from graphengine.events import Failure


def enter(arguments: Sequence[str]) -> int:
    """Serve one command line. Returns the exit code."""
    as_json = "--json" in arguments
    with standard_streams() as (stdout, stderr):
        terminal = Terminal(
            stdout,
            stderr,
            debug="--debug" in arguments or bool(os.environ.get("GRAPHENGINE_DEBUG")),
        )
        words = (Answer("cancelled").json() + "\n").encode() if as_json else b""
        interrupts = Interrupts(words, descriptor_of(stdout))
        session = Session(terminal, interrupts, as_json)
        with interrupts.installed():
            try:
                with diverted() if as_json else contextlib.nullcontext():
                    _serve(session, arguments)
                stdout.flush()
            except BrokenPipeError:  # whoever read has read enough
                session.code = session.code or 1
            except OSError as cause:
                terminal.note(f"error: the answer can't be written: {cause.strerror}", "red")
                session.code = session.code or 1
        return session.code


def _serve(session: Session, arguments: Sequence[str]) -> None:
    command = typer.main.get_command(app)
    try:
        with session.terminal.quiet_libraries():
            code = command.main(list(arguments), prog_name=NAME, standalone_mode=False, obj=session)
        if code == 130:  # typer's way to tell of a KeyboardInterrupt
            session.give(Answer("cancelled"), "")
        elif isinstance(code, int):
            session.code = code
    except SystemExit as cause:  # shell completion
        session.code = cause.code if isinstance(cause.code, int) else 2
    except (KeyboardInterrupt, typer.Abort):
        session.give(Answer("cancelled"), "")
    except typer.TyperException as cause:
        words = [
            word for word in [*arguments[:1], session.title] if word and not word.startswith("-")
        ]
        hint = f"`{' '.join([NAME, *words])} --help` tells what can be given"
        session.give(
            invalid(
                WorkflowError([Issue("bad_argument", cause.format_message().strip(), hint=hint)])
            ),
            "",
        )
    except GraphEngineError as cause:
        if session.terminal.debug:
            session.terminal.note(traceback.format_exc().rstrip(), "dim")
        session.give(invalid(cause), session.title)
    except Exception as cause:
        if session.answered:  # and that is what failed
            raise
        _internal(session, cause)


def _internal(session: Session, cause: Exception) -> None:
    message = f"an error inside {NAME}: {type(cause).__name__}: {cause}"
    hint = (
        "please report it with what --debug shows"
        if not session.terminal.debug
        else "please report it"
    )
    failure = Failure("", NAME, "internal", message, hint, traceback=traceback.format_exc())
    session.give(Answer("failed", failed=[failure]), session.title)
