"""The settings of the service, from environment variables: `GRADD_PORT=9000` sets `port`.

`app.main.create_app` and the command line use one `Settings`. Settings made by `_limit` are limits on requests, and
`GET /v1/limits` lists them with their descriptions.
"""

from __future__ import annotations

import os
import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, IPvAnyNetwork, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from engine import Limits, available_cores

PREFIX = "GRADD_"
"""The start of the names of the settings' variables."""

_MIB = 2**20

_MOST = 2**53
"""The largest number that a setting takes: JSON has larger integers only as approximate numbers."""


def _limit(default: int, description: str, *, at_least: int = 1) -> Any:
    return Field(default, ge=at_least, description=description, json_schema_extra={"limit": True})


def _text_of_path(value: object) -> object:
    return str(value) if isinstance(value, os.PathLike) else value


def _origin(value: str) -> str:
    """Return an origin as browsers write it. Raises ValueError for a text that is no origin, as one with a path."""
    if value != "*" and not _ORIGIN.fullmatch(value):
        raise ValueError(
            f"{value!r} is no origin; an origin is * or scheme://host or scheme://host:port, in small letters."
        )
    return value


_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://([^\s/?#@:A-Z]+|\[[0-9a-f:.]+\])(:\d{1,5})?|null")


def _host_name(value: str) -> str:
    """Return a host name or an address. Raises ValueError for a text that is neither, as one with a port."""
    if not _HOST_NAME.fullmatch(value):
        raise ValueError(f"{value!r} is no host; a host is a name or an address, without scheme and port.")
    return value


_HOST_NAME = re.compile(r"\*|(\*\.)?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?|\[[0-9A-Fa-f:.]+\]")


class _Environment(EnvSettingsSource):
    """The environment's variables. A list that is no JSON is a wrong value like others, which validation refuses."""

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        """Return the value of a list, or the variable's text if it is no JSON."""
        try:
            return super().decode_complex_value(field_name, field, value)
        except ValueError:
            return value


