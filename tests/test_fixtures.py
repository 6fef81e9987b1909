"""The golden numbers, made anew by the generator beside them."""

import json
import runpy
from pathlib import Path

import numpy as np
import pytest

FIXTURES = Path(__file__).parent / "fixtures"
GENERATOR = FIXTURES / "make_cases.py"


@pytest.mark.parametrize("name", ["blockrank", "qrranker"])
def test_the_generator_gives_the_committed_cases(name: str) -> None:
    committed = (FIXTURES / name / "cases.jsonl").read_text().splitlines()
    for line, made in zip(committed, runpy.run_path(str(GENERATOR))["make"](name), strict=True):
        case = json.loads(line)
        expected, found = case["expected"], made["expected"]
        np.testing.assert_allclose(
            found.pop("scores"), expected.pop("scores"), atol=2e-6, rtol=1e-5, err_msg=case["name"]
        )
        assert made == case


def test_the_generator_is_independent_of_what_it_judges() -> None:
    assert "blockrank_server" not in GENERATOR.read_text()
