"""The command line: one of the doors to an engine. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line. Returns the exit code: 0 done, 1 a step failed, 2 something given is wrong, 130 cancelled."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        from graphengine.cli.door import enter

        return enter(given)
    except KeyboardInterrupt:  # while the command line itself was being loaded
        if "--json" in given:
            empty = '"outputs": [], "results": {}, "executed": [], "cached": [], "skipped": {}, "failed": [], "issues": []'
            print(f'{{"status": "cancelled", "seconds": 0.0, {empty}}}')
        return 130
