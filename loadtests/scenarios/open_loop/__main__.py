"""Run one load scenario; run_scenario.py starts this."""

import sys

from open_loop.main import main

sys.exit(main())
