"""The options that commands share, and the settings they make."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from graphengine.errors import Issue, WorkflowError

if TYPE_CHECKING:
    from graphengine.settings import Settings

RUN, FOLDERS, TELL = "How to run", "Folders and device", "What to tell"
FLAG = " "
"""In the place of a type, for options that take no value."""


def workflow_names(incomplete: str) -> list[str]:
    """For the shell: workflows that can be called by name, and workflow files and pictures."""
    from graphengine.default import folders
    from graphengine.settings import Settings

    named = [
        name.removesuffix(".json") for name in folders(Settings()).names("workflows", (".json",))
    ]
    head, _, stem = incomplete.rpartition("/")
    folder = Path(f"{head}/" if head or incomplete.startswith("/") else ".")
    found = [
        entry for entry in folder.glob("*") if entry.is_dir() or entry.suffix in (".json", ".png")
    ]
    files = [os.path.join(head, entry.name) + ("/" if entry.is_dir() else "") for entry in found]
    return sorted(name for name in [*named, *files] if name.startswith(incomplete))


FILE_HELP = "A workflow file (JSON), a PNG that carries one, the name of a bundled or saved workflow, or - for stdin."
File = Annotated[
    str | None,
    typer.Argument(
        metavar="FILE", help=FILE_HELP, show_default=False, autocompletion=workflow_names
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NODE.INPUT=VALUE",
        rich_help_panel=RUN,
        help="Set any input of any node. VALUE is JSON, or else text. Repeatable.",
    ),
]
Target = Annotated[
    list[str] | None,
    typer.Option(
        "--target",
        metavar="NODE",
        rich_help_panel=RUN,
        help="Run this node and what it needs, nothing else. Repeatable.",
    ),
]
FailFast = Annotated[
    bool,
    typer.Option(
        "--fail-fast",
        metavar=FLAG,
        rich_help_panel=RUN,
        help="Stop everything at the first step that fails.",
    ),
]
NoCache = Annotated[
    bool,
    typer.Option(
        "--no-cache",
        metavar=FLAG,
        rich_help_panel=RUN,
        help="Run every step, and keep no results for later runs.",
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="DIR",
        rich_help_panel=FOLDERS,
        help="Where results are saved.  \\[default: output]",
    ),
]
Input = Annotated[
    Path | None,
    typer.Option(
        "--input",
        metavar="DIR",
        rich_help_panel=FOLDERS,
        help="Pictures that workflows load.  \\[default: input]",
    ),
]
Models = Annotated[
    list[Path] | None,
    typer.Option(
        "--models",
        metavar="DIR",
        rich_help_panel=FOLDERS,
        help="A folder of models, searched before the usual ones. Repeatable.",
    ),
]
Packs = Annotated[
    list[Path] | None,
    typer.Option(
        "--packs",
        metavar="DIR",
        rich_help_panel=FOLDERS,
        help="A plugins folder, besides the usual ones. Repeatable.",
    ),
]
CacheDir = Annotated[
    Path | None,
    typer.Option(
        "--cache-dir",
        metavar="DIR",
        rich_help_panel=FOLDERS,
        help="Where results are kept between runs.",
    ),
]
Device = Annotated[
    str | None,
    typer.Option(
        "--device",
        metavar="NAME",
        rich_help_panel=FOLDERS,
        help="auto, cpu, cuda, cuda:1, mps.  \\[default: auto]",
    ),
]
Explain = Annotated[
    bool,
    typer.Option(
        "--explain",
        metavar=FLAG,
        rich_help_panel=TELL,
        help="For each step, whether it is cached or why it runs.",
    ),
]
Json = Annotated[
    bool,
    typer.Option(
        "--json",
        metavar=FLAG,
        rich_help_panel=TELL,
        help="Print one JSON object on stdout and nothing else there.",
    ),
]
Debug = Annotated[
    bool,
    typer.Option(
        "--debug",
        metavar=FLAG,
        envvar="GRAPHENGINE_DEBUG",
        rich_help_panel=TELL,
        help="Show tracebacks and all warnings.",
    ),
]
Help = Annotated[
    bool,
    typer.Option(
        "--help",
        metavar=FLAG,
        rich_help_panel=TELL,
        help="Show this, with the flags of FILE if it is given.",
    ),
]


@dataclass(frozen=True)
class Options:
    """What was asked for besides the workflow's own params."""

    file: str = ""
    sets: Sequence[str] = ()
    targets: Sequence[str] = ()
    fail_fast: bool = False
    no_cache: bool = False
    out: Path | None = None
    input: Path | None = None
    models: Sequence[Path] = ()
    packs: Sequence[Path] = ()
    cache_dir: Path | None = None
    device: str | None = None
    explain: bool = False
    debug: bool = False

    def settings(self) -> Settings:
        """Settings with these options over environment and file. Raises `WorkflowError` for what can't be used."""
        usual = read_settings()
        given: dict[str, Any] = {}
        place, output = ("--out", self.out) if self.out else ("the output folder", usual.output)
        issues = [*_unusable("--input", self.input), *_unusable(place, output, made=True)]
        for name, folder in (
            ("output", self.out),
            ("input", self.input),
            ("cache", self.cache_dir),
        ):
            if folder is not None:
                given[name] = folder
        if self.models:
            issues += [issue for folder in self.models for issue in _unusable("--models", folder)]
            given["models"] = (*self.models, *usual.models)
        if self.packs:
            issues += [issue for folder in self.packs for issue in _unusable("--packs", folder)]
            given["packs"] = (*(folder for folder in usual.packs if folder.is_dir()), *self.packs)
        if self.device is not None:
            given["device"] = self.device
        if issues:
            raise WorkflowError(issues)
        return read_settings(**given)


