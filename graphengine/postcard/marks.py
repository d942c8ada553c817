"""Marks: how many of the things that captions state were read off the pictures drawn from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from graphengine.errors import GraphEngineError


@dataclass(frozen=True)
class Marks:
    """For each attribute, how many pictures were asked to show a value, and how many show it."""

    asked: dict[str, int] = field(default_factory=dict)
    right: dict[str, int] = field(default_factory=dict)

    @property
    def share(self) -> float:
        """The share of all that was asked that is right, 0 to 1; 0 if nothing was asked."""
        return sum(self.right.values()) / max(1, sum(self.asked.values()))

    def share_of(self, name: str) -> float:
        """The same of one attribute."""
        return self.right.get(name, 0) / max(1, self.asked.get(name, 0))


def score(read: Sequence[Mapping[str, str]], stated: Sequence[Mapping[str, str]]) -> Marks:
    """Marks for what a judge read off pictures, given what the caption of each states.

    What the judge does not read, such as a second object, is left out. Raises `GraphEngineError`
    if the two are not of equal number.
    """
    if len(read) != len(stated):
        raise GraphEngineError(
            f"{len(read)} pictures were read, but {len(stated)} captions state something",
            "link the captions that the pictures were made from, in the same order",
        )
    names = list(read[0]) if read else []
    asked, right = dict.fromkeys(names, 0), dict.fromkeys(names, 0)
    for found, wanted in zip(read, stated, strict=True):
        for name in names:
            if name in wanted:
                asked[name] += 1
                right[name] += found[name] == wanted[name]
    return Marks(asked, right)


def misses(found: Mapping[str, str], wanted: Mapping[str, str]) -> list[str]:
    """What a picture shows that is not as its caption states, a line each."""
    return [
        f"{name}: {found[name]}, not {wanted[name]}"
        for name in found
        if name in wanted and found[name] != wanted[name]
    ]
