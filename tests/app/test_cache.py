"""The cache forgets what was used least recently, by number and by weight."""

from app.cache import Cache


def test_it_forgets_what_was_used_least_recently() -> None:
    cache: Cache[str, int] = Cache(entries=2, weight=100)
    cache.put("a", 1, 1)
    cache.put("b", 2, 1)
    assert cache.get("a") == 1
    cache.put("c", 3, 1)
    assert [cache.get(key) for key in "abc"] == [1, None, 3]


def test_weights_are_bounded() -> None:
    cache: Cache[str, int] = Cache(entries=10, weight=10)
    cache.put("a", 1, 6)
    cache.put("b", 2, 6)
    assert [cache.get(key) for key in "ab"] == [None, 2]
    cache.put("c", 3, 11)
    assert [cache.get(key) for key in "bc"] == [2, None]
    cache.put("b", 4, 1)
    cache.put("d", 5, 9)
    assert [cache.get(key) for key in "bd"] == [4, 5]


def test_lookups_are_counted() -> None:
    cache: Cache[str, int] = Cache(entries=10, weight=10)
    cache.put("a", 1, 6)
    for key in "aab":
        cache.get(key)
    assert "a" in cache
    assert "b" not in cache
    assert cache.usage == (1, 6, 2, 1)
