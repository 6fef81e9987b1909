"""What we use of other packages though they do not promise to keep it, hence the upper bounds."""

import inspect
import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

import h11
import h11._receivebuffer
import starlette._utils
import torch
import transformers
import uvicorn
from fastapi import FastAPI
from h11 import _connection, _events, _headers, _readers
from starlette.middleware import gzip
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Route
from transformers.models.llama import modeling_llama
from uvicorn.protocols.http import flow_control, h11_impl

from blockrank_server.models.checkpoint.model_config import FAMILIES
from blockrank_server.service.api.http_parser import REASONS

# Owner, what is relied on, and our file that would break.
NAMES: tuple[tuple[Any, str, str], ...] = (
    (uvicorn.Server, "handle_exit on_tick capture_signals", "service/api/server.py"),
    (
        h11_impl.H11Protocol,
        "connection_made connection_lost on_response_complete resume_writing shutdown "
        "data_received eof_received handle_events send_400_response _unsupported_upgrade_warning "
        "transport cycle conn loop flow logger",
        "service/api/connection.py",
    ),
    (
        h11_impl.RequestResponseCycle,
        "default_headers response_started response_complete disconnected message_event "
        "waiting_for_100_continue",
        "service/api/connection.py",
    ),
    (flow_control.FlowControl, "write_paused", "service/api/connection.py"),
    (h11.Connection, "_receive_buffer", "service/api/http_parser.py"),
    (h11._receivebuffer.ReceiveBuffer, "_data maybe_extract_at_most", "service/api/http_parser.py"),
    (FastAPI, "openapi router", "service/api/openapi.py"),
    (Route, "matches path_regex path_format", "service/api/known_paths.py"),
    (starlette._utils, "get_route_path", "service/middleware/authentication.py"),
    (CORSMiddleware, "preflight_response", "service/middleware/stack.py"),
    (gzip, "GZipMiddleware IdentityResponder", "service/middleware/stack.py"),
    (gzip.GZipMiddleware, "minimum_size thread_minimum_size", "service/middleware/stack.py"),
    (transformers.AttentionInterface, "register", "models/engine/network.py"),
    (modeling_llama, "rotate_half", "models/engine/network.py"),
    (
        transformers.Trainer,
        "training_step compute_loss evaluate log model_accepts_loss_kwargs _clip_grad_norm "
        "_get_train_sampler _save _load_from_checkpoint _save_checkpoint",
        "models/training/trainer.py",
    ),
)
# Of every decoder, and of its layers, in models/engine/network.py and whole_decoder.py.
DECODER = (
    *("embed_tokens", "layers", "norm", "rotary_emb"),
    *("layers.0.input_layernorm", "layers.0.post_attention_layernorm", "layers.0.mlp"),
    *(f"layers.0.self_attn.{name}_proj" for name in "qkvo"),
    *("layers.0.self_attn.head_dim", "layers.0.self_attn.scaling", "layers.0.self_attn.layer_idx"),
)


def has(owner: Any, name: str) -> bool:
    """Whether it is there, or is set on instances or taken by the constructor of a class."""
    if hasattr(owner, name):
        return True
    is_class = inspect.isclass(owner)
    return is_class and bool(re.search(rf"\b{name}\b", inspect.getsource(owner.__init__)))


def lost_names() -> Iterator[str]:
    for owner, names, file in NAMES:
        found = f"{getattr(owner, '__module__', '')} {owner.__name__}".strip()
        yield from (f"{found}: {n}, for {file}" for n in names.split() if not has(owner, n))


def lost_of_decoders() -> Iterator[str]:
    sizes = {"vocab_size": 8, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 4}
    for family in FAMILIES:
        config = transformers.CONFIG_MAPPING[family].from_dict(sizes | heads)
        with torch.device("meta"):
            model = transformers.AutoModel.from_config(config)
        for path in DECODER:
            part: Any = model
            for name in path.split("."):
                part = part[int(name)] if name.isdigit() else getattr(part, name, None)
            if part is None:
                yield f"transformers {family}: {path}, for models/engine/network.py"


def test_what_is_relied_on_without_a_promise_is_there() -> None:
    packages = ("uvicorn", "h11", "transformers", "starlette", "fastapi")
    installed = ", ".join(f"{name} {version(name)}" for name in packages)
    lost = [*lost_names(), *lost_of_decoders()]
    assert not lost, f"{installed} lack what these files use:\n" + "\n".join(lost)


def test_the_files_of_the_docs_page_are_there() -> None:
    page = (Path(__file__).parents[1] / "service/api/docs_page.py").read_text(encoding="utf-8")
    names = re.findall(r"/([\w-]+\.(?:js|css|png))\"", page)
    assert len(names) == 3
    static = files("fastapi_offline") / "static"
    assert [name for name in names if not (static / name).is_file()] == []


def test_h11_says_what_its_faults_are_told_by() -> None:
    said = "".join(inspect.getsource(each) for each in (_connection, _events, _headers, _readers))
    assert [start for start in REASONS if start not in said] == []


def test_packages_whose_private_parts_are_used_have_an_upper_bound() -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    for name in ("uvicorn", "h11", "transformers"):
        (bound,) = [each for each in project["dependencies"] if re.match(rf"{name}\b", each)]
        assert re.search(r",<\d", bound), bound
