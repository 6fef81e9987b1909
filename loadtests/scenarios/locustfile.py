"""Defines Locust's part: one user that sends every arrival when it is due, answered or not.

    locust -f loadtests/scenarios/locustfile.py --headless -u 1 --plan PLAN --records FOLDER

run_scenario.py starts it. A locust user waits for its answer before it goes on: a closed loop, in
which a slow server is sent less. Here the user only keeps the clock, and each request is a
greenlet of its own.
"""

import re
import time
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import Any

import gevent
import orjson
from gevent.pool import Group
from locust import FastHttpUser, events, task
from locust.argument_parser import LocustArgumentParser
from locust.contrib.fasthttp import LocustBadStatusCode

from open_loop.arrivals import Arrival, schedule
from open_loop.faults import Fault, FaultClient, RawAnswer
from open_loop.pacer import send_when_due, take_sample
from open_loop.plan import Plan, from_json
from open_loop.samples import LEFT, TIMEOUT, WRONG, Reading, Recorder
from open_loop.workload import RequestBodies

PATH = "/rerank"
HEADERS = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
# Requests in flight; one more fails in the generator, where it can be seen.
MAX_IN_FLIGHT = 10_000
GENERATOR_FULL = "generator full"
# Between the start of the clock and the run, so that the first arrivals are not late.
LEAD_S = 0.5
_METRIC = re.compile(
    r"^(process_resident_memory_bytes|process_cpu_seconds_total|rerank_queue_requests) (\S+)$",
    re.MULTILINE,
)
_TIMING = re.compile(r"(\w+);dur=([\d.]+)")


@events.init_command_line_parser.add_listener  # type: ignore[untyped-decorator]
def add_options(parser: LocustArgumentParser) -> None:
    parser.add_argument("--plan", type=Path, help="what to send, as written by run_scenario.py")
    parser.add_argument("--records", type=Path, help="folder for samples.jsonl, readings.jsonl")


class OpenLoop(FastHttpUser):
    """Sends the arrivals of a plan as one locust user."""

    concurrency = MAX_IN_FLIGHT

    def __init__(self, environment: Any) -> None:
        options = environment.parsed_options
        self._plan: Plan = from_json(options.plan.read_bytes())
        self.host = self._plan.host
        self.network_timeout = self.connection_timeout = self._plan.client_timeout_s
        super().__init__(environment)
        self._arrivals = schedule(self._plan)
        needed = ((each.num_documents, each.list_number) for each in self._arrivals)
        self._bodies = RequestBodies(needed, self._plan.document_lengths, self._plan.seed)
        self._at_fault = FaultClient(self.host, PATH, self._plan.client_timeout_s)
        self._samples = Recorder(options.records / "samples.jsonl")
        self._readings = Recorder(options.records / "readings.jsonl")
        self._requests = Group()

    @task
    def run_plan(self) -> None:
        """Send all, wait for all, end locust: a task that returned would be run again."""
        self.environment.process_exit_code = 1
        try:
            self._send_all()
            self.environment.process_exit_code = 0
        finally:
            gevent.spawn(self.environment.runner.quit)
            gevent.sleep(self._plan.client_timeout_s)  # until quit ends this user

    def _send_all(self) -> None:
        self._start_s = time.perf_counter() + LEAD_S
        watch = gevent.spawn(self._watch)
        send_when_due(self._arrivals, self._now_s, gevent.sleep, self._start)
        gevent.sleep(max(0.0, self._plan.duration_s - self._now_s()))
        self._requests.join()  # each one ends by its own timeout
        watch.kill()
        self._read_server()
        self._samples.close()
        self._readings.close()

    def _now_s(self) -> float:
        return time.perf_counter() - self._start_s

    def _start(self, arrival: Arrival) -> None:
        self._requests.start(gevent.Greenlet(self._request, arrival))

    def _request(self, arrival: Arrival) -> None:
        self._samples.add(take_sample(arrival, self._now_s, partial(self._outcome, arrival)))

    def _outcome(self, arrival: Arrival) -> dict[str, Any]:
        if len(self._requests) > MAX_IN_FLIGHT:
            return {"problem": GENERATOR_FULL}
        body = self._bodies.body(arrival.num_documents, arrival.list_number, arrival.index)
        if arrival.fault is Fault.NONE:
            return self._post(arrival, body)
        try:
            answer = self._at_fault.send(body, arrival.fault, self._plan.faults)
        except (OSError, HTTPException) as error:
            return {"problem": _problem(error)}
        return {"problem": LEFT} if answer is None else _answered(answer, arrival.num_documents)

    def _post(self, arrival: Arrival, body: bytes) -> dict[str, Any]:
        name = f"{arrival.num_documents} documents"
        with self.client.post(
            PATH,
            data=body,  # type: ignore[arg-type]  # bytes are sent as they are
            headers=HEADERS,
            name=name,
            catch_response=True,
        ) as response:
            error = response.request_meta["exception"]
            if error is not None and not isinstance(error, LocustBadStatusCode):
                return {"problem": _problem(error)}
            found = _answered(
                RawAnswer(response.status_code, response.headers, response.content or b""),
                arrival.num_documents,
            )
            if problem := found.get("problem"):
                response.failure(problem)
            return found

    def _watch(self) -> None:
        while True:
            self._read_server()
            gevent.sleep(self._plan.sample_every_s)

    def _read_server(self) -> None:
        with self.client.get("/metrics", name="metrics", catch_response=True) as response:
            found = dict(_METRIC.findall(response.text or ""))
        if len(found) == 3:  # the server may be gone, or answer in parts
            self._readings.add(
                Reading(
                    at_s=self._now_s(),
                    rss_bytes=float(found["process_resident_memory_bytes"]),
                    server_cpu_s=float(found["process_cpu_seconds_total"]),
                    generator_cpu_s=time.process_time(),
                    queue_requests=float(found["rerank_queue_requests"]),
                    in_flight=len(self._requests),
                )
            )


def _problem(error: BaseException) -> str:
    return TIMEOUT if isinstance(error, TimeoutError) else type(error).__name__


def _answered(answer: RawAnswer, num_documents: int) -> dict[str, Any]:
    if answer.status != 200:
        return {"status": answer.status}
    timing = next((v for k, v in answer.headers.items() if k.lower() == "server-timing"), "")
    return {
        "status": 200,
        "timing_ms": {name: float(ms) for name, ms in _TIMING.findall(timing)},
        "problem": None if _is_whole(answer.content, num_documents) else WRONG,
    }


def _is_whole(content: bytes, num_documents: int) -> bool:
    """Say whether every document has its result."""
    try:
        places = [result["index"] for result in orjson.loads(content)["results"]]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return False
    return sorted(places) == list(range(num_documents))
