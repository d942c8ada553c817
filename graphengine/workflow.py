"""A workflow: the file that an editor saves, a command line runs and an endpoint accepts; and
`Graph`, its builder.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from graphengine.errors import DefinitionError, FileError, Issue, WorkflowError, nearest
from graphengine.ref import Answer, Ref
from graphengine.spec import NodeSpec, json_form, spec_of

FORMAT = "graphengine/1"
LARGEST = 64 * 2**20
"""Bytes of a workflow file at most."""
PNG_KEY = "graphengine"
"""The text chunk of a PNG that carries the workflow which drew it."""

R = TypeVar("R")


class Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Node(Record):
    """One node of a workflow: its type, the values set on it, and where its links come from."""

    type: str
    version: int = 1
    title: str = ""
    values: dict[str, JsonValue] = {}
    links: dict[str, str] = {}


class Param(Record):
    """A value of the workflow as a whole: a flag, a keyword, a field of a form. It is set on every
    input in `to`.
    """

    to: list[str] = Field(min_length=1)
    title: str = ""
    help: str = ""


class Workflow(Record):
    """A saved graph. `params` makes it a function and `outputs` names its results; `layout` is the
    editor's.
    """

    format: str = FORMAT
    title: str = ""
    description: str = ""
    params: dict[str, Param] = {}
    nodes: dict[str, Node] = {}
    outputs: dict[str, str] = {}
    layout: dict[str, JsonValue] = {}

    def text(self) -> str:
        """The file's canonical text: keys in the order of the format, what is default left out."""
        data = {"format": self.format, **self.model_dump(exclude_defaults=True)}
        return json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    def drafts(self) -> Iterator[Draft]:
        for name, node in self.nodes.items():
            yield Draft(name, node.type, node.version, node.values, node.links)

    def with_params(self, given: Mapping[str, Any]) -> Workflow:
        """The same workflow with these params set; a `Ref` becomes a link.

        Raises `WorkflowError` for a name that is no param.
        """
        unknown = [name for name in given if name not in self.params]
        if unknown:
            known = ", ".join(self.params) or "none"
            raise WorkflowError(
                [
                    Issue(
                        "unknown_param",
                        f"the workflow has no param {name!r}",
                        input=name,
                        hint=nearest(name, self.params) or f"its params: {known}",
                    )
                    for name in unknown
                ]
            )
        nodes = dict(self.nodes)
        for name, value in given.items():
            for place in self.params[name].to:
                target, _, key = place.rpartition(".")
                if node := nodes.get(target):
                    linked = isinstance(value, Ref)
                    kind, entry = ("links", str(value)) if linked else ("values", value)
                    links = {name: link for name, link in node.links.items() if name != key}
                    update = {
                        "links": links,
                        kind: {**(links if linked else node.values), key: entry},
                    }
                    nodes[target] = node.model_copy(update=update)
        return self.model_copy(update={"nodes": nodes})

    def graph(self, output: str) -> Graph:
        """The workflow as an answer of a node, with one of its named outputs as the result."""
        steps = {draft.id: draft for draft in self.drafts()}
        node, _, name = self.outputs[output].rpartition(".")
        return Graph(steps, Ref(node, name))


class Draft(NamedTuple):
    """A node as a planner takes it: out of a file `type` is a name, out of a graph a spec."""

    id: str
    type: str | NodeSpec
    version: int
    values: Mapping[str, Any]
    links: Mapping[str, str]


@dataclass(eq=False)
class Graph(Answer):
    """Builds a workflow in Python; also what a node may answer, to be run in its place.

    `add` gives what the function itself would return, with a `Ref` for every output: a `NamedTuple`
    of refs completes in an editor. Values may be any Python objects while the graph stays in the
    process.
    """

    steps: dict[str, Draft] = field(default_factory=dict)
    result: Any = None

    def add(
        self, function: Callable[..., R] | NodeSpec, name: str | None = None, /, **inputs: Any
    ) -> R:
        """Add a node. A `Ref` among the inputs is a link, everything else a value. Returns refs to
        its outputs.
        """
        spec = spec_of(function)
        if name is None:
            name = stem = spec.id.rpartition(".")[2]
            count = len(self.steps)
            while name in self.steps:
                name = f"{stem}_{count}"
                count += 1
        if name in self.steps:
            raise DefinitionError(
                f"the graph has a node {name!r} already", "give each node a name of its own"
            )
        links = {key: str(value) for key, value in inputs.items() if isinstance(value, Ref)}
        values = {key: value for key, value in inputs.items() if not isinstance(value, Ref)}
        for key, value in values.items():
            if isinstance(value, (list, tuple)) and any(isinstance(item, Ref) for item in value):
                remedy = "collect them with a node that takes `**items`, and link its list"
                raise DefinitionError(f"{key!r} of {name!r} is a list of refs", remedy)
        self.steps[name] = Draft(name, spec, spec.version, values, links)
        refs: list[Ref[Any]] = [Ref(name, output.name) for output in spec.outputs]
        fields: Any = spec.fields
        made: Any = fields(*refs) if fields else refs[0] if refs else None
        return made  # type: ignore[no-any-return]

    def returning(self, result: Any) -> Graph:
        """Name the graph's result: a ref, a value, or the `NamedTuple` of them that the answering
        node returns.
        """
        self.result = result
        return self

    def drafts(self) -> Iterator[Draft]:
        return iter(self.steps.values())

    def workflow(
        self, title: str = "", params: Mapping[str, str | list[str]] | None = None
    ) -> Workflow:
        """The graph as a workflow that can be saved. `params` maps names to `node.input`, or
        several.
        """
        lists = {name: [to] if isinstance(to, str) else to for name, to in (params or {}).items()}
        nodes = {
            draft.id: Node(
                type=draft.type if isinstance(draft.type, str) else draft.type.id,
                version=draft.version,
                values={key: json_form(value) for key, value in draft.values.items()},
                links=dict(draft.links),
            )
            for draft in self.drafts()
        }
        named = (
            self.result._asdict() if hasattr(self.result, "_asdict") else {"result": self.result}
        )
        outputs = {name: str(ref) for name, ref in named.items() if isinstance(ref, Ref)}
        return Workflow(
            title=title,
            params={name: Param(to=to) for name, to in lists.items()},
            nodes=nodes,
            outputs=outputs,
        )


