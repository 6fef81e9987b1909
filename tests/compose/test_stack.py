"""A request through the whole path, what is watched, and what a killed reranker costs."""

import threading
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor

import httpx
import pytest

from stack import Stack, image_bytes, until
from stack_report import Report

QUERY = "Which kind of division of power did Kublai's government have?"
CPU_IMAGE_BYTES = 1_500_000_000
NUM_CLIENTS = 6


def test_the_cpu_image_is_small_enough(stack: Stack) -> None:
    assert image_bytes(stack.container("rerank-cpu")["Config"]["Image"]) < CPU_IMAGE_BYTES


@pytest.mark.parametrize("service", ["rerank-cpu", "search"])
def test_a_container_is_no_root_and_cannot_write_its_own_files(stack: Stack, service: str) -> None:
    found = stack.container(service)
    assert found["Config"]["User"] not in ("", "0", "root", "0:0")
    assert found["HostConfig"]["ReadonlyRootfs"]
    assert found["HostConfig"]["CapDrop"] == ["ALL"]
    with pytest.raises(AssertionError, match="Read-only file system"):
        stack.compose("exec", "-T", service, "python", "-c", "open('/opt/x', 'w')")


def test_a_compiler_and_an_installer_are_not_in_the_images(stack: Stack) -> None:
    look = "import shutil; print([shutil.which(n) for n in ('gcc', 'cc', 'g++', 'make')])"
    for service in ("rerank-cpu", "search"):
        assert stack.compose("exec", "-T", service, "python", "-c", look).strip() == str([None] * 4)


def test_a_search_comes_in_the_rerankers_order(stack: Stack, report: Report) -> None:
    answer = stack.search.get("/search", params={"q": QUERY, "num_hits": 20}).raise_for_status()
    hits = answer.json()["hits"]
    first = stack.search.get("/search", params={"q": QUERY, "num_hits": 20, "rerank": "false"})
    passages = {h["doc_id"]: f"{h['title']}\n{h['text']}" for h in first.json()["hits"]}
    direct = stack.rerank.post(
        "/rerank", json={"query": QUERY, "documents": list(passages.values())}
    )
    order = [list(passages)[r["index"]] for r in direct.raise_for_status().json()["results"]]
    assert [hit["doc_id"] for hit in hits] == order
    seconds = answer.elapsed.total_seconds()
    report.say(f"One search over HTTP, 20 documents reranked: {seconds:.2f} s.")


def test_prometheus_sees_what_was_asked(stack: Stack) -> None:
    assert until(lambda: stack.metric('up{job="blockrank-server"}')) == 1
    # Scraped every 15 s.
    counted = 'sum(rerank_requests_total{status="200"})'
    until(lambda: (stack.metric(counted) or 0) >= 2)
    rules = stack.prometheus.get("/api/v1/rules").json()["data"]["groups"]
    assert {"rerank-objectives"} < {group["name"] for group in rules}
    assert all(rule["health"] != "err" for group in rules for rule in group["rules"])


def test_a_reranker_killed_under_load_costs_no_search(stack: Stack, report: Report) -> None:
    before = stack.container("rerank-cpu")["RestartCount"]
    load = stack.background("run", "--rm", "-T", "-e", "LOCUST_RUN_TIME=60s", "locust")
    # Killed while it works: a batch is with the model.
    until(lambda: _waiting(stack) >= 1)
    kill = "import os, signal; os.kill(-1, signal.SIGKILL)"
    stack.compose("exec", "-T", "rerank-cpu", "sh", "-c", f'python -c "{kill}" || true')
    until(lambda: stack.container("rerank-cpu")["RestartCount"] == before + 1)
    until(lambda: stack.is_healthy("rerank-cpu"))
    output, _ = load.communicate()
    report.say(
        "Locust's searches while the reranker is killed (SIGKILL) and started again by the engine;"
        " a search is tried again until it is answered:"
    )
    report.show(output[output.find("Type     Name") :])
    assert load.returncode == 0, output


def test_a_reranker_told_to_stop_answers_all_it_accepted(stack: Stack, report: Report) -> None:
    logged = sum(_is_answer(line) for line in stack.logged("rerank-cpu"))
    seen: Counter[str] = Counter()
    is_over = threading.Event()
    with ThreadPoolExecutor(NUM_CLIENTS) as pool:
        clients: list[Future[None]] = [
            pool.submit(_ask_until, stack, is_over, seen) for _ in range(NUM_CLIENTS)
        ]
        until(lambda: seen["200"] >= NUM_CLIENTS)
        stack.compose("stop", "rerank-cpu")
        is_over.set()
        for client in clients:
            client.result()
    state = stack.container("rerank-cpu")["State"]
    assert state["ExitCode"] == 0
    answers = sum(_is_answer(line) for line in stack.logged("rerank-cpu")) - logged
    report.say(
        f"SIGTERM under load: exit code 0, {answers} rankings made, clients saw {dict(seen)}."
    )
    assert answers == seen["200"]
    # 503 and a refused connection are no acceptance; one cut in the middle would be a loss.
    assert set(seen) <= {"200", "503", "ConnectError"}
    stack.compose("up", "-d", "--wait", "--no-build", "rerank-cpu")
    assert stack.search.get("/search", params={"q": QUERY}).status_code == 200


def test_the_demo_compares_before_and_after(stack: Stack, report: Report) -> None:
    command = ("python", "-m", "rerank_search", "compare", "--questions", "30")
    output = stack.compose("exec", "-T", "search", *command)
    rows = {line.split()[0]: line.split() for line in output.splitlines() if line.strip()}
    assert [rows[group][1] for group in ("any", "hard")] == ["30", "30"]
    report.say("`docker compose exec search python -m rerank_search compare --questions 30`:")
    report.show(output)


def _waiting(stack: Stack) -> int:
    lines = stack.rerank.get("/metrics").text.splitlines()
    return sum(
        int(float(line.split()[1])) for line in lines if line.startswith("rerank_queue_requests ")
    )


def _is_answer(line: dict[str, object]) -> bool:
    return line.get("route") == "/rerank" and line.get("status") == 200


def _ask_until(stack: Stack, is_over: threading.Event, seen: "Counter[str]") -> None:
    """Send one request after the other, without a second try, and count what comes."""
    number = 0
    with httpx.Client(base_url=stack.rerank.base_url, timeout=120) as client:
        while not is_over.is_set():
            number += 1
            # No two alike: identical ones would be computed once.
            query = f"{QUERY} {threading.get_ident()} {number}"
            body = {"query": query, "documents": [f"{query} {i} " * 4 for i in range(5)]}
            try:
                outcome = str(client.post("/rerank", json=body).status_code)
            except httpx.TransportError as error:
                outcome = type(error).__name__
            seen[outcome] += 1
