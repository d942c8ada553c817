"""graphengine: a node-graph workflow engine for Stable Diffusion.

Everything public is here and loaded when it is first used, so that importing the package costs
nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from graphengine.default import default_engine as default_engine
    from graphengine.definition import node as node
    from graphengine.engine import Engine as Engine
    from graphengine.errors import Cancelled as Cancelled
    from graphengine.errors import FileError as FileError
    from graphengine.errors import GraphEngineError as GraphEngineError
    from graphengine.errors import Issue as Issue
    from graphengine.errors import ModelError as ModelError
    from graphengine.errors import RunError as RunError
    from graphengine.errors import WorkflowError as WorkflowError
    from graphengine.files import Artifact as Artifact
    from graphengine.files import Files as Files
    from graphengine.reading import ParamReader as ParamReader
    from graphengine.ref import Blocked as Blocked
    from graphengine.ref import Ref as Ref
    from graphengine.report import Report as Report
    from graphengine.resource import Progress as Progress
    from graphengine.resource import Provenance as Provenance
    from graphengine.resource import Resource as Resource
    from graphengine.settings import Settings as Settings
    from graphengine.sockets import Choice as Choice
    from graphengine.sockets import Color as Color
    from graphengine.sockets import File as File
    from graphengine.sockets import Multiline as Multiline
    from graphengine.sockets import Seed as Seed
    from graphengine.sockets import Socket as Socket
    from graphengine.workflow import Graph as Graph
    from graphengine.workflow import Workflow as Workflow
    from graphengine.workflow import read_workflow as read_workflow

__version__ = "0.1.0"

_HOMES = {
    "default": ("default_engine",),
    "engine": ("Engine",),
    "errors": (
        "Cancelled",
        "FileError",
        "GraphEngineError",
        "Issue",
        "ModelError",
        "RunError",
        "WorkflowError",
    ),
    "files": ("Artifact", "Files"),
    "reading": ("ParamReader",),
    "ref": ("Blocked", "Ref"),
    "report": ("Report",),
    "resource": ("Progress", "Provenance", "Resource"),
    "settings": ("Settings",),
    "sockets": ("Choice", "Color", "File", "Multiline", "Seed", "Socket"),
    "definition": ("node",),
    "workflow": ("Graph", "Workflow", "read_workflow"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}
__all__ = sorted(_HOME_OF)  # noqa: PLE0605 - derived, so that it can't disagree


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'graphengine' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"graphengine.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*globals(), *_HOME_OF]
