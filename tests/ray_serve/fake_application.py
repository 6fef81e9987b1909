"""The application of Ray Serve on the fake ranker; "hold" in a request holds its replica's model.

BLOCKRANK_MODEL names a folder. A model that is held writes its process's id into the FIFO `holding`
there, and goes on when somebody has opened its own FIFO, which has the name of the id.
"""

import os
import runpy
import sys
from pathlib import Path
from typing import Any

from blockrank_server.service.settings import Settings
from rerank_ray.__main__ import main

FAKES = Path(__file__).parents[1] / "service" / "conftest.py"


def open_fake(settings: Settings) -> Any:
    fake = runpy.run_path(str(FAKES))
    folder, pid = Path(settings.model), os.getpid()
    os.mkfifo(folder / str(pid))

    def obey(batch: Any) -> None:
        if any(fake["token"]("hold") in request.token_ids for request in batch):
            with (folder / "holding").open("w", encoding="ascii") as holding:
                holding.write(f"{pid}\n")
            (folder / str(pid)).read_bytes()

    return fake["FakeRanker"](before_score=obey)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], open_ranker=open_fake))
