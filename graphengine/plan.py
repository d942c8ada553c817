"""From a workflow to a plan: names resolved, values checked, links typed, steps signed, and all problems at once.

Linear in the size of the graph, without recursion over it. A plan holds steps in an order in which they could run.
"""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any, NamedTuple

from graphengine.check import bad_file, bad_value, check_value, cycles
from graphengine.errors import FileError, Issue, WorkflowError, nearest
from graphengine.files import Files
from graphengine.registry import Registry
from graphengine.signature import Parts, sign, source_of
from graphengine.sockets import ANY, File, SocketType, accepts, join
from graphengine.spec import Input, NodeSpec, json_form
from graphengine.storage import Unstorable
from graphengine.workflow import Draft, Graph, Workflow, read_workflow


class Link(NamedTuple):
    """Where an input comes from. Exactly one way: `deferred`, `whole` (a list as one value), `mapped`, or plain."""

    source: Step
    output: int
    deferred: bool = False
    whole: bool = False
    mapped: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """A node that is ready to run: its checked values, its links, and the signature under which its results are kept.

    `types` and `many` are those of its outputs, with type variables bound and mapping over lists taken in.
    """

    id: str
    spec: NodeSpec
    signature: str
    values: Mapping[str, Any]
    links: Mapping[str, Link]
    parts: Parts
    types: tuple[SocketType, ...]
    many: tuple[bool, ...]
    mapped: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """What will be run: all steps in order, the ones wanted, and named outputs as (step, index of output)."""

    steps: Mapping[str, Step]
    targets: tuple[Step, ...]
    outputs: Mapping[str, tuple[Step, int]]
    source: Workflow | Graph
    title: str = ""

    def resolved(self) -> dict[str, Any]:
        """The workflow as JSON data, with every value it is run with written out, defaults too.

        Empty for a graph that holds Python objects.
        """
        try:
            workflow = self.source.workflow(self.title) if isinstance(self.source, Graph) else self.source
            data: dict[str, Any] = json.loads(workflow.text())
        except (TypeError, ValueError):
            return {}
        for name, step in self.steps.items():
            node = data["nodes"][name]
            node["values"] = {**node.get("values", {}), **step.parts["values"]}
        return data


class Planner:
    """Makes steps of drafts. `digest` names the content of a live Python value, for graphs built in the process."""

    def __init__(self, registry: Registry, files: Files, digest: Callable[[Any], str]) -> None:
        self.registry = registry
        self.files = files
        self.digest = digest

    def steps(
        self, drafts: Iterable[Draft], known: Mapping[str, Step] | None = None, wanted: Sequence[str] | None = None
    ) -> dict[str, Step]:
        """Steps by id, in an order in which they could run.

        `known` are steps of the run that a dynamic graph links to. With `wanted`, only they and what they need are
        looked at. Raises `WorkflowError` with every problem found.
        """
        made = Drawing(self, {draft.id: draft for draft in drafts}, known or {})
        steps = made.draw(wanted)
        if made.issues:
            raise WorkflowError(made.issues)
        return steps


    def path(self, file: File, name: str | Path) -> Path:
        """The file that a value names. A `Path` only comes from Python, which may name any file."""
        return name if isinstance(name, Path) else self.files.resolve(file.folder, name)

    def content(self, file: File, path: Path) -> str:
        """Digest of a file; of a workflow, together with all the files that its nodes name, as it will read them."""
        digests = {}
        stack = [(file, path)]
        while stack:
            file, path = stack.pop()
            if str(path) in digests:
                continue
            digests[str(path)] = self.files.digest(path)
            if file.folder != "workflows":
                continue
            with contextlib.suppress(WorkflowError):  # told when the workflow is run
                for draft in read_workflow(path).drafts():
                    spec = self.registry.find(str(draft.type))
                    inputs = ((spec.input(name), value) for name, value in draft.values.items()) if spec else ()
                    for target, value in inputs:
                        if target is not None and target.file is not None and isinstance(value, str):
                            with contextlib.suppress(FileError):
                                stack.append((target.file, self.path(target.file, value)))
        return digests.popitem()[1] if len(digests) == 1 else sign(digests)


