"""Runs one load scenario against a server, with a report and an exit code (make load-test).

    python loadtests/run_scenario.py steady [--host URL] [options]; --help lists them

The code is in loadtests/scenarios/open_loop, which this puts on the path.
"""

import os
import sys
from pathlib import Path

CODE = Path(__file__).parent / "scenarios"

if __name__ == "__main__":
    paths = [str(CODE), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)
    os.execv(sys.executable, [sys.executable, "-m", "open_loop", *sys.argv[1:]])
