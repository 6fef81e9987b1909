"""Write the dashboard where Grafana's provisioning finds it (make dashboard)."""

from pathlib import Path

from rerank_dashboard.board import TITLE, dashboard_json

PATH = Path(__file__).parents[1] / "grafana" / "dashboards" / f"{TITLE}.json"

if __name__ == "__main__":
    PATH.write_text(dashboard_json(), encoding="utf-8")
