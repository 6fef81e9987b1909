import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from blockrank_server.models.checkpoint.card import CARD_FILE
from blockrank_server.models.errors import CardError
from blockrank_server.service.cli.info import print_info
from blockrank_server.service.settings import Settings

if TYPE_CHECKING:
    from blockrank_server.models.ranker import Ranker
    from tests.service.conftest import FakeRanker


@pytest.fixture
def info(capsys: pytest.CaptureFixture[str], fake_ranker: "type[FakeRanker]") -> Any:
    def info(*, is_loading: bool = False, **changes: Any) -> dict[str, Any]:
        ranker = cast("Ranker", fake_ranker())
        code = print_info(Settings(**changes), is_loading=is_loading, open_ranker=lambda _: ranker)
        assert code == 0
        read: dict[str, Any] = json.loads(capsys.readouterr().out)
        return read

    return info


@pytest.fixture
def card_file(tmp_path: Path, fake_ranker: "type[FakeRanker]") -> Path:
    (tmp_path / "config.json").write_text("{}")
    path = tmp_path / CARD_FILE
    path.write_text(fake_ranker().card.model_dump_json())
    return path


def test_the_settings_in_force(info: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BLOCKRANK_MAX_BATCH_TOKENS", "77")
    settings = info(model="a/b", port=9)["settings"]
    assert (settings["max_batch_tokens"], settings["port"]) == (77, 9)
    assert set(settings) == set(Settings.model_fields)


def test_the_card_beside_the_weights(info: Any, card_file: Path) -> None:
    read = info(model=str(card_file.parent))
    assert (read["card"]["name"], read["model"]) == ("fake", None)


def test_a_card_that_is_named(info: Any, card_file: Path) -> None:
    assert info(model="a/b", card=str(card_file))["card"]["name"] == "fake"


def test_a_built_in_card(info: Any) -> None:
    assert info(model="MindscapeRAG/QRRanker")["card"]["mask"] == "causal"


def test_a_card_only_the_hub_has_is_null(info: Any) -> None:
    assert info(model="some/thing")["card"] is None


def test_a_card_that_is_wrong(info: Any, card_file: Path) -> None:
    card_file.write_text("{}")
    with pytest.raises(CardError, match="card_version"):
        info(model=str(card_file.parent))


def test_the_model_if_it_is_loaded(info: Any) -> None:
    read = info(is_loading=True)
    assert read["card"]["name"] == "fake"
    assert (read["model"]["attention"], read["model"]["max_score"]) == ("torch", 1.0)
