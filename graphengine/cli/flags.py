"""The params of a workflow as typed flags: read off the inputs they feed, parsed and shown by typer."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from graphengine.check import options_of
from graphengine.cli.values import checked, range_words
from graphengine.reading import first_input, kinds_of, read_value
from graphengine.spec import MISSING

if TYPE_CHECKING:
    from graphengine.errors import Issue
    from graphengine.files import Files
    from graphengine.registry import Registry
    from graphengine.spec import Input
    from graphengine.workflow import Workflow

MANY_FILES = 8
METAVARS = {"integer": "INTEGER", "number": "NUMBER", "string": "TEXT"}


@dataclass(frozen=True)
class Flag:
    """One param as a flag. `place` is the first input it feeds that is known, `target` what is known of that.

    `files` are those that a flag for a file can name now.
    """

    name: str
    option: str
    negative: str | None
    place: str
    target: Input | None
    default: Any
    help: str
    files: Sequence[str] = ()

    @property
    def metavar(self) -> str:
        if self.negative:
            return " "
        if self.target is None or not self.target.widget:
            return "VALUE"
        if options_of(self.target):
            return "NAME"
        if self.target.file is not None:
            return "FILE"
        kinds = kinds_of(self.target)
        return METAVARS.get(next(iter(kinds)), "JSON") if len(kinds) == 1 else "VALUE"

    @property
    def described(self) -> str:
        """The help text with choices or range, and the default."""
        facts = []
        if self.target is None:
            facts.append(f"it feeds {self.place}, which is not known here")
        elif self.target.widget:
            options = options_of(self.target)
            facts.append(f"one of: {', '.join(options)}" if options else range_words(self.target))
        if self.files:
            more = ", ..." if len(self.files) > MANY_FILES else ""
            facts.append(f"there are: {', '.join(self.files[:MANY_FILES])}{more}")
        if self.default is not MISSING:
            facts.append(f"default: {_shown(self.default)}")
        elif self.target is None or self.target.required:
            facts.append("required")
        return "  ".join(
            [escape(self.help), *(f"[dim]{escape(f'[{fact}]')}[/dim]" for fact in facts if fact)]
        ).strip()


def flags_of(
    workflow: Workflow, registry: Registry, files: Files, taken: Iterable[str]
) -> list[Flag]:
    """A flag per param. One whose name is `taken` by an option is called `--param-NAME` instead."""
    used = set(taken)
    flags = []
    for name, param in workflow.params.items():
        place, target = first_input(param, workflow, registry)
        yes_or_no = target is not None and target.widget and kinds_of(target) == {"boolean"}
        option, negative = _free_name(name, yes_or_no, used)
        used.update(filter(None, (option, negative)))
        flags.append(
            Flag(
                name=name,
                option=option,
                negative=negative,
                place=place,
                target=target,
                default=_default(workflow, place, target),
                files=_names(files, target),
                help=param.help
                or param.title
                or (target.description if target else "")
                or _words(name),
            )
        )
    return flags


def parse_flags(
    flags: Sequence[Flag], arguments: Sequence[str], name: str
) -> tuple[dict[str, Any], list[Issue]]:
    """The values of params that a command line gives, and what is wrong with the others.

    Raises `typer.TyperException` for a flag that does not exist or has no value.
    """
    given: dict[str, Any] = {}

    def take(**texts: Any) -> None:
        given.update({key: text for key, text in texts.items() if text is not None})

    _built(take, parameters_of(flags)).main([*arguments], prog_name=name, standalone_mode=False)
    values: dict[str, Any] = {}
    issues: list[Issue] = []
    for index, flag in enumerate(flags):
        text = given.get(f"param_{index}")
        if text is None:
            continue
        value = read_value(text, flag.target, literal=True) if isinstance(text, str) else text
        if flag.target is not None and (
            issue := checked(flag.option, flag.place, flag.target, value)
        ):
            issues.append(issue)
        else:
            values[flag.name] = value
    return values, issues


def parameters_of(flags: Sequence[Flag], panel: str = "Params") -> list[inspect.Parameter]:
    """The flags as parameters of a function, as typer reads them."""
    found = []
    for index, flag in enumerate(flags):
        names = f"{flag.option}/{flag.negative}" if flag.negative else flag.option
        kind = bool if flag.negative else str
        option = typer.Option(
            names,
            metavar=flag.metavar,
            help=flag.described,
            show_default=False,
            rich_help_panel=escape(panel),
        )
        found.append(_parameter(f"param_{index}", Annotated[kind | None, option]))
    return found


def show_help(parameters: Sequence[inspect.Parameter], name: str, text: str) -> None:
    """Print the help of a command as if it had these parameters."""
    paragraphs = [" ".join(paragraph.split()) for paragraph in inspect.cleandoc(text).split("\n\n")]
    built = _built(lambda **values: None, parameters, "\n\n".join(paragraphs))
    with built.make_context(name, [], resilient_parsing=True) as context:
        print(built.get_help(context))


def _built(
    function: Callable[..., None], parameters: Sequence[inspect.Parameter], help: str = ""
) -> Any:
    """The function as a command of typer's that has these parameters."""

    def command(**values: Any) -> None:
        function(**values)

    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    app = typer.Typer(add_completion=False)
    app.command(help=help, add_help_option=False)(command)
    return typer.main.get_command(app)


def _parameter(name: str, annotation: Any) -> inspect.Parameter:
    return inspect.Parameter(
        name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=None, annotation=annotation
    )


def _default(workflow: Workflow, place: str, target: Input | None) -> Any:
    name, _, key = place.rpartition(".")
    values: Mapping[str, Any] = workflow.nodes[name].values if name in workflow.nodes else {}
    if key in values:
        return values[key]
    return (
        target.schema().get("default", MISSING) if target is not None and target.widget else MISSING
    )


def _names(files: Files, target: Input | None) -> list[str]:
    mark = target.file if target is not None else None
    return (
        files.names(mark.folder, mark.suffixes)
        if mark is not None and mark.folder in files.folders
        else []
    )


def _free_name(name: str, yes_or_no: bool, used: set[str]) -> tuple[str, str | None]:
    stem = re.sub(r"[^\w]+|_+", "-", name).strip("-").lower() or "value"
    tried = [
        stem,
        f"param-{stem}",
        *(f"param-{stem}-{number}" for number in range(2, len(used) + 3)),
    ]
    for word in tried:
        option, negative = f"--{word}", f"--no-{word}" if yes_or_no else None
        if option not in used and negative not in used:
            return option, negative
    raise AssertionError("one of so many names is free")


def _words(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _shown(value: Any) -> str:
    if value is True or value is False:
        return "yes" if value else "no"
    text = value if isinstance(value, str) else json.dumps(value)
    text = " ".join(text.split()) if text.strip() else '""'
    return text if len(text) <= 60 else f"{text[:57]}..."
