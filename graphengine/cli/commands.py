"""The commands as typer reads them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from graphengine.cli import options as o
from graphengine.cli.answer import Answer
from graphengine.cli.interrupts import Interrupts
from graphengine.cli.terminal import Terminal
from graphengine.errors import Issue, WorkflowError

if TYPE_CHECKING:
    from graphengine.cli.perform import Opened
    from graphengine.plan import Plan

NAME = "graphengine"
PlanOf = Callable[["Opened", o.Options, Sequence[str], str], "Plan"]
FOR_PARAMS = {"ignore_unknown_options": True, "allow_extra_args": True}
"""Options that a command does not know are the workflow's params, and are left over for `flags.parse_flags`."""


@dataclass
class Session:
    """One command line being served. `title` is what problems are told of, `code` the exit code."""

    terminal: Terminal
    interrupts: Interrupts
    as_json: bool
    title: str = ""
    code: int = 0
    answered: bool = False

    def give(self, answer: Answer, title: str) -> None:
        """Print the answer."""
        self.finish()
        self.code = answer.exit_code
        if self.as_json:
            self.terminal.print(answer.json())
        else:
            self.terminal.answer(answer, title)

    def finish(self) -> None:
        """Nothing but writing is left to do: an interrupt no longer matters, and there is no second answer."""
        self.interrupts.finish()
        self.answered = True


app = typer.Typer(name=NAME, no_args_is_help=True, pretty_exceptions_enable=False)


def _version(wanted: bool) -> None:
    if wanted:
        import graphengine

        typer.echo(f"{NAME} {graphengine.__version__}")
        raise typer.Exit


Version = Annotated[
    bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
]


@app.callback()
def graphengine(version: Version = False) -> None:
    """Node graphs for Stable Diffusion: run workflows, check them, look up the nodes they are made of."""


@app.command(context_settings=FOR_PARAMS, add_help_option=False)
def run(
    context: typer.Context,
    file: o.File = None,
    sets: o.Set = None,
    targets: o.Target = None,
    fail_fast: o.FailFast = False,
    no_cache: o.NoCache = False,
    out: o.Out = None,
    input: o.Input = None,
    models: o.Models = None,
    packs: o.Packs = None,
    cache_dir: o.CacheDir = None,
    device: o.Device = None,
    explain: o.Explain = False,
    as_json: o.Json = False,
    debug: o.Debug = False,
    help: o.Help = False,
) -> None:
    """Run a workflow and print the files it saves.

    The workflow's own params are flags too; they stand after FILE, and `graphengine run FILE --help` shows them. A param
    that is named like one of the options below is called --param-NAME.
    """
    with_workflow(context, run, locals())


@app.command(context_settings=FOR_PARAMS, add_help_option=False)
def check(
    context: typer.Context,
    file: o.File = None,
    sets: o.Set = None,
    targets: o.Target = None,
    no_cache: o.NoCache = False,
    out: o.Out = None,
    input: o.Input = None,
    models: o.Models = None,
    packs: o.Packs = None,
    cache_dir: o.CacheDir = None,
    device: o.Device = None,
    explain: o.Explain = False,
    as_json: o.Json = False,
    debug: o.Debug = False,
    help: o.Help = False,
) -> None:
    """Tell everything that is wrong with a workflow, without running it.

    Takes what `run` takes, the workflow's params too. With --explain it tells what a run would do.
    """
    with_workflow(context, check, locals())


@app.command()
def nodes(
    context: typer.Context,
    id: Annotated[
        str | None,
        typer.Argument(metavar="ID", help="A node type, or a category.", show_default=False),
    ] = None,
    packs: o.Packs = None,
    as_json: o.Json = False,
    debug: o.Debug = False,
) -> None:
    """List the types of nodes, or tell all about one."""
    from graphengine.cli import catalogue
    from graphengine.default import default_engine

    session: Session = context.obj
    registry = default_engine(o.Options(packs=packs or ()).settings()).registry
    specs = catalogue.chosen(registry, id)
    session.finish()
    if session.as_json:
        one = id is not None and id in registry
        data = catalogue.node_json(specs[0]) if one else catalogue.catalogue_json(specs, registry)
        session.terminal.print(data)
        return
    session.terminal.load_errors(registry.errors)
    if id is not None and id in registry:
        catalogue.print_node(specs[0], session.terminal)
    else:
        catalogue.print_list(specs, session.terminal)


def with_workflow(
    context: typer.Context,
    command: Callable[..., None],
    given: Mapping[str, Any],
    plan_of: PlanOf | None = None,
) -> None:
    """What commands with a FILE have in common: find the workflow, read its flags, plan, and answer.

    `plan_of`: what is planned, if not the workflow itself.
    """
    from graphengine.cli import flags, perform

    session: Session = context.obj
    terminal = session.terminal
    known = [item.name for item in fields(o.Options) if given.get(item.name)]
    options = o.Options(**{name: given[name] for name in known})
    name = f"{NAME} {command.__name__}"
    signature = inspect.signature(command, eval_str=True)
    fixed = [
        parameter for parameter in signature.parameters.values() if parameter.name != "context"
    ]
    session.title = options.file
    if options.file.startswith("--") or (not options.file and session.as_json):
        hint = f"FILE comes first: {name} FILE --param value"
        raise WorkflowError(
            [Issue("bad_argument", f"no FILE before {options.file or 'the options'}", hint=hint)]
        )
    if not options.file:
        flags.show_help(fixed, name, command.__doc__ or "")
        session.code = 0 if given["help"] else 2
        return
    taken = [
        text for option in context.command.params for text in (*option.opts, *option.secondary_opts)
    ]
    opened = perform.open_workflow(options, taken)
    if given["help"]:
        params = flags.parameters_of(opened.flags, f"Params of {opened.title}")
        text = f"{opened.title}\n\n{opened.workflow.description}"
        flags.show_help([*params, *fixed[1:]], f"{name} {options.file}", escape(text))
        return
    if not session.as_json:
        terminal.load_errors(opened.engine.registry.errors)
    plan = (plan_of or perform.plan_of)(opened, options, context.args, f"{name} {options.file}")
    session.interrupts.check()
    if command is check:
        answer = perform.check(opened, plan, options, terminal, session.as_json)
    else:
        answer = perform.run(opened, plan, options, terminal, session.interrupts, session.as_json)
    session.give(answer, options.file)
