"""The settings of a start: from the environment and the command line, with every fault of them in one line each.

The command line calls `settings_of`. For a server it also finds the faults that only the machine knows: a host without
an address, a store that does not open, a file of keys that cannot be read, and a missing package for spans.
"""

from __future__ import annotations

import os
import re
import socket
import sys
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from app.access import key_file
from app.access.key_file import UnusableKeyFile
from app.graphs.store.store import Store
from app.graphs.store.tables import UnusableStore
from app.settings import PREFIX, Settings
from app.telemetry import tracing
from engine import Suggestions

Options = Mapping[str, str | None]
"""The values of the command line's options, by the setting's name. None: the option is not given."""

_SIMILAR = 0.7
"""The least similarity of a suggested name. All names have the prefix, so it is larger than for other names."""

_SHOWN = 80
"""The most characters of a value in a message."""

_SERVICE_LINK = re.compile(r"(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)")
"""Variables that Kubernetes sets in every container for a Service with the name gradd, after the prefix."""

_LINKED = re.compile(r"(tcp|udp|sctp)://")

_UNSHOWN = {"store"}
"""Settings whose value may contain a password."""

_OTHERS = ("GRADD_TEST_URL",)
"""Variables of the tests. The server does not read them."""

_CONFLICTS = (
    ("max_graph_bytes", "max_store_bytes", "A graph of the largest size does not fit into the store."),
    ("max_memory_bytes", "worker_memory_bytes", "A worker has no memory for the largest computation."),
    ("inline_ms", "timeout_ms", "The longest computation on the event loop takes longer than a request may take."),
)
"""Pairs of settings, and what is wrong if both are set and the first is larger than the second."""


class BadSettings(Exception):
    """Settings with which the service cannot start. `lines` has one message for each fault, for the operator."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


def settings_of(options: Options, *, serves: bool = False) -> Settings:
    """Return the settings of the environment and the options. Options have precedence.

    If the process `serves`, the host, the store and the export of spans are checked too. Raises BadSettings with all
    faults.
    """
    given = {name: value for name, value in options.items() if value is not None}
    settings, faults = _validated(given)
    lines = [*faults.values(), *_unknown_names(), *_conflicts(settings, faults.keys())]
    if serves:
        lines += _of_host(settings, given, faults.keys())
        lines += _of_store(settings)
        lines += _of_keys(settings)
        lines += _of_ports(settings)
        lines += _of_tracing(settings)
    if lines:
        raise BadSettings(lines)
    return settings


def _validated(given: Mapping[str, str]) -> tuple[Settings, dict[str, str]]:
    """Return the settings, with defaults in place of wrong values, and a message for each wrong value by its name."""
    try:
        return Settings(**given), {}  # type: ignore[arg-type]
    except ValidationError as error:
        faults: dict[str, str] = {}
        for found in error.errors():
            name = str(found["loc"][0])
            faults.setdefault(name, _fault(name, given, _message(found)))
    fields = Settings.model_fields
    defaults = {name: fields[name].get_default(call_default_factory=True, validated_data={}) for name in faults}
    return Settings(**{**given, **defaults}), faults


def _message(found: ErrorDetails) -> str:
    """Return what is wrong with a value if it is more than its type or its range; else an empty string."""
    message = found["msg"].removeprefix("Value error, ")
    if found["type"] == "value_error":
        return message
    return f"{found['input']!r}: {message}." if len(found["loc"]) > 1 else ""


def _fault(name: str, given: Mapping[str, str], message: str) -> str:
    """Return the message for a wrong value: the name, the value, and what is allowed."""
    value = given.get(name, _environment().get(_variable(name), ""))
    linked = name not in given and _LINKED.match(value)
    hint = " Kubernetes sets it for a Service named gradd; set enableServiceLinks: false." if linked else ""
    return f"{_shown(name, given)}: {message or f'it takes {_allowed(name)}.'}{hint}"


def _shown(name: str, given: Mapping[str, str]) -> str:
    """Return a setting with its value, as the operator wrote it."""
    variable = _variable(name)
    value = given.get(name, _environment().get(variable, ""))
    start = f"--{name.replace('_', '-')} " if name in given else f"{variable}="
    if name in _UNSHOWN:
        return start.rstrip(" =")
    text = value if value.isprintable() else ascii(value)
    return start + (text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")


def _variable(name: str) -> str:
    return f"{PREFIX}{name}".upper()


def _environment() -> dict[str, str]:
    """Return the environment's variables by their upper-case name. Names of settings are not case-sensitive."""
    return {name.upper(): value for name, value in os.environ.items()}


