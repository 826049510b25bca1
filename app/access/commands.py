"""The commands `gradd keys add`, `list` and `remove`. `app.__main__` adds them to the command line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from app.access import key_file
from app.access.key_file import ApiKey, Quotas, UnusableKeyFile
from app.access.permissions import USUAL, Permission

keys = typer.Typer(help="Make, list and remove API keys.", no_args_is_help=True)

File = Annotated[
    Path, typer.Option("--file", envvar="GRADD_KEYS_FILE", help="The file of keys.", show_default=False, dir_okay=False)
]
Name = Annotated[str, typer.Argument(help="The key's name: letters, digits, dots, hyphens, underscores.")]


_USUAL = sorted(USUAL)


@keys.command()
def add(
    name: Name,
    file: File,
    permission: Annotated[list[Permission], typer.Option(help="What the key may do.")] = _USUAL,
    quota: Annotated[
        list[str] | None, typer.Option(help="calls=100/minute, graphs=10 or bytes=1000000.", metavar="NAME=VALUE")
    ] = None,
) -> None:
    """Make a key and print it, this once. The file has its hash. Running servers know it within two seconds."""
    key = key_file.new_key()
    created = datetime.now(UTC).isoformat(timespec="seconds")
    with _told(), key_file.editing(file) as present:
        if any(other.name == name for other in present):
            raise UnusableKeyFile(f"{file}: there is a key {name}; `gradd keys remove {name}` removes it.")
        given = [text.partition("=") for text in quota or ()]
        quotas = Quotas.model_validate({name: value for name, _, value in given})
        hashed, allowed = key_file.hash_of(key), frozenset(permission)
        present.append(ApiKey(name=name, hash=hashed, permissions=allowed, quotas=quotas, created=created))
    typer.echo(f"This is the key {name}. It is shown only now; clients send it as Authorization: Bearer KEY.", err=True)
    typer.echo(key)


@keys.command("list")
def list_keys(file: File) -> None:
    """List the names of the keys, their permissions and quotas, and when they were made."""
    with _told():
        for key in key_file.read(file).keys:
            quotas = " ".join(f"{name}={value}" for name, value in key.quotas.model_dump(exclude_none=True).items())
            typer.echo("\t".join((key.name, ",".join(sorted(key.permissions)), quotas, key.created or "")))


@keys.command()
def remove(name: Name, file: File) -> None:
    """Remove a key. Running servers refuse it within two seconds. Its graphs stay, for a new key of the same name."""
    with _told(), key_file.editing(file) as present:
        kept = [key for key in present if key.name != name]
        if len(kept) == len(present):
            raise UnusableKeyFile(f"{file}: there is no key {name}.")
        present[:] = kept


@contextmanager
def _told() -> Iterator[None]:
    """Print an error in one line, and exit with 1."""
    try:
        yield
    except UnusableKeyFile as error:
        typer.echo(error, err=True)
        raise typer.Exit(1) from None
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        typer.echo(f"{first['loc'][0]}: {first['msg'].removeprefix('Value error, ')}.", err=True)
        raise typer.Exit(1) from None
