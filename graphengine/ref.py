"""Names for results that do not exist yet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T", covariant=True)


class Answer:
    """What a node may return in place of a value: a `Ref`, a `Blocked`, a `Graph`."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Ref(Answer, Generic[T]):
    """One output of one step, not yet computed.

    A parameter hinted `Ref[T]` receives this instead of the value and so decides whether the value
    is computed at all: returning the ref (or wiring it into a returned `Graph`) asks for it.
    """

    step: str
    output: str

    def __str__(self) -> str:
        return f"{self.step}.{self.output}"


@dataclass(frozen=True, slots=True)
class Blocked(Answer):
    """A node's answer that says: there is no result, and what depends on it shall not run. No
    failure.
    """

    reason: str = ""