def _allowed(name: str) -> str:
    """Return the values that a setting takes, in words."""
    schema = Settings.model_json_schema()["properties"][name]
    schema = schema.get("anyOf", [schema])[0]
    if "enum" in schema:
        *others, last = map(str, schema["enum"])
        return f"{', '.join(others)} or {last}"
    return _KINDS.get(schema.get("type"), "a text") + _bounds(schema)


_KINDS = {
    "array": 'a JSON list of texts, as ["one", "two"]',
    "boolean": "true or false",
    "integer": "a whole number",
    "number": "a number",
}
"""The types of a JSON schema, in words."""


def _bounds(schema: Mapping[str, Any]) -> str:
    """Return the bounds of a number, in words."""
    least, most = schema.get("minimum"), schema.get("maximum")
    if least is not None and most is not None:
        return f" from {least} to {most}"
    return f" of at least {least}" if least is not None else f" of at most {most}" if most is not None else ""


def _unknown_names() -> Iterator[str]:
    """Yield a message for each variable with the prefix that is no setting."""
    known = [_variable(name) for name in Settings.model_fields]
    suggestions = Suggestions()
    for name, value in sorted(_environment().items()):
        bare = name.removeprefix(PREFIX)
        if bare == name or name in known or name in _OTHERS or _SERVICE_LINK.fullmatch(bare) or _LINKED.match(value):
            continue
        near = suggestions.did_you_mean(name, known, _SIMILAR)
        yield f"{name} is not a setting. {near or 'docs/settings.md lists the settings.'}"


def _conflicts(settings: Settings, wrong: AbstractSet[str]) -> Iterator[str]:
    """Yield a message for each pair of settings that contradict each other. Defaults contradict nothing."""
    for name, other, meaning in _CONFLICTS:
        if {name, other} <= settings.model_fields_set - wrong:
            value, most = getattr(settings, name), getattr(settings, other)
            if value > most:
                yield f"{_variable(name)}={value} is over {_variable(other)}={most}. {meaning}"


def _of_ports(settings: Settings) -> Iterator[str]:
    """Yield a message if the metrics have no port of their own."""
    if settings.metrics_port is not None and settings.metrics_port == settings.port:
        yield f"{_variable('metrics_port')}={settings.metrics_port} is the service's own port; name another one."


def _of_host(settings: Settings, given: Mapping[str, str], wrong: AbstractSet[str]) -> Iterator[str]:
    """Yield a message if the host has no address."""
    if "host" in wrong:
        return
    try:
        socket.getaddrinfo(settings.host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "not a name of a host"
        allowed = "It takes an address or a name of this machine."
        yield f"{_shown('host', given)}: this host has no address ({reason}). {allowed}"


def _of_tracing(settings: Settings) -> Iterator[str]:
    """Yield a message if spans are wanted and cannot be exported."""
    try:
        tracing.check(settings)
    except tracing.UnusableTracing as error:
        yield f"GRADD_OTEL: {error}"


def _of_store(settings: Settings) -> Iterator[str]:
    """Yield a message if the store does not open. Warn on standard error if its server does not answer."""
    store = Store(settings)
    try:
        if warning := store.check():
            sys.stderr.write(f"GRADD_STORE: {warning}\n")
    except UnusableStore as error:
        yield f"GRADD_STORE: {error}"
    finally:
        store.close()


def _of_keys(settings: Settings) -> Iterator[str]:
    """Yield a message if the file of keys is not usable."""
    if settings.keys_file is not None:
        try:
            key_file.read(Path(settings.keys_file))
        except UnusableKeyFile as error:
            yield f"GRADD_KEYS_FILE: {error}"