class Settings(BaseSettings):
    """The settings of one service. They are read at its start."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, frozen=True, extra="ignore")

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 selects a free port.")
    metrics_port: int | None = Field(
        None, ge=1, le=65535, description="Port of its own for GET /metrics, which needs no key there."
    )
    published_port: int | None = Field(
        None,
        ge=1,
        le=65535,
        description="Port that clients call, if it is a different port, for example of a container.",
    )

    max_body_bytes: int = _limit(
        128 * _MIB, "Maximum bytes of a request's body, before and after decompression; over it, 413."
    )
    max_reply_bytes: int = _limit(
        512 * _MIB,
        "Maximum bytes of a reply, predicted with the maximum length of each number; over it, 422.",
    )
    max_header_bytes: int = _limit(
        64 * 1024, "Maximum bytes of a request's line and headers; over it, 431.", at_least=1024
    )
    max_tensors: int = _limit(100_000, "Tensors in a graph.")
    max_ops: int = _limit(100_000, "Ops in a graph.")
    max_rank: Annotated[int, Field(le=32)] = _limit(32, "Dimensions of a tensor.")
    max_elements: int = _limit(2**28, "Elements of a tensor of a request or of a result.")
    max_nodes: int = _limit(2_000_000, "Primitive operations of a computation, with its derivatives.")
    max_memory_bytes: int = _limit(4096 * _MIB, "Peak memory of a computation in bytes, computed before it runs.")
    timeout_ms: int = _limit(30_000, "Milliseconds from the arrival of a request's body to the reply; over it, 504.")
    body_timeout_ms: int = _limit(60_000, "Milliseconds for the arrival of a body; over it, 408.")
    header_timeout_ms: int = _limit(10_000, "Milliseconds for the arrival of a request's line and headers.")
    write_timeout_ms: int = _limit(
        30_000, "Milliseconds for which a client may read nothing of a reply; over it, the connection is closed."
    )
    min_body_rate: int = _limit(
        4096,
        "Bytes a second with which a body must arrive, after as long as headers may take; below it, 408. 0: any rate.",
        at_least=0,
    )
    max_bytes_in_flight: int = _limit(
        1024 * _MIB,
        "Size of all bodies and replies in flight together in bytes, bodies as they arrive and decompressed; beyond "
        "it, 503 with Retry-After.",
        at_least=_MIB,
    )
    max_client_bytes_in_flight: int = _limit(
        256 * _MIB,
        "Size of all bodies in bytes that may arrive at the same time from one client's address; beyond it, 503 with "
        "Retry-After.",
        at_least=_MIB,
    )
    concurrency: Annotated[int, Field(le=1024)] = _limit(
        available_cores(), "Requests that are computed at the same time."
    )
    queue: int = _limit(256, "Requests that may wait for a slot; over it, 503 with Retry-After.", at_least=0)

    max_graphs: int = _limit(1000, "Maximum number of registered graphs; over it, 429.", at_least=0)
    max_graph_bytes: int = _limit(64 * _MIB, "Maximum bytes of a registered graph: its text and its tensors' values.")
    max_store_bytes: int = _limit(512 * _MIB, "Maximum bytes of all registered graphs together; over it, 429.")

    inline_ms: float = Field(
        1.0,
        ge=0,
        allow_inf_nan=False,
        description="Predicted milliseconds up to which a request is computed in the server process, without a worker.",
    )
    worker_memory_bytes: int = Field(
        8192 * _MIB,
        ge=512 * _MIB,
        description="Maximum bytes of writable memory of a worker process, if the operating system limits it.",
    )
    retry_after_s: int = Field(1, ge=0, description="Value of Retry-After in replies with 429 or 503, in seconds.")
    idle_timeout_s: int = Field(30, ge=1, description="Seconds that a connection may be idle between two requests.")
    stop_timeout_s: int = Field(
        30, ge=0, description="Seconds that running requests have to end when the server stops."
    )
    cached_plans: int = Field(512, ge=1, description="Maximum number of cached plans.")
    cached_plan_bytes: int = Field(
        256 * _MIB,
        ge=0,
        description="Maximum bytes of cached plans, and separately of cached request structures.",
    )
    cached_graph_bytes: int = Field(
        256 * _MIB, ge=0, description="Maximum bytes of registered graphs in the memory of a process."
    )
    store: Annotated[str | None, BeforeValidator(_text_of_path)] = Field(
        None,
        description="Path of a SQLite file or URL of a PostgreSQL database for registered graphs; without one they are "
        "gone when the server stops.",
    )
    graph_ttl_s: int | None = Field(
        None, ge=60, description="Seconds after which a registered graph that nobody calls is deleted; null for never."
    )
    trusted_proxies: list[IPvAnyNetwork] = Field(
        [],
        description="Addresses and networks of proxies whose X-Forwarded-For or Forwarded header is believed, as a "
        "JSON list.",
    )
    allowed_hosts: list[Annotated[str, AfterValidator(_host_name)]] = Field(
        [],
        description="Additional host names of the service, as a JSON list; `*.example.org` is every "
        "name below it, `*` every name.",
    )
    cors_origins: list[Annotated[str, AfterValidator(_origin)]] = Field(
        [], description="Origins whose pages may call the service, as a JSON list."
    )
    keys_file: Annotated[str | None, BeforeValidator(_text_of_path)] = Field(
        None, description="File with the names and hashes of API keys; without one everybody may call the service."
    )
    otel: bool | None = Field(
        None,
        description="Whether spans go to an OpenTelemetry collector; unset, they do if OTEL_EXPORTER_OTLP_ENDPOINT is "
        "set.",
    )
    docs: bool = Field(True, description="Whether the documentation page is served at /docs.")
    log_format: Literal["json", "console"] = Field(
        "json", description="Format of log lines: JSON, or text for a console."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Minimum level of logged messages."
    )

    @field_validator("*", mode="after")
    @classmethod
    def _is_bounded(cls, value: object) -> object:
        if isinstance(value, int | float) and value > _MOST:
            raise ValueError(f"it takes at most {_MOST}.")
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return where settings come from: arguments, then the environment."""
        return init_settings, _Environment(settings_cls)

    def engine_limits(self) -> Limits:
        """Return the engine's limits on computations."""
        return Limits(self.max_rank, self.max_elements, self.max_nodes, self.max_memory_bytes)

    def shown_limits(self) -> dict[str, dict[str, Any]]:
        """Return the limits on requests: a dict from name to value and description."""
        shown = {}
        for name, field in type(self).model_fields.items():
            if isinstance(field.json_schema_extra, dict) and field.json_schema_extra.get("limit"):
                shown[name] = {"value": getattr(self, name), "description": field.description}
        return shown