def read_settings(**given: Any) -> Settings:
    """Settings from flags, environment and file. Raises `WorkflowError` naming the setting that is wrong."""
    from pydantic import ValidationError
    from pydantic_settings import SettingsError

    from graphengine.settings import Settings

    try:
        return Settings(**given)
    except ValidationError as cause:
        issues = []
        for error in cause.errors():
            name = str(error["loc"][0]) if error["loc"] else "settings"
            known = Settings.model_fields.get(name)
            place = (
                f"--{name}"
                if name in given
                else f"GRAPHENGINE_{name.upper()} (or {name} in graphengine.toml)"
            )
            wanted = (
                known.description
                if known and error["type"] == "string_pattern_mismatch"
                else error["msg"]
            )
            issues.append(
                Issue("bad_setting", f"{place} is {error['input']!r}, but it takes: {wanted}")
            )
        raise WorkflowError(issues) from cause
    except (SettingsError, ValueError) as cause:  # a list that is no JSON, a file that is no TOML
        detail = f": {cause.__cause__}" if cause.__cause__ else ""
        hint = "look at the GRAPHENGINE_ variables (a list is written as JSON) and graphengine.toml"
        raise WorkflowError(
            [Issue("bad_setting", f"the settings can't be read: {cause}{detail}", hint=hint)]
        ) from cause


def _unusable(option: str, folder: Path | None, made: bool = False) -> list[Issue]:
    """What is wrong with a folder: it is not there, or, if it shall be `made`, it can't be written."""
    if folder is None:
        return []
    try:
        there = folder.is_dir()
        nearest = next(
            (path for path in (folder, *folder.absolute().parents) if os.path.lexists(path)), folder
        )
        usable = there or (made and nearest.is_dir())
        if usable and made and not os.access(nearest, os.W_OK | os.X_OK):
            return [
                Issue(
                    "bad_folder",
                    f"{option} {str(folder)!r} can't be written",
                    hint="choose another folder",
                )
            ]
    except (OSError, ValueError) as cause:
        return [
            Issue(
                "bad_folder",
                f"{option} {str(folder)!r} can't be used: {cause}",
                hint="choose another folder",
            )
        ]
    if usable:
        return []
    if os.path.lexists(nearest) and not nearest.is_dir():
        return [
            Issue(
                "bad_folder",
                f"{option} {str(folder)!r}: {str(nearest)!r} is no folder",
                hint="choose another folder",
            )
        ]
    return [
        Issue("bad_folder", f"{option}: there is no folder {str(folder)!r}", hint="check the path")
    ]
