"""The YAML config: faults are told by file, line and key."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from blockrank_server.models.training.config import TrainConfig
from blockrank_server.models.training.config_file import load_train_config
from blockrank_server.models.training.errors import ConfigError

ROOT = Path(__file__).parents[3]
GOOD = """\
output: out
data:
  sources:
    - path: lists.jsonl
  documents: [4, 8]
loss:
  temperature: 0.1
steps: 3
"""


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    def write_(text: str) -> Path:
        path = tmp_path / "run.yaml"
        path.write_text(text)
        return path

    return write_


def test_a_good_config_is_read(write: Callable[[str], Path]) -> None:
    config = load_train_config(write(GOOD))
    draw = config.data.draw_of(config.data.sources[0])
    assert (draw.least, draw.most) == (4, 8)
    assert config.loss.temperature == 0.1
    assert config.steps == 3
    assert config.seed == TrainConfig.model_fields["seed"].default


FAULTS = {
    "misspelt key": (
        ("temperature", "temperatur"),
        "run.yaml:7: loss.temperatur: unknown key; did you mean temperature?",
    ),
    "misspelt key in a list": (
        ("- path: lists.jsonl", "- path: lists.jsonl\n      lists_per_epoc: 3"),
        "run.yaml:5: data.sources.0.lists_per_epoc: unknown key; did you mean lists_per_epoch?",
    ),
    "out of range": (("0.1", "0"), r"run.yaml:7: loss.temperature: Input should be greater than 0"),
    "other type": (("steps: 3", "steps: many"), "run.yaml:8: steps: Input should be a valid int"),
    "wrong order": (("[4, 8]", "[8, 4]"), "run.yaml:2: data: documents needs 2 <= least <= most"),
    "missing key": (("output: out\n", ""), "run.yaml:1: output: Field required"),
    "key given twice": (
        ("steps: 3", "steps: 3\nsteps: 4"),
        "run.yaml:9: the key 'steps' is given twice",
    ),
    "no YAML": (("[4, 8]", "[4, 8"), r"run.yaml:\d+: "),
    "nothing": ((GOOD, ""), "run.yaml: expected keys and values"),
    "neither path nor hub": (("path: lists.jsonl", "split: train"), "needs path or hub"),
    "epochs and steps": (("steps: 3", "steps: 3\nepochs: 1"), "give epochs or steps, and not both"),
    "nothing to train": (
        ("temperature: 0.1", "contrastive: 0"),
        "run.yaml:6: loss: contrastive, distillation and lm are all 0",
    ),
    "lists that fill no whole pass": (
        ("steps: 3", "steps: 3\nlists_per_step: 6\nlists_per_forward: 4"),
        "must be a multiple of lists_per_forward",
    ),
}


@pytest.mark.parametrize(("change", "message"), FAULTS.values(), ids=FAULTS)
def test_faults_name_file_line_and_key(
    change: tuple[str, str], message: str, write: Callable[[str], Path]
) -> None:
    with pytest.raises(ConfigError, match=message.replace("?", r"\?")):
        load_train_config(write(GOOD.replace(*change)))


def test_every_fault_is_told_at_once(write: Callable[[str], Path]) -> None:
    text = GOOD.replace("temperature", "temperatur").replace("steps: 3", "steps: -1")
    with pytest.raises(ConfigError, match=r":7: loss\.temperatur: .*:8: steps: "):
        load_train_config(write(text))


def test_assignments_win_over_the_file(write: Callable[[str], Path]) -> None:
    config = load_train_config(
        write(GOOD), ["loss.temperature=0.2", "data.documents=5", "lora.rank=4", "card=null"]
    )
    assert config.loss.temperature == 0.2
    draw = config.data.draw_of(config.data.sources[0])
    assert (draw.least, draw.most) == (5, 5)
    assert config.lora is not None
    assert config.lora.rank == 4


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("loss.temperatur=1", r"--set loss\.temperatur: unknown key; did you mean temperature\?"),
        (
            "loss={temperatur: 1}",
            r"--set loss\.temperatur: unknown key; did you mean temperature\?",
        ),
        ("seed=x", "--set seed: Input should be a valid integer"),
        ("seed", "--set seed: expected KEY=VALUE"),
        ("steps.x=1", "--set steps.x=1: steps holds no keys"),
        ("seed=[1", "is no value"),
    ],
)
def test_faulty_assignments(assignment: str, message: str, write: Callable[[str], Path]) -> None:
    with pytest.raises(ConfigError, match=message):
        load_train_config(write(GOOD), [assignment])


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read .*absent\.yaml"):
        load_train_config(tmp_path / "absent.yaml")


@pytest.mark.parametrize("path", sorted((ROOT / "models/training").glob("*.yaml")), ids=str)
def test_shipped_configs_are_valid(path: Path) -> None:
    assert load_train_config(path).output


def keys(model: type[BaseModel]) -> list[tuple[str, str]]:
    """Every key and what it says, those of nested models too."""
    found = []
    for name, field in model.model_fields.items():
        found.append((name, str(field.description)))
        for part in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if isinstance(part, type) and issubclass(part, BaseModel):
                found += keys(part)
    return found


def test_every_key_is_documented_with_its_description() -> None:
    page = (ROOT / "models/TRAINING.md").read_text(encoding="utf-8")
    found: list[Any] = keys(TrainConfig)
    assert len(found) > 40
    assert not [name for name, text in found if f"| `{name}` |" not in page or text not in page]
