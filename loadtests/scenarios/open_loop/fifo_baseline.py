"""Computes a baseline: the same arrivals at an ideal server that takes them one by one, in order.

Its service time is proportional to the documents, and its capacity is the measured one. How far p99
lies above p50 depends there on load and list lengths alone (a short list behind a long one waits),
so a measured latency is held against this one rather than against a fixed number.
"""

from collections.abc import Sequence

from open_loop.arrivals import Arrival


def fifo_latencies_s(arrivals: Sequence[Arrival], documents_per_s: float) -> list[float]:
    """Return the time from arrival to answer, for each arrival.

    Args:
        arrivals: stand in order of time.
        documents_per_s: the capacity of the server.
    """
    free_s, latencies_s = 0.0, []
    for arrival in arrivals:
        start_s = max(free_s, arrival.intended_s)
        free_s = start_s + arrival.num_documents / documents_per_s
        latencies_s.append(free_s - arrival.intended_s)
    return latencies_s
