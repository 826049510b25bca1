"""The OpenAPI description: helpers for the routes' FastAPI arguments, and schemas that pydantic makes of the models."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from app.schemas.replies import Problem

Schema = dict[str, Any]
Model = type[BaseModel]


def ref(model: Model) -> Schema:
    """Return the reference to a model's schema."""
    return {"$ref": f"#/components/schemas/{model.__name__}"}


class _Generated(GenerateJsonSchema):
    """Schemas from which client generators make usable code.

    Only models have titles, because generators make a type of each title. Integers have the format of 64 bits; without
    a format, generated integers have 32 bits in Go, Java and C#.
    """

    def int_schema(self, schema: Any) -> Schema:
        return {**super().int_schema(schema), "format": "int64"}

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002
        return False


def components(models: Iterable[Model]) -> dict[str, Schema]:
    """Return the schemas of models and of all models that they refer to."""
    wanted = [(model, "validation") for model in models]
    template = "#/components/schemas/{model}"
    _, document = models_json_schema(wanted, schema_generator=_Generated, ref_template=template)  # type: ignore[arg-type]
    schemas: dict[str, Schema] = document["$defs"]
    return schemas


def content(schema: Schema) -> dict[str, Any]:
    """Return the description of a JSON reply."""
    return {"description": "The reply.", "content": {"application/json": {"schema": schema}}}


def replies(model: Model) -> dict[str, Any]:
    """Return the description of a reply in JSON or MessagePack; the client's Accept header selects the format."""
    return {"description": f"The reply. {_PACKED}", "content": {media: {"schema": ref(model)} for media in _MEDIA}}


def bodies(model: Model, examples: Mapping[str, Any]) -> dict[str, Any]:
    """Return the description of a request body in JSON or MessagePack. The examples are JSON."""
    media: dict[str, dict[str, Any]] = {name: {"schema": ref(model)} for name in _MEDIA}
    media["application/json"]["examples"] = dict(examples)
    return {"description": _PACKED, "required": True, "content": media}


_MEDIA = ("application/json", "application/msgpack")
_PACKED = "MessagePack has the same members; a tensor's `data` are its raw little-endian bytes."


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the descriptions of problem documents with these statuses."""
    media = {"application/problem+json": {"schema": ref(Problem)}}
    return {status: {"description": HTTPStatus(status).phrase, "content": media} for status in statuses}


def guard(described: dict[str, Any], *, needs_key: bool) -> None:
    """Add the API keys to an OpenAPI document, and the statuses of requests that are not let in.

    A server without keys takes requests with and without them.
    """
    described["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    described["security"] = [{"key": []}] if needs_key else [{}, {"key": []}]
    for path, methods in described["paths"].items():
        is_open = path.startswith("/health/")
        for operation in methods.values():
            if is_open:
                operation["security"] = []
            statuses = (403, 421) if is_open else (401, 403, 421, 429)
            added = {str(status): value for status, value in problems(*statuses).items()}
            operation["responses"] = dict(sorted({**added, **operation["responses"]}.items()))
