"""One command, a real server process, locust: the smoke scenario in three seconds."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SERVER = f"{sys.executable} {Path(__file__).with_name('timed_server.py')} 20"


def test_the_smoke_scenario_sends_its_arrivals_and_reports_them(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "loadtests" / "run_scenario.py"), "smoke"]
    command += ["--server-command", SERVER, "--set", "max_wait_ms=0", "--set", "log_level=error"]
    command += ["--time-scale", "0.3", "--capacity-s", "1", "--documents", "5:0.7,20:0.3"]
    command += ["--leaving", "0.1", "--leave-after-s", "0.001", "--slow", "0.1", "--slow-s", "0.1"]
    command += ["--hardware", "test", "--out", str(tmp_path), "--keep", str(tmp_path / "raw")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "met    unanswered <= 0: 0\n" in done.stdout

    (file,) = tmp_path.glob("smoke_test_*.json")
    report = json.loads(file.read_bytes())
    total, documents, counts = report["total"], report["documents"], report["reconciliation"]
    assert list(documents) == ["5", "20"]
    assert total["offered"] == sum(row["offered"] for row in documents.values())
    assert (
        total["offered"] == total["scored"] + total["left"] == counts["sent"] == counts["received"]
    )
    assert total["left"] > 0
    assert total["offered"] > 20
    assert all(objective["is_met"] for objective in report["objectives"])
    for row in documents.values():
        assert 0 < row["infer_p50_ms"] <= row["infer_p99_ms"]
        assert 0 < row["p50_ms"] <= row["p99_ms"]
    assert 0 < total["memory_start_mib"] <= total["memory_peak_mib"]
    assert total["generator_cpu"] > 0
    assert total["lag_max_ms"] >= total["lag_p50_ms"] > 0
    assert report["conditions"]["server"]["served_model_name"] == "fake"
    assert report["conditions"]["versions where the generator runs"]["locust"]
    samples = (tmp_path / "raw" / "samples.jsonl").read_text().splitlines()
    assert len(samples) == total["offered"]
    assert {json.loads(line)["index"] for line in samples} == set(range(len(samples)))

    text = file.with_suffix(".md").read_text()
    assert "| unanswered <= 0 | 0 | met |" in text
    assert f"| 5 | {documents['5']['offered']} |" in text
    picture = file.with_suffix(".png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) < 200_000
