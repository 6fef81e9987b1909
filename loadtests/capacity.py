"""Simulates how long requests take behind c replicas, and prints the tables of deploy/CAPACITY.md.

    .venv/bin/python loadtests/capacity.py                                        (1 minute)
    .venv/bin/python loadtests/capacity.py --service-ms 237:0.6,357:0.4 --rate 2.08 --replicas 1 2

Requests arrive as a Poisson process; a front gives each to the replica with the fewest, at once and
for good (ties by lot); a replica takes its own one by one, in order. There is no batching and no
network.
"""

import argparse
import random
from collections import deque
from collections.abc import Sequence

REPLICAS = (1, 2, 4, 8, 16)
LOADS = (0.3, 0.5, 0.7, 0.8, 0.9)
Mix = Sequence[tuple[float, float]]  # service time, weight


def latencies(services: Mix, rate: float, num_replicas: int, count: int, seed: int) -> list[float]:
    """Simulate how long each request takes, but for the first tenth, which fills the queues.

    Args:
        services: service times and how often each comes.
        rate: arrivals at all replicas together, in the service times' unit of time.
        seed: decides when they arrive.
    """
    rng = random.Random(seed)
    times, weights = zip(*services, strict=True)
    lengths = rng.choices(times, weights, k=count)
    ends: list[deque[float]] = [deque() for _ in range(num_replicas)]  # of those not answered yet
    now, found = 0.0, []
    for service in lengths:
        now += rng.expovariate(rate)
        for queue in ends:
            while queue and queue[0] <= now:
                queue.popleft()
        fewest = min(map(len, ends))
        queue = rng.choice([each for each in ends if len(each) == fewest])
        end = (queue[-1] if queue else now) + service
        queue.append(end)
        found.append(end - now)
    return found[count // 10 :]


def percentile(values: Sequence[float], share: float) -> float:
    """Return the percentile by the nearest rank."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def mean_service(services: Mix) -> float:
    return sum(time * weight for time, weight in services) / sum(weight for _, weight in services)


def table(services: Mix, count: int) -> str:
    """Write a Markdown table of p50 and p99 in mean service times, and their ratio."""
    lines = [
        f"| load, replicas: | {' | '.join(map(str, REPLICAS))} |",
        "|---" * (len(REPLICAS) + 1) + "|",
    ]
    mean = mean_service(services)
    for load in LOADS:
        cells = []
        for num_replicas in REPLICAS:
            found = latencies(services, load * num_replicas / mean, num_replicas, count, seed=1)
            p50, p99 = (percentile(found, share) / mean for share in (0.5, 0.99))
            cells.append(f"{p50:.2f} / {p99:.2f} = {p99 / p50:.1f}")
        lines.append(f"| {load:.0%} | {' | '.join(cells)} |")
    return "\n".join(lines)


def forecast(services: Mix, rate: float, replicas: Sequence[int], count: int) -> str:
    """Write a Markdown table of p50 and p99 in ms, at one rate in requests a second."""
    lines = ["| replicas | load | p50, ms | p99, ms | p99/p50 |", "|---|---|---|---|---|"]
    for num_replicas in replicas:
        load = rate / 1000 * mean_service(services) / num_replicas
        if load >= 1:
            lines.append(f"| {num_replicas} | {load:.0%} | without end | without end | - |")
            continue
        found = latencies(services, rate / 1000, num_replicas, count, seed=1)
        p50, p99 = percentile(found, 0.5), percentile(found, 0.99)
        lines.append(f"| {num_replicas} | {load:.0%} | {p50:.0f} | {p99:.0f} | {p99 / p50:.1f} |")
    return "\n".join(lines)


def read_mix(text: str) -> list[tuple[float, float]]:
    """Parse 237:0.6,357:0.4 into pairs."""
    pairs = [each.partition(":") for each in text.split(",")]
    return [(float(time), float(weight or 1)) for time, _, weight in pairs]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--service-ms", type=read_mix, default=[(1.0, 1.0)], metavar="MS:SHARE,...")
    parser.add_argument("--rate", type=float, help="requests a second; without it, the table")
    parser.add_argument("--replicas", type=int, nargs="+", default=REPLICAS)
    parser.add_argument("--count", type=int, default=300_000, help="requests of a simulation")
    args = parser.parse_args()
    if args.rate is None:
        print(table(args.service_ms, args.count))
    else:
        print(forecast(args.service_ms, args.rate, args.replicas, args.count))


if __name__ == "__main__":
    main()
