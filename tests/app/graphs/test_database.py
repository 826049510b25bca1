"""What GRADD_STORE may be: a path or a URL of a database that is offered; anything else is refused in one line."""

import sys

import pytest

from app.graphs.store.store import Store
from app.graphs.store.tables import UnusableStore
from app.settings import Settings


@pytest.mark.parametrize(
    ("location", "shown"),
    [
        ("mysql://user:secret@host/graphs", "The store mysql://user:***@host/graphs cannot be used"),
        ("postgresql+asyncpg://user:secret@host/graphs", "The store postgresql+asyncpg://user:***@host/graphs cannot"),
        ("sqlite://", "The store sqlite:// cannot be used"),
        ("sqlite:///", "The store sqlite:/// cannot be used"),
        ("sqlite:///:memory:", "The store sqlite:///"),
        ("sqlite:///graphs.sqlite?mode=ro", "The store sqlite:///graphs.sqlite cannot be used"),
        ("://secret", "GRADD_STORE is not a URL"),
        ("postgresql://user:secret@host:port/graphs", "GRADD_STORE is not a URL"),
    ],
)
def test_a_location_that_is_none_is_refused(location: str, shown: str) -> None:
    store = Store(Settings(store=location))
    with pytest.raises(UnusableStore) as refused:
        store.check()
    assert str(refused.value).startswith(shown)
    assert "a path, sqlite:///path or postgresql+psycopg://user:password@host/database" in str(refused.value)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("scheme", ["postgresql", "postgresql+psycopg"])
def test_a_driver_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    monkeypatch.delitem(sys.modules, "app.graphs.store.postgresql", raising=False)
    with pytest.raises(UnusableStore) as refused:
        Store(Settings(store=f"{scheme}://user:secret@host/graphs")).check()
    assert str(refused.value) == (
        f"The store {scheme}://user:***@host/graphs needs a driver that is not installed; "
        "run pip install 'gradd[postgres]'."
    )
