"""A request through the whole path, what is watched, and what a killed reranker costs."""

import json
from collections import Counter
from pathlib import Path

import pytest

from stack import Stack, image_bytes, until
from stack_report import Report

QUERY = "Which kind of division of power did Kublai's government have?"
CPU_IMAGE_BYTES = 1_500_000_000
NUM_CLIENTS = 6
QUESTIONS = "8"  # of each group; on a CPU a question takes seconds
DIRECT_LOAD = Path(__file__).with_name("direct_load.py")
# Not process 1, which is the engine's init and cannot be killed from inside.
KILL_THE_SERVER = """
import glob, os, signal
for path in glob.glob("/proc/[0-9]*/cmdline"):
    pid = int(path.split("/")[2])
    if pid != 1 and b"serve" in open(path, "rb").read().split(b"\\0"):
        os.kill(pid, signal.SIGKILL)
"""


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
    with stack.background("run", "--rm", "-T", "locust") as load:
        # Killed while it works: the model is busy and more wait.
        until(lambda: _waiting(stack) >= 1)
        stack.compose("exec", "-T", "rerank-cpu", "python", "-c", KILL_THE_SERVER)
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
    before = _answers(stack)
    with stack.background("exec", "-T", "search", "python", "-", str(NUM_CLIENTS)) as load:
        assert load.stdin is not None
        assert load.stdout is not None
        load.stdin.write(DIRECT_LOAD.read_text(encoding="utf-8"))
        load.stdin.close()
        assert load.stdout.readline() == "under way\n"
        stack.compose("stop", "rerank-cpu")
        seen: dict[str, int] = json.loads(load.stdout.read())
    try:
        made = _answers(stack) - before
        report.say(
            f"SIGTERM under the load of {NUM_CLIENTS} clients that do not try again: the server "
            f"ends with 0, has answered {dict(made)}, the clients have seen {seen}."
        )
        # 0: nothing that was accepted is unanswered; else it were 1.
        assert stack.container("rerank-cpu")["State"]["ExitCode"] == 0
        assert seen["200"] >= NUM_CLIENTS
        assert {k: v for k, v in seen.items() if k.isdigit()} == made
        # The others were never read: no connection was to be had, or an idle one was just closed.
    finally:
        stack.compose("up", "-d", "--wait", "--no-build", "rerank-cpu")
    assert stack.search.get("/search", params={"q": QUERY}).status_code == 200


def test_the_demo_compares_before_and_after(stack: Stack, report: Report) -> None:
    command = ("python", "-m", "rerank_search", "compare", "--questions", QUESTIONS)
    output = stack.compose("exec", "-T", "search", *command)
    rows = {line.split()[0]: line.split() for line in output.splitlines() if line.strip()}
    assert [rows[group][1] for group in ("any", "hard")] == [QUESTIONS] * 2
    report.say(f"`docker compose exec search {' '.join(command)}`:")
    report.show(output)


def _waiting(stack: Stack) -> int:
    lines = stack.rerank.get("/metrics").text.splitlines()
    return sum(
        int(float(line.split()[1])) for line in lines if line.startswith("rerank_queue_requests ")
    )


def _answers(stack: Stack) -> Counter[str]:
    """How many rerank requests the server has answered, by status, as its log says."""
    lines = stack.logged("rerank-cpu")
    return Counter(str(line["status"]) for line in lines if line.get("route") == "/rerank")
