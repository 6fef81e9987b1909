"""python -m blockrank_server.service, for launchers that take a module: accelerate launch -m."""

import sys

from blockrank_server.service.cli import main

sys.exit(main())
