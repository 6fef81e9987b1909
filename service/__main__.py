"""Lets launchers that take a module start the program: accelerate launch -m."""

import sys

from blockrank_server.service.cli.main import main

sys.exit(main())
