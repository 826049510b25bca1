"""Health is answered while every worker is busy, and so are small requests."""

from app.main import create_app
from app.settings import Settings
from tests.app.bodies import sum_of_exp
from tests.app.client import client_of
from tests.app.http.test_server import HEAVY


def test_health_and_small_requests_do_not_wait_for_large_ones() -> None:
    with client_of(create_app(Settings(concurrency=2))) as client:
        client.post("/v1/gradients", sum_of_exp())
        large = [("large", "POST", "/v1/gradients", {"content": HEAVY})] * 4
        small = [("small", "POST", "/v1/gradients", {"json": sum_of_exp()}), ("small", "GET", "/health/ready", {})]
        ended = client.ended([*large, *small * 5])
    assert ended == ["small"] * 10 + ["large"] * 4
