"""python -m blockrank_server.service, for launchers that take a module: accelerate launch -m."""

import sys

from blockrank_server.service.cli.main import main

sys.exit(main())