def read_workflow(source: Path | str) -> Workflow:
    """The workflow in a file: JSON, or a PNG that carries one.

    Raises `FileError` if there is none, `WorkflowError` with every fault of its shape.
    """
    path = Path(source)
    try:
        with path.open("rb") as stream:
            content = stream.read(LARGEST + 1)
    except FileNotFoundError as cause:
        raise FileError(f"there is no file {str(path)!r}", "check the path") from cause
    except (OSError, ValueError) as cause:
        told = getattr(cause, "strerror", None) or cause
        raise FileError(f"{str(path)!r} can't be read: {told}") from cause
    if content.startswith(b"\x89PNG"):
        return parse_workflow(_text_of_png(path), str(path))
    if len(content) > LARGEST:
        raise FileError(
            f"{str(path)!r} is too large for a workflow",
            "give a workflow file, or a PNG that carries one",
        )
    try:
        return parse_workflow(content.decode("utf-8-sig"), str(path))
    except UnicodeDecodeError as cause:
        hint = "give a workflow file, or a PNG that graphengine saved"
        raise WorkflowError([Issue("not_json", f"{path} is no text", hint=hint)]) from cause


def parse_workflow(text: str, origin: str = "the workflow") -> Workflow:
    """Read a workflow from JSON text. Raises `WorkflowError` with every fault of its shape."""
    try:
        data = json.loads(
            text,
            parse_constant=_no_constant,
            parse_float=_finite,
            object_pairs_hook=_unique_keys,
        )
    except json.JSONDecodeError as cause:
        message = f"{origin} is not JSON: {cause.msg} at line {cause.lineno}, column {cause.colno}"
        raise WorkflowError(
            [Issue("not_json", message, hint="check the text around that place")]
        ) from cause
    except ValueError as cause:
        raise WorkflowError([Issue("not_json", f"{origin} is not JSON: {cause}")]) from cause
    except RecursionError as cause:
        raise WorkflowError(
            [Issue("not_json", f"{origin} is nested too deeply to be a workflow")]
        ) from cause
    return workflow_of(data, origin)


def workflow_of(data: Any, origin: str = "the workflow") -> Workflow:
    """A workflow from JSON data. Raises `WorkflowError` with every fault of its shape."""
    if not isinstance(data, dict) or not ("format" in data or "nodes" in data):
        hint = f'a workflow is an object {{"format": "{FORMAT}", "nodes": {{...}}}}'
        raise WorkflowError(
            [Issue("not_a_workflow", f"{origin} is JSON of another shape", hint=hint)]
        )
    if data.get("format") != FORMAT:
        found = data.get("format", "none")
        hint = (
            "a newer graphengine may read it"
            if str(found).startswith("graphengine/")
            else f'write "{FORMAT}"'
        )
        raise WorkflowError(
            [Issue("unknown_format", f"{origin} has format {found!r}, not {FORMAT!r}", hint=hint)]
        )
    try:
        return Workflow.model_validate(data)
    except ValidationError as cause:
        raise WorkflowError([_shape_issue(error) for error in cause.errors()]) from cause


def _shape_issue(error: Mapping[str, Any]) -> Issue:
    place: tuple[Any, ...] = error["loc"]
    node = place[1] if len(place) > 1 and place[0] == "nodes" else None
    where = ".".join(map(str, place))
    if error["type"] == "extra_forbidden":
        models: dict[str, type[Record]] = {"nodes": Node, "params": Param} if place[1:] else {}
        known = models.get(str(place[0]), Workflow).model_fields
        hint = nearest(str(place[-1]), known) or f"known here: {', '.join(known)}"
        return Issue("unknown_key", f"{where}: unknown key {place[-1]!r}", node=node, hint=hint)
    given = json.dumps(error["input"], default=str)
    message = f"{where}: {error['msg'].lower()}, but it is {given[:60]}"
    return Issue("bad_shape", message, node=node, input=str(place[3]) if len(place) > 3 else None)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text} is too large for a number")
    return number


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {twice!r} stands twice in one object")
    return found


def _text_of_png(path: Path) -> str:
    from PIL import Image

    try:
        with Image.open(path) as image:
            image.load()
            text = getattr(image, "text", {}).get(PNG_KEY)
    except Exception as cause:  # whatever a decoder says about bytes from anywhere
        raise FileError(f"{str(path)!r} is a damaged PNG: {cause}") from cause
    if text is None:
        hint = "only pictures that graphengine saved, unedited, can be run again"
        raise WorkflowError([Issue("no_workflow", f"{path} carries no workflow", hint=hint)])
    return str(text)