class Drawing:
    """One pass over one graph. `issues` gathers its problems; steps are drawn all the same, to find more of them."""

    def __init__(self, planner: Planner, drafts: Mapping[str, Draft], known: Mapping[str, Step]) -> None:
        self.planner = planner
        self.drafts = drafts
        self.known = known
        self.steps: dict[str, Step] = {}
        self.issues: list[Issue] = []

    def draw(self, wanted: Sequence[str] | None) -> dict[str, Step]:
        sources = {name: self._sources(draft) for name, draft in self.drafts.items()}
        if wanted is not None:
            sources = {name: sources[name] for name in _needed(sources, wanted)}
        try:
            order = list(TopologicalSorter(sources).static_order())
        except CycleError:
            for loop in cycles(sources):
                path = " → ".join([*loop, loop[0]])
                hint = "remove one of these links; to repeat something, use a node that answers with a graph"
                self.issues.append(Issue("cycle", f"a cycle: {path}", node=loop[0], hint=hint))
            order = list(sources)
        for name in order:
            self._draw_step(self.drafts[name])
        return self.steps

    def _sources(self, draft: Draft) -> list[str]:
        found = []
        for link in draft.links.values():
            name = link.rpartition(".")[0]
            if name in self.drafts:
                found.append(name)
        return found

    def _draw_step(self, draft: Draft) -> None:
        spec = draft.type if isinstance(draft.type, NodeSpec) else self.planner.registry.find(draft.type)
        if spec is None:
            hint = self.planner.registry.nearest(str(draft.type))
            self._issue("unknown_type", f"no node type {draft.type!r}", draft.id, hint=hint)
            return
        given, linked = self._migrated(draft, spec)
        before = len(self.issues)
        links = self._links(draft.id, spec, linked)
        values, parts = self._values(draft.id, spec, given, links)
        for name in spec.required:
            if name not in values and name not in links and name not in linked and name not in given:
                what = spec.inputs[name]
                how = "give it a value or a link" if what.widget else f"link an output of type {what.type} to it"
                self._issue("missing_input", f"{name} is missing", draft.id, name, how)
        bound = self._bind(draft.id, spec, links)
        mapped = any(link.mapped for link in links.values())
        parts["type"] = spec.id
        parts["source"] = source_of(spec)
        parts["links"] = {name: [link.source.signature, link.output] for name, link in links.items()}
        if not spec.cache:
            parts["salt"] = uuid.uuid4().hex
        if spec.sink and "output" in self.planner.files.folders:
            parts["folder"] = str(self.planner.files.folder("output"))
        self.steps[draft.id] = Step(
            id=draft.id,
            spec=spec,
            signature=sign(parts) if len(self.issues) == before else "",
            values=values,
            links=links,
            parts=parts,
            types=tuple(bound.get(out.type.name, out.type) if out.type.variable else out.type for out in spec.outputs),
            many=tuple(out.many or mapped for out in spec.outputs),
            mapped=mapped,
        )

    def _migrated(self, draft: Draft, spec: NodeSpec) -> tuple[Mapping[str, Any], Mapping[str, str]]:
        if draft.version == spec.version:
            return draft.values, draft.links
        if draft.version < spec.version and spec.migrate is not None:
            return spec.migrate(dict(draft.values), dict(draft.links), draft.version)
        if draft.version > spec.version:
            message = f"it was saved with version {draft.version} of {spec.id}, here is {spec.version}"
            self._issue("newer_version", message, draft.id, hint="update the pack that has this node")
        return draft.values, draft.links

    def _links(self, node: str, spec: NodeSpec, linked: Mapping[str, str]) -> dict[str, Link]:
        links: dict[str, Link] = {}
        for name, text in linked.items():
            target = spec.input(name)
            if target is None:
                self._unknown_input(node, spec, name)
                continue
            source_name, _, output_name = text.rpartition(".")
            source = self.steps.get(source_name) or self.known.get(source_name)
            if source is None:
                if source_name not in self.drafts:  # else it has a problem of its own, or stands in a cycle
                    hint = nearest(source_name, self.drafts) if source_name else 'write "node.output"'
                    message = f"links to {text!r}, but there is no node {source_name!r}"
                    self._issue("unknown_node", message, node, name, hint)
                continue
            index = source.spec.output_index.get(output_name)
            if index is None:
                outputs = [output.name for output in source.spec.outputs]
                hint = nearest(output_name, outputs) or f"{source_name} has: {', '.join(outputs) or 'no outputs'}"
                message = f"links to {text!r}, but {source.spec.id} has no output {output_name!r}"
                self._issue("unknown_output", message, node, name, hint)
                continue
            if not accepts(target.type, source.types[index]):
                self._mismatch(node, target, source, index)
            many = source.many[index]
            links[name] = Link(
                source,
                index,
                deferred=target.deferred,
                whole=target.many and not target.deferred,
                mapped=many and not target.many and not target.deferred,
            )
        return links

    def _mismatch(self, node: str, target: Input, source: Step, index: int) -> None:
        given = source.types[index]
        fitting = [out.name for out, kind in zip(source.spec.outputs, source.types) if accepts(target.type, kind)]
        hint = f"{source.id}.{fitting[0]} would fit" if fitting else f"link an output of type {target.type}"
        output = source.spec.outputs[index].name
        message = f"{target.name} wants {target.type}, but {source.id}.{output} gives {given}"
        self._issue("type_mismatch", message, node, target.name, hint)

    def _values(
        self, node: str, spec: NodeSpec, given: Mapping[str, Any], links: Mapping[str, Link]
    ) -> tuple[dict[str, Any], Parts]:
        values: dict[str, Any] = {}
        written: dict[str, Any] = {}
        parts: Parts = {"values": written}
        for name, default in spec.defaults.items():
            if name not in given and name not in links:
                values[name] = default
                written[name] = default if spec.inputs[name].plain else json_form(default)
        for name, value in given.items():
            if name in links:
                continue  # kept in the file for when the link is taken away
            target = spec.input(name)
            if target is None:
                self._unknown_input(node, spec, name)
                continue
            if target.plain is type(value) or (value is None and target.default is None):
                values[name] = written[name] = value
                continue
            try:
                values[name], live = check_value(target, value)
                if live:
                    parts.setdefault("live", {})[name] = self._content(value)
                else:
                    written[name] = json_form(values[name])
            except ValueError as cause:
                self.issues.append(bad_value(node, target, value, cause))
        for name in values:
            target = spec.input(name)
            if target is not None and target.file is not None and values[name] is not None:
                try:
                    values[name] = path = self.planner.path(target.file, values[name])
                    parts.setdefault("files", {})[name] = [str(path), self.planner.content(target.file, path)]
                except FileError as cause:
                    self.issues.append(bad_file(node, name, cause))
        return values, parts

    def _content(self, value: Any) -> str:
        try:
            return self.planner.digest(value)
        except Unstorable:
            return uuid.uuid4().hex

    def _bind(self, node: str, spec: NodeSpec, links: Mapping[str, Link]) -> dict[str, SocketType]:
        """What the type variables of a node stand for here: the type that all links into them have in common."""
        bound: dict[str, SocketType] = {}
        for name, link in links.items():
            target = spec.input(name)
            if target is None or not target.type.variable:
                continue
            kind = link.source.types[link.output]
            variable = target.type.name
            together = join(bound[variable], kind) if variable in bound else kind
            if together is None:
                message = f"{name} gives {kind}, but {bound[variable]} is linked beside it"
                self._issue("type_mismatch", message, node, name, "link outputs of one type to all of them")
            else:
                bound[variable] = together
        return {**{i.type.name: ANY for i in spec.inputs.values() if i.type.variable}, **bound}

    def _unknown_input(self, node: str, spec: NodeSpec, name: str) -> None:
        hint = nearest(name, spec.inputs) or f"{spec.id} has: {', '.join(spec.inputs) or 'no inputs'}"
        self._issue("unknown_input", f"{spec.id} has no input {name!r}", node, name, hint)

    def _issue(self, code: str, message: str, node: str, input: str | None = None, hint: str | None = None) -> None:
        self.issues.append(Issue(code, message, node, input, hint))


def _needed(sources: Mapping[str, Sequence[str]], wanted: Sequence[str]) -> list[str]:
    seen = dict.fromkeys(wanted)
    stack = list(wanted)
    while stack:
        for name in sources[stack.pop()]:
            if name not in seen:
                seen[name] = None
                stack.append(name)
    return list(seen)
