"""Why a step will run: the first thing that differs from the last run of that node."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graphengine.cache import Cache
from graphengine.files import all_whole, write_whole
from graphengine.plan import Plan, Step
from graphengine.report import Report
from graphengine.signature import Parts, first_difference


@dataclass(frozen=True, slots=True)
class Explanation:
    """Whether a step's results are in the cache, and if not, why they are not those of the last
    run.
    """

    node: str
    cached: bool
    reason: str


class History:
    """The recipes with which each workflow's nodes ran last; kept in a folder if one is given."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._plans: dict[str, tuple[str, Mapping[str, Parts]]] = {}

    def record(self, plan: Plan, report: Report) -> None:
        """Remember the recipes of the steps that have run, or were cached; keep the others'."""
        done = {*report.executed, *report.cached}
        steps = [step for step in plan.steps.values() if step.id in done]
        digest = _digest(steps)
        known = self._plans.get(plan.title)
        path = self._path(plan.title)
        if (known and known[0] == digest) or (path and _first_line(path) == digest):
            return
        recipes = {**self.recipes(plan), **{step.id: step.parts for step in steps}}
        self._plans[plan.title] = (digest, recipes)
        if path is not None:
            with contextlib.suppress(OSError, ValueError, TypeError):  # it only explains less
                write_whole(path, f"{digest}\n{json.dumps(recipes)}".encode())

    def recipes(self, plan: Plan) -> Mapping[str, Parts]:
        """The recipes of the last run of the workflow with this title, by node."""
        if plan.title in self._plans:
            return self._plans[plan.title][1]
        path = self._path(plan.title)
        with contextlib.suppress(OSError, ValueError, RecursionError):
            if path is not None:
                _, _, text = path.read_text().partition("\n")
                data: Any = json.loads(text)
                if isinstance(data, dict):
                    return {id: parts for id, parts in data.items() if isinstance(parts, dict)}
        return {}

    def _path(self, title: str) -> Path | None:
        return (
            self._folder
            and self._folder / f"{hashlib.sha256(title.encode()).hexdigest()[:32]}.json"
        )


def explain(plan: Plan, cache: Cache, history: History) -> list[Explanation]:
    """For each step of a plan, in order, whether it is cached and what differs if it is not."""
    before = history.recipes(plan)
    found: dict[str, Explanation] = {}
    for step in plan.steps.values():
        cached = not step.volatile and step.signature in cache
        if cached and step.spec.sink and not all_whole(cache.get(step.signature) or ()):
            found[step.id] = Explanation(step.id, False, "its file is gone or was changed")
        elif cached:
            found[step.id] = Explanation(step.id, True, "")
        else:
            found[step.id] = Explanation(step.id, False, _reason(step, before.get(step.id), found))
    return list(found.values())


def _reason(step: Step, before: Parts | None, found: Mapping[str, Explanation]) -> str:
    changed = [
        (name, link)
        for name, link in step.links.items()
        if before is not None
        and before.get("links", {}).get(name) != f"{link.source.signature}.{link.output}"
    ]
    reason = first_difference(before, step.parts)
    if reason.startswith("what comes into") and changed:
        name, link = changed[0]
        return f"{name} comes from {link.source.id}, which changed"
    if reason == "":
        waiting = [
            link.source.id for link in step.links.values() if not found[link.source.id].cached
        ]
        return (
            f"{waiting[0]} is not in the cache any more"
            if waiting
            else "it is not in the cache any more"
        )
    return reason


def _first_line(path: Path) -> str:
    try:
        with path.open() as stream:
            return stream.readline().strip()
    except (OSError, ValueError):
        return ""


def _digest(steps: Iterable[Step]) -> str:
    digest = hashlib.sha256()
    for step in steps:
        digest.update(f"{step.id} {step.signature}\n".encode())
    return digest.hexdigest()
