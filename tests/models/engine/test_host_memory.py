"""Freed memory stays with the process: large activations soon cause no page faults."""

import subprocess
import sys

PROGRAM = """
import resource, threading, torch
from blockrank_server.models.engine.host_memory import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(64, 1024, 1024)  # 256 MB: 65,536 pages, or 128 huge ones
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def measure():
    print(*[faults() for _ in range(24)])

if {kept}:
    assert keep_freed_memory()
thread = threading.Thread(target=measure)  # the server scores on a thread of its own
thread.start()
thread.join()
"""


def faults(*, kept: bool) -> list[int]:
    program = PROGRAM.replace("{kept}", str(kept))
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    return [int(word) for word in done.stdout.split()]


def test_large_blocks_end_up_in_memory_that_is_mapped_already() -> None:
    found = faults(kept=True)
    # Not at once: an aligned block may not fit the hole that the last one left.
    assert sum(found[16:]) < found[0] / 20


def test_without_it_every_block_is_mapped_again() -> None:
    found = faults(kept=False)
    assert min(found) > found[0] / 2


TRIM = """
import torch
from blockrank_server.models.engine.host_memory import give_back_freed_memory, keep_freed_memory

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 >> 20

assert keep_freed_memory()
torch.ones(64, 1024, 1024)
kept = resident()
assert give_back_freed_memory()
print(kept, resident())
"""


def test_kept_memory_can_be_given_back() -> None:
    done = subprocess.run([sys.executable, "-c", TRIM], check=True, capture_output=True, text=True)
    kept, left = map(int, done.stdout.split())
    assert kept - left > 240
