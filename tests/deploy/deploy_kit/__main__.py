"""make dashboard-picture: the dashboard's picture in the docs, from a server under made-up load."""

import tempfile
import time
from pathlib import Path

from deploy_kit.processes import fake_server, prometheus
from deploy_kit.rules import DEPLOY
from deploy_kit.traffic import Traffic
from rerank_dashboard.picture import draw, save
from rerank_dashboard.prometheus_api import PrometheusApi

MINUTES = 5
CAPTION = (
    "Drawn by matplotlib, not Grafana. A test model under made-up load, with errors of every kind "
    "on purpose: what the panels show, not how fast the server is. Times are UTC."
)

if __name__ == "__main__":
    with (
        tempfile.TemporaryDirectory() as folder,
        fake_server() as server,
        prometheus(Path(folder), server.port) as prom,
        PrometheusApi(f"http://127.0.0.1:{prom.port}") as api,
    ):
        with Traffic(server.port, odd_share=0.02):
            time.sleep(60 * (MINUTES + 1))  # the first minute has windows half full
            figure = draw(api, minutes=MINUTES, rate_interval_s=30, caption=CAPTION)
        save(figure, DEPLOY / "dashboard-overview.png")
