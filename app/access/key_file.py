"""The file of API keys: JSON with the name, the hash, the permissions and the quotas of each key.

The file has the SHA-256 hashes of the keys, never the keys. A key is 256 random bits, so nobody can find it by trying,
and a slow hash as for passwords would add nothing. `app.access.keys` reads the file, the commands read and write it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from app.access.permissions import USUAL, Permission

PREFIX = "gradd_"
"""The start of every key, by which scanners for secrets find it."""

_MOST_BYTES = 2**24
"""The largest file that is read."""

_FRESH = 0o644
"""The mode of a new file. Hashes are no secrets, and the server may run as another user."""


class UnusableKeyFile(Exception):
    """The file cannot be read or written, or is not a file of keys. The message is for the operator, without hashes."""


def _hash(value: str) -> str:
    if not re.fullmatch("sha256-[0-9a-f]{64}", value):
        raise ValueError("it is no hash; `gradd keys add` makes a key and its hash")
    return value


_UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}


def _rate(value: str) -> str:
    if not re.fullmatch(r"[1-9][0-9]{0,11}/(?:second|minute|hour|day)", value):
        raise ValueError(f"it is no rate as 100/minute; the units are {', '.join(_UNITS)}")
    return value


class Quotas(BaseModel):
    """The quotas of a key. None: the limits of the server alone."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    calls: Annotated[str, AfterValidator(_rate)] | None = None
    """Requests in a time, as `100/minute`."""
    graphs: Annotated[int, Field(ge=0, lt=2**53)] | None = None
    """Registered graphs."""
    bytes: Annotated[int, Field(ge=0, lt=2**53)] | None = None
    """Bytes of registered graphs."""

    @property
    def rate(self) -> tuple[int, int] | None:
        """The number of calls, and the seconds in which the key may make them."""
        if self.calls is None:
            return None
        number, _, unit = self.calls.partition("/")
        return int(number), _UNITS[unit]


class ApiKey(BaseModel):
    """A key: its name, which owns the registered graphs, its hash, and what it may do."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    hash: Annotated[str, AfterValidator(_hash)]
    permissions: frozenset[Permission] = USUAL
    quotas: Quotas = Quotas()
    created: str | None = None


class KeyFile(BaseModel):
    """The members of the file."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    keys: tuple[ApiKey, ...] = ()


def new_key() -> str:
    """Return a new random key."""
    return PREFIX + secrets.token_urlsafe(32)


def hash_of(key: str) -> str:
    """Return the hash of a key, as the file has it."""
    return f"sha256-{hashlib.sha256(key.encode('latin-1')).hexdigest()}"


def read(path: Path) -> KeyFile:
    """Return the keys of a file. Raises UnusableKeyFile."""
    try:
        with path.open("rb") as file:
            text = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise UnusableKeyFile(f"{path}: {error.strerror}. `gradd keys add NAME` makes the file.") from None
    if len(text) > _MOST_BYTES:
        raise UnusableKeyFile(f"{path}: it has more than {_MOST_BYTES} bytes.")
    try:
        found = KeyFile.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        place = "/".join(map(str, first["loc"])) or "the file"
        raise UnusableKeyFile(f"{path}: {place}: {first['msg'].removeprefix('Value error, ')}.") from None
    for member in ("name", "hash"):
        values = [getattr(key, member) for key in found.keys]
        if len(set(values)) < len(values):
            names = sorted({key.name for key in found.keys if values.count(getattr(key, member)) > 1})
            raise UnusableKeyFile(f"{path}: two keys have the same {member}: {', '.join(names)}.")
    return found


@contextmanager
def editing(path: Path) -> Iterator[list[ApiKey]]:
    """Yield the keys of a file as a list to change, and write it back. A file that does not exist has none.

    Other processes see the old file or the new one, and edit one after the other. Raises UnusableKeyFile.
    """
    try:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise UnusableKeyFile(f"{path.parent}: {error.strerror}.") from None
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        keys = list(read(path).keys) if path.exists() else []
        yield keys
        _write(path, KeyFile(keys=tuple(keys)))
    finally:
        os.close(folder)


def _write(path: Path, content: KeyFile) -> None:
    beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    mode = path.stat().st_mode & 0o777 if path.exists() else _FRESH
    try:
        try:
            beside.write_text(content.model_dump_json(indent=2, exclude_defaults=True) + "\n", encoding="ascii")
            beside.chmod(mode)
            beside.replace(path.resolve())
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        raise UnusableKeyFile(f"{path}: {error.strerror}.") from None
