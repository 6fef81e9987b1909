"""Several processes write into one folder, and some of them are killed."""

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.models.document_cache.conftest import Files


_ROOT = Path(__file__).parents[3]
_WRITER = """
    import sys
    from pathlib import Path
    from tests.models.document_cache.conftest import Files
    files = Files(Path(sys.argv[1]))
    store = files.open(int(sys.argv[2]))
    print("ready", flush=True)
    for name in range(int(sys.argv[3]), int(sys.argv[4])):
        kept = files.kept(name)
        if store.is_look_due(kept):
            store.look(kept)
        files.write(store, name)
"""


def start(
    files: "Files", max_bytes: int, names: range, output: int = subprocess.DEVNULL
) -> "subprocess.Popen[bytes]":
    arguments = [str(files.folder), str(max_bytes), str(names.start), str(names.stop)]
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(_WRITER), *arguments],
        stdout=output,
        cwd=_ROOT,
        env=os.environ | {"PYTHONPATH": str(_ROOT)},
    )


def test_processes_share_a_folder_and_its_bound(files: "Files") -> None:
    bound = 100 * files.size
    writers = [start(files, bound, names) for names in (range(1000), range(500, 1500))]
    store = files.open(bound)
    num_read = 0
    while any(writer.poll() is None for writer in writers):
        for name in range(0, 1500, 7):
            found = files.read(store, name)
            assert found in (None, files.content(name))
            num_read += found is not None
    assert [writer.wait() for writer in writers] == [0, 0]
    assert files.failures(store) == {}
    store.look()
    assert 0.5 * bound < store.stats().used_bytes <= bound
    assert num_read


def test_a_process_killed_while_it_writes_leaves_whole_files_only(files: "Files") -> None:
    num_there = 0
    for first in range(0, 3 * 10**6, 10**6):
        with start(files, 10**9, range(first, first + 10**6), subprocess.PIPE) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            time.sleep(0.05)
            writer.kill()
    store = files.open(10**9)
    for path in files.folder.glob("*/*/[0-9a-f]*"):
        name = int(path.name, 16)
        assert files.read(store, name) == files.content(name)
        num_there += 1
    assert num_there > 10
    assert files.failures(store) == {}
