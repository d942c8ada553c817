"""From a workflow to a plan: names resolved, links typed, steps signed, and all problems at once.

Linear in the size of the graph, without recursion over it. Steps come in an order in which they
could run.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from graphengine.check import bad_cycle, cycles, unknown_input
from graphengine.errors import Issue, WorkflowError, nearest
from graphengine.files import Files
from graphengine.plan import Link, Step
from graphengine.registry import Registry
from graphengine.signature import sign, source_of
from graphengine.sockets import ANY, SocketType, accepts, join
from graphengine.spec import Input, NodeSpec
from graphengine.values import Values
from graphengine.workflow import Draft


class Planner:
    """Makes steps of drafts. `digest` names the content of a live Python value, for graphs built in
    the process.
    """

    def __init__(self, registry: Registry, files: Files, digest: Callable[[Any], str]) -> None:
        self.registry = registry
        self.files = files
        self.values = Values(registry, files, digest)

    def steps(
        self,
        drafts: Iterable[Draft],
        known: Mapping[str, Step] | None = None,
        wanted: Sequence[str] | None = None,
    ) -> dict[str, Step]:
        """Steps by id, in an order in which they could run.

        `known` are steps of the run that a dynamic graph links to. With `wanted`, only they and
        what they need are looked at. Raises `WorkflowError` with every problem found.
        """
        made = Drawing(self, {draft.id: draft for draft in drafts}, known or {})
        steps = made.draw(wanted)
        if made.issues:
            raise WorkflowError(made.issues)
        return steps


class Drawing:
    """One pass over one graph. `issues` gathers its problems; steps are drawn all the same, to find
    more of them.
    """

    def __init__(
        self, planner: Planner, drafts: Mapping[str, Draft], known: Mapping[str, Step]
    ) -> None:
        self.planner = planner
        self.drafts = drafts
        self.known = known
        self.steps: dict[str, Step] = {}
        self.issues: list[Issue] = []

    def draw(self, wanted: Sequence[str] | None) -> dict[str, Step]:
        sources = {name: self._sources(draft) for name, draft in self.drafts.items()}
        if wanted is not None:
            sources = {name: sources[name] for name in _needed(sources, wanted)}
        order = _in_order(sources)
        if len(order) < len(sources):
            self.issues += [bad_cycle(cycle) for cycle in cycles(sources)]
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
        spec = (
            draft.type
            if isinstance(draft.type, NodeSpec)
            else self.planner.registry.find(draft.type)
        )
        if spec is None:
            hint = self.planner.registry.nearest(str(draft.type))
            self._issue("unknown_type", f"no node type {draft.type!r}", draft.id, hint=hint)
            return
        given, linked = self._migrated(draft, spec)
        before = len(self.issues)
        links = self._links(draft.id, spec, linked)
        if links and given:
            given = {name: value for name, value in given.items() if name not in links}
        values, parts, issues = self.planner.values.read(draft.id, spec, given, links)
        self.issues += issues
        for name in spec.required:
            if name not in values and name not in linked and name not in given:
                what = spec.inputs[name]
                only = f"link an output of type {what.type} to it"
                how = "give it a value or a link" if what.widget else only
                self._issue("missing_input", f"{name} is missing", draft.id, name, how)
        types, many = spec.output_types, spec.output_many
        if spec.generic:
            types, many = self._bind(draft.id, spec, links)
        mapped = volatile = False
        for link in links.values():
            mapped = mapped or link.mapped
            volatile = volatile or link.source.volatile
        parts["type"] = spec.id
        parts["source"] = source_of(spec)
        parts["links"] = {
            name: f"{link.source.signature}.{link.output}" for name, link in links.items()
        }
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
            types=types,
            many=(True,) * len(many) if mapped else many,
            mapped=mapped,
            volatile=volatile or not spec.cache,
        )

    def _migrated(
        self, draft: Draft, spec: NodeSpec
    ) -> tuple[Mapping[str, Any], Mapping[str, str]]:
        if draft.version == spec.version:
            return draft.values, draft.links
        if draft.version < spec.version and spec.migrate is not None:
            try:
                return spec.migrate(dict(draft.values), dict(draft.links), draft.version)
            except Exception as cause:  # it is a plugin's code, on a file from anywhere
                message = f"it can't be read as version {spec.version}: {cause!r}"
                hint = f"set it up anew, or mend the migration of {spec.id}"
                self._issue("bad_migration", message, draft.id, hint=hint)
        if draft.version > spec.version:
            message = (
                f"it was saved with version {draft.version} of {spec.id}, here is {spec.version}"
            )
            self._issue(
                "newer_version", message, draft.id, hint="update the pack that has this node"
            )
        return draft.values, draft.links

    def _links(self, node: str, spec: NodeSpec, linked: Mapping[str, str]) -> dict[str, Link]:
        links: dict[str, Link] = {}
        for name, text in linked.items():
            target = spec.input(name)
            if target is None:
                self.issues.append(unknown_input(node, spec, name))
                continue
            source_name, _, output_name = text.rpartition(".")
            source = self.steps.get(source_name) or self.known.get(source_name)
            if source is None:
                if (
                    source_name not in self.drafts
                ):  # else it has a problem of its own, or stands in a cycle
                    hint = (
                        nearest(source_name, self.drafts) if source_name else 'write "node.output"'
                    )
                    message = f"links to {text!r}, but there is no node {source_name!r}"
                    self._issue("unknown_node", message, node, name, hint)
                continue
            index = source.spec.output_index.get(output_name)
            if index is None:
                outputs = [output.name for output in source.spec.outputs]
                hint = (
                    nearest(output_name, outputs)
                    or f"{source_name} has: {', '.join(outputs) or 'no outputs'}"
                )
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
        fitting = [
            out.name
            for out, kind in zip(source.spec.outputs, source.types, strict=True)
            if accepts(target.type, kind)
        ]
        hint = (
            f"{source.id}.{fitting[0]} would fit"
            if fitting
            else f"link an output of type {target.type}"
        )
        output = source.spec.outputs[index].name
        message = f"{target.name} wants {target.type}, but {source.id}.{output} gives {given}"
        self._issue("type_mismatch", message, node, target.name, hint)

    def _bind(
        self, node: str, spec: NodeSpec, links: Mapping[str, Link]
    ) -> tuple[tuple[SocketType, ...], tuple[bool, ...]]:
        """The types of the outputs with what their variables stand for here, and which give lists.

        A variable stands for the type that all links into it have in common; for a list, where a
        list comes in that is not looked into.
        """
        bound: dict[str, SocketType] = {}
        lists: set[str] = set()
        for name, link in links.items():
            target = spec.input(name)
            if target is None or not target.type.variable:
                continue
            kind = link.source.types[link.output]
            variable = target.type.name
            together = join(bound[variable], kind) if variable in bound else kind
            if together is None:
                message = f"{name} gives {kind}, but {bound[variable]} is linked beside it"
                hint = "link outputs of one type to all of them"
                self._issue("type_mismatch", message, node, name, hint)
            else:
                bound[variable] = together
            if link.deferred and not target.many and link.source.many[link.output]:
                lists.add(variable)
        types = tuple(
            bound.get(out.type.name, ANY) if out.type.variable else out.type for out in spec.outputs
        )
        many = tuple(
            out.many or (out.type.variable and out.type.name in lists) for out in spec.outputs
        )
        return types, many

    def _issue(
        self, code: str, message: str, node: str, input: str | None = None, hint: str | None = None
    ) -> None:
        self.issues.append(Issue(code, message, node, input, hint))


def _in_order(sources: Mapping[str, Sequence[str]]) -> list[str]:
    """Each name after its sources; without those that are in a cycle, or behind one."""
    waiting = {name: len(found) for name, found in sources.items()}
    behind: dict[str, list[str]] = {name: [] for name in sources}
    for name, found in sources.items():
        for source in found:
            behind[source].append(name)
    order = [name for name, count in waiting.items() if not count]
    for done in order:  # it grows as we go
        for name in behind[done]:
            waiting[name] -= 1
            if not waiting[name]:
                order.append(name)
    return order


def _needed(sources: Mapping[str, Sequence[str]], wanted: Sequence[str]) -> list[str]:
    seen = dict.fromkeys(wanted)
    stack = list(wanted)
    while stack:
        for name in sources[stack.pop()]:
            if name not in seen:
                seen[name] = None
                stack.append(name)
    return list(seen)
