"""Every setting is documented, read from the environment and held to its bounds."""

import pytest
from pydantic import ValidationError

from app.settings import Settings
from tests.app.client import Client

FIELDS = Settings.model_fields


@pytest.mark.parametrize("name", FIELDS)
def test_described(name: str) -> None:
    description = FIELDS[name].description or ""
    assert description[:1].isupper()
    assert description.endswith(".")


def test_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADD_PORT", "9000")
    monkeypatch.setenv("GRADD_CORS_ORIGINS", '["https://example.org"]')
    monkeypatch.setenv("GRADD_DOCS", "false")
    settings = Settings()
    assert (settings.port, settings.cors_origins, settings.docs) == (9000, ["https://example.org"], False)


@pytest.mark.parametrize(
    ("name", "value"),
    [("PORT", "x"), ("PORT", "70000"), ("CONCURRENCY", "0"), ("MAX_RANK", "65"), ("LOG_FORMAT", "xml")],
)
def test_wrong_values_are_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"GRADD_{name}", value)
    with pytest.raises(ValidationError, match=name.lower()):
        Settings()


def test_limits_are_shown_with_their_descriptions(client: Client) -> None:
    shown = client.get("/v1/limits").json()
    assert shown["max_body_bytes"] == {
        "value": 128 * 2**20,
        "description": "Maximum bytes of a request's body, before and after decompression; over it, 413.",
    }
    assert "host" not in shown
    assert {name for name in FIELDS if name.startswith("max_")} <= set(shown)
