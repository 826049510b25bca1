"""Replicas behind nginx with one database: one call is as good as another, whichever replica gets it, and a replica
that goes takes no call with it.
"""

import re
import time
from collections import Counter
from pathlib import Path

import httpx
import pytest

from app.routes.examples.registered import CALLS_OF_LAYER, REGISTERED_ID
from tests.app.graphs.postgres import Cluster
from tests.scale.load import REGISTRATION, Call, answers, calls, load
from tests.scale.replicas import Deployment, deployment
from tests.serving import PATIENCE_S

pytestmark = [pytest.mark.scale, pytest.mark.timeout(900)]

BELIEVED_S = 1.0
"""Seconds for which a replica believes that a graph exists, as docs/settings.md says."""

GRAPH = f"/v1/graphs/{REGISTERED_ID}"


def post(url: str, members: object) -> httpx.Response:
    return httpx.post(url, json=members, trust_env=False, timeout=PATIENCE_S)


def get(url: str) -> httpx.Response:
    return httpx.get(url, trust_env=False, timeout=PATIENCE_S)


@pytest.fixture
def expected(deployed: Deployment) -> dict[Call, bytes]:
    """What the first replica replies to each call."""
    assert post(f"{deployed.url}/v1/graphs", REGISTRATION).status_code in {200, 201}
    return answers(deployed.replicas[0].url, calls())


def test_every_replica_replies_the_same_bytes(deployed: Deployment, expected: dict[Call, bytes]) -> None:
    for replica in deployed.replicas[1:]:
        assert answers(replica.url, list(expected)) == expected
    for _ in deployed.replicas:
        assert answers(deployed.url, list(expected)) == expected


def test_every_replica_gets_calls(deployed: Deployment, expected: dict[Call, bytes]) -> None:
    seen = len(deployed.access_log.read_text())
    with load(deployed.url, expected) as clients:
        clients.more(400)
    assert (clients.lost, clients.retried) == ([], [])
    asked = Counter(re.findall(r'"replicas":"127\.0\.0\.1:(\d+)"', deployed.access_log.read_text()[seen:]))
    assert asked.keys() == {str(replica.port) for replica in deployed.replicas}
    fair = asked.total() / len(deployed.replicas)
    assert all(fair / 2 < count < fair * 2 for count in asked.values()), asked


def test_a_replica_that_is_killed_takes_no_call_with_it(deployed: Deployment, expected: dict[Call, bytes]) -> None:
    seen = len(deployed.access_log.read_text())
    with load(deployed.url, expected) as clients:
        for replica in deployed.replicas[:2]:
            clients.more(150)
            replica.kill()
            clients.more(150)
            replica.start()
        clients.more(150)
    assert clients.lost == []
    # nginx has sent calls to the other replica, so the kill was noticed.
    assert re.search(r'"replicas":"[^"]+, [^"]+"', deployed.access_log.read_text()[seen:])


def test_a_rolling_restart_is_not_noticed(deployed: Deployment, expected: dict[Call, bytes]) -> None:
    with load(deployed.url, expected) as clients:
        for replica in deployed.replicas:
            clients.more(150)
            assert replica.stop() == 0
            clients.more(50)
            replica.start()
        clients.more(150)
    assert (clients.lost, clients.retried) == ([], [])


def test_a_replica_that_hangs_takes_no_call_with_it(cluster: Cluster, tmp_path: Path) -> None:
    with deployment(2, cluster.store(), tmp_path, silence_s=5) as deployed:
        post(f"{deployed.url}/v1/graphs", REGISTRATION)
        expected = answers(deployed.replicas[0].url, calls())
        with deployed.replicas[0].frozen(), load(deployed.url, expected) as clients:
            clients.more(300)
            clients.stop()
        delayed = re.findall(r'"replica_statuses":"504, 200"', deployed.access_log.read_text())
    assert (clients.lost, clients.retried) == ([], [])
    # The calls that it had were sent to the other.
    assert delayed


def test_a_graph_that_one_replica_registered_is_called_on_all(deployed: Deployment) -> None:
    first, *others = deployed.replicas
    httpx.delete(f"{first.url}{GRAPH}", trust_env=False)
    time.sleep(BELIEVED_S)
    assert post(f"{first.url}/v1/graphs", REGISTRATION).status_code == 201
    for replica in others:
        assert post(f"{replica.url}/v1/graphs", REGISTRATION).status_code == 200
    sample = CALLS_OF_LAYER["gradients"]["sample"]["value"]
    replies = [post(f"{replica.url}{GRAPH}/gradients", sample) for replica in deployed.replicas]
    assert {reply.status_code for reply in replies} == {200}
    assert len({reply.content for reply in replies}) == 1


def test_a_deletion_on_one_replica_is_known_to_all_within_a_second(deployed: Deployment) -> None:
    post(f"{deployed.url}/v1/graphs", REGISTRATION)
    sample = CALLS_OF_LAYER["forward"]["sample"]["value"]
    first, *others = deployed.replicas
    for replica in others:
        assert post(f"{replica.url}{GRAPH}/forward", sample).status_code == 200
    assert httpx.delete(f"{first.url}{GRAPH}", trust_env=False).status_code == 204
    assert post(f"{first.url}{GRAPH}/forward", sample).status_code == 404
    time.sleep(BELIEVED_S)
    assert {post(f"{replica.url}{GRAPH}/forward", sample).status_code for replica in others} == {404}


def test_a_database_that_is_away_takes_registered_graphs_alone(
    deployed: Deployment, cluster: Cluster, expected: dict[Call, bytes]
) -> None:
    restarted, *others = deployed.replicas
    processes = [replica.process for replica in others]
    inline = {call: reply for call, reply in expected.items() if REGISTERED_ID not in call.path}
    with load(deployed.url, inline) as clients:
        cluster.stop()
        try:
            refused = post(f"{deployed.url}/v1/graphs", REGISTRATION)
            assert (refused.status_code, refused.json()["code"]) == (503, "store_unavailable")
            assert "retry-after" in refused.headers
            assert get(f"{deployed.url}/health/ready").status_code == 200
            clients.more(100)
            restarted.stop()
            restarted.start()
            assert post(f"{restarted.url}/v1/graphs", REGISTRATION).status_code == 503
            clients.more(100)
        finally:
            cluster.start()
        clients.more(50)
    assert (clients.lost, clients.retried) == ([], [])
    for replica in deployed.replicas:
        assert post(f"{replica.url}/v1/graphs", REGISTRATION).status_code == 200
    assert answers(deployed.url, list(expected)) == expected
    assert [replica.process for replica in others] == processes


def test_a_call_has_one_id_in_every_log(deployed: Deployment) -> None:
    for given in ("my-own.id:1", ""):
        reply = httpx.get(
            f"{deployed.url}/health/live", headers={"X-Request-ID": given} if given else {}, trust_env=False
        )
        known = reply.headers["x-request-id"]
        assert given in {"", known}
        assert known in deployed.access_log.read_text()
