"""The command line: `gradd serve`, `run`, `ops`, `openapi` and `keys`. `python -m app` runs it too."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from app import startup
from app.access.commands import keys
from app.errors import ProblemError
from app.evaluation.evaluator import Call, Evaluator
from app.evaluation.operations import OPERATIONS
from app.http.server import CannotListen, Server
from app.main import VERSION, create_app
from app.routes.catalogue import op_list, op_page
from app.routes.examples.inline import TUTORIAL
from app.settings import Settings
from app.telemetry import logs
from engine import did_you_mean

main = typer.Typer(name="gradd", help="A gradient server.", no_args_is_help=True, add_completion=False)
main.add_typer(keys, name="keys")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"gradd {VERSION}")
        raise typer.Exit


@main.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """A gradient server: POST a graph of tensors and ops, get outputs, gradients and the DAG."""


@main.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[str | None, typer.Option(help="Port to listen on; 0 takes a free one.", metavar="INTEGER")] = None,
) -> None:
    """Serve until it is told to stop. All settings are environment variables: GRADD_PORT=9000.

    Wrong settings exit with 2, an address that cannot be listened on exits with 1.
    """
    settings = _settings({"host": host, "port": port}, serves=True)
    logs.configure(settings)
    app = create_app(settings)
    key = "KEY" if settings.keys_file else None
    server = Server(app, lambda url: typer.echo(curl_line(url, key)))
    try:
        server.serve_until_stopped()
    except CannotListen as error:
        typer.echo(error, err=True)
        raise typer.Exit(1) from None


def _settings(options: startup.Options, *, serves: bool = False) -> Settings:
    """Return the settings. Wrong ones are named on standard error, one in a line."""
    try:
        return startup.settings_of(options, serves=serves)
    except startup.BadSettings as error:
        typer.echo(error, err=True)
        raise typer.Exit(2) from None


def curl_line(url: str, key: str | None = None) -> str:
    """Return a shell command that posts the tutorial's request, with a key if there is one."""
    body = json.dumps(TUTORIAL, separators=(",", ":"))
    with_key = "" if key is None else f" -H 'authorization: Bearer {key}'"
    return f"curl {url}/v1/gradients{with_key} -H 'content-type: application/json' -d '{body}'"


def _operation(name: str) -> str:
    if name not in OPERATIONS:
        raise typer.BadParameter(did_you_mean(name, OPERATIONS) or f"It is one of {', '.join(OPERATIONS)}.")
    return name


@main.command()
def run(
    file: Annotated[str, typer.Argument(help="A request's JSON; - reads standard input.")],
    operation: Annotated[
        str, typer.Option(help=f"What is asked: {', '.join(OPERATIONS)}.", callback=_operation)
    ] = "gradients",
) -> None:
    """Answer one request without a server. Refused ones print a problem document and exit with 1."""
    settings = _settings({})
    try:
        text = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        typer.echo(f"{file}: {error.strerror}", err=True)
        raise typer.Exit(1) from None
    try:
        reply = Evaluator(settings).answer(Call(operation, text)).body
    except ProblemError as problem:
        typer.echo(problem.body(None), err=True)
        raise typer.Exit(1) from None
    typer.echo(reply)


@main.command()
def ops(name: Annotated[str | None, typer.Argument(help="An op's name.")] = None) -> None:
    """List the ops, or show one op's page."""
    if name is None:
        for op in op_list()["ops"]:
            typer.echo(f"{op['signature']}\n    {op['summary']}")
        return
    try:
        _print(op_page(name))
    except ProblemError as problem:
        typer.echo(f"{problem.detail} {problem.faults[0].hint}", err=True)
        raise typer.Exit(1) from None


@main.command()
def openapi() -> None:
    """Print the API's description."""
    _print(create_app().openapi())


def _print(document: dict[str, Any]) -> None:
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False))


if __name__ == "__main__":
    main()
