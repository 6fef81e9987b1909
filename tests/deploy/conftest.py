"""What the tests of deploy/ share."""

import pytest

from deploy_kit.labels import Known
from deploy_kit.rules import known as known_names


@pytest.fixture(scope="session")
def known() -> Known:
    """Every metric a query may name, with its labels."""
    return known_names()
