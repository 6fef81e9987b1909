"""Two replicas behind Ray's proxy, asked by a client."""

import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed

import httpx
import pytest

from running import Running

NUM_REQUESTS = 40


@pytest.fixture(scope="module")
def app(start: Callable[..., Running]) -> Running:
    return start(MAX_QUEUE_REQUESTS="1", REQUEST_TIMEOUT_MS="60000")


def test_each_replica_counts_its_own_requests(app: Running) -> None:
    before = sum(app.counted(200))
    for number in range(NUM_REQUESTS):
        assert app.post(f"capital {number}").status_code == 200
    after = app.counted(200)
    assert sum(after) - before == NUM_REQUESTS
    assert len(after) == 2
    assert min(after) >= NUM_REQUESTS / 8


def test_metrics_at_the_proxy_name_the_place_of_those_of_each_replica(app: Running) -> None:
    answer = app.client.get("/metrics")
    assert answer.status_code == 404
    assert "/metrics/targets" in answer.json()["error"]


def test_a_replicas_own_port_answers_probes_alone(app: Running) -> None:
    for target in app.targets():
        assert httpx.get(f"http://{target}/health/ready").json() == {"status": "ready"}
        body = {"query": "a", "documents": ["a"]}
        assert httpx.post(f"http://{target}/rerank", json=body).status_code == 404


def test_an_answer_has_the_requests_id_once(app: Running) -> None:
    answer = app.post("capital", headers={"X-Request-ID": "mine"})
    assert answer.headers.get_list("X-Request-ID") == ["mine"]
    assert answer.json()["id"] == "rerank-mine"
    answer = app.post("capital")
    [made] = answer.headers.get_list("X-Request-ID")
    assert answer.json()["id"] == f"rerank-{made}"


def test_replicas_that_are_full_refuse_and_say_when_to_come_back(app: Running) -> None:
    with ThreadPoolExecutor(9) as pool:
        asked = [pool.submit(app.post, f"hold {number}") for number in range(8)]
        first = next(as_completed(asked)).result()  # while both models are held
        assert first.status_code == 429
        assert int(first.headers["Retry-After"]) >= 1
        assert first.json()["request_id"] == first.headers["X-Request-ID"]
        pool.submit(app.release_all)
        statuses = [each.result().status_code for each in asked]
        app.stop_releasing()
    assert set(statuses) == {200, 429}
    assert statuses.count(200) >= 2


def test_a_client_that_goes_is_counted_as_gone(app: Running) -> None:
    before = sum(app.counted(499))
    with pytest.raises(httpx.ReadTimeout):
        app.post("hold and go", timeout=1)
    pid = app.held()
    while sum(app.counted(499)) == before:
        pass
    app.release(pid)
    assert sum(app.counted(499)) == before + 1


def test_only_those_in_a_killed_replica_get_an_error_and_it_is_replaced(app: Running) -> None:
    before = app.targets()
    with ThreadPoolExecutor(2) as pool:
        asked = {}
        for number in range(2):
            each = pool.submit(app.post, f"hold {number} killed")
            asked[app.held()] = each
        killed, other = asked
        os.kill(killed, signal.SIGKILL)
        lost = asked[killed].result()
        assert lost.status_code == 500  # Ray's own: it never sends an accepted request twice
        app.release(other)
        assert asked[other].result().status_code == 200
    assert app.post("capital").status_code == 200
    while len(after := app.targets()) < 2:
        pass
    assert len(set(after) & set(before)) == 1


def test_told_to_stop_it_answers_what_it_has(start: Callable[..., Running]) -> None:
    app = start()
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(app.post, "hold to the end")
        pid = app.held()
        app.process.send_signal(signal.SIGTERM)
        while app.client.get("/-/routes").json():  # the replicas have been told too
            pass
        app.release(pid)
        assert answer.result().status_code == 200
    assert app.process.wait(60) == 0
