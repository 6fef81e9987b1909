"""Fusing by torch.compile: the same scores, and nothing compiled again for another length."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from blockrank_server.models.engine.quantize import quantize
from blockrank_server.models.quantization.names import Quantization
from blockrank_server.models.ranker import Ranker


@pytest.mark.parametrize(
    ("quantization", "num_graphs"),
    [
        # Norms and MLPs of all layers share a graph each.
        pytest.param("none", 2, id="bf16"),
        # And projections one for each pair of sizes: q; k and v; o.
        pytest.param("fp8", 5, id="fp8"),
        pytest.param("int8", 5, id="int8"),
        pytest.param("int4", 5, id="int4"),
    ],
)
def test_every_length_and_layer_shares_the_graphs(
    quantization: Quantization,
    num_graphs: int,
    blockrank_card: dict[str, Any],
    open_tiny: Callable[..., Ranker],
) -> None:
    graphs: list[torch.fx.GraphModule] = []

    def backend(graph: torch.fx.GraphModule, _: Any) -> Callable[..., Any]:
        graphs.append(graph)
        return graph.forward

    ranker = open_tiny("blockrank", blockrank_card, dtype="bfloat16")
    network = ranker._engine._network
    quantize(network, quantization)
    lists = [("capital", ["Paris"] * count) for count in (3, 8, 21)]
    expected = [ranker.rank(*each) for each in lists]
    torch._dynamo.reset()
    network.fuse_elementwise(backend)
    assert [ranker.rank(*each) for each in lists] == expected
    assert len(graphs) == num_graphs
