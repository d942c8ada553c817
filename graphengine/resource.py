"""What a worker hands to a node besides its inputs.

A parameter whose hint is a subclass of `Resource` is supplied by the worker, matched by type. It is
no socket, never stands in a workflow file and never enters a signature. The classes here work on
their own too, so that a node, or a library function that takes one, can be called from a notebook.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


class Resource:
    """Marks a type as supplied by the worker."""


class Progress(Resource):
    """Tells how far a call is, and stops it when the run was cancelled. This one tells nobody and
    never stops.
    """

    def report(
        self,
        done: float,
        total: float,
        note: str = "",
        preview: Callable[[], Any] | None = None,
        **figures: float,
    ) -> None:
        """`done` of `total` units are finished; `figures` are numbers worth showing (`sigma=1.2`).

        `preview` makes a small picture (a Pillow image) if somebody wants to see one. Raises
        `Cancelled`.
        """

    def check(self) -> None:
        """Raise `Cancelled` if the run was cancelled: for long work that has no steps to report."""


class Provenance(Resource):
    """The workflow that is being run, with the values it is run with, as JSON data. Empty outside a
    run.
    """

    def __init__(self, workflow: Mapping[str, Any] | None = None) -> None:
        self.workflow: Mapping[str, Any] = workflow or {}
