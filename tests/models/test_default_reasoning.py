"""The embedded stand-in of reasoning: the whole of a real model, from its GGUF file."""

import torch
from transformers import AutoModelForCausalLM

from blockrank_server.models.checkpoint.checkpoint import find_reasoning_checkpoint, is_reasoning
from blockrank_server.models.reasoning.chain import End
from blockrank_server.models.reasoning_ranker import ReasoningRanker

NAME = "default-reasoning"
QUERY = "capital of France"
DOCUMENTS = ["Berlin is in Germany.", "Paris is the capital of France, on the Seine."]


def test_a_bare_machine_reasons() -> None:
    assert is_reasoning(NAME)
    ranker = ReasoningRanker.open(NAME, device="cpu")
    assert ranker.info.num_layers_kept == 30
    first, second = ranker.explain(QUERY, DOCUMENTS)
    for each in (first, second):
        assert 0 < each.score < 1
        assert each.reasoned.text
        assert each.reasoned.end is not End.DEADLINE
    assert first.reasoned.text != second.reasoned.text


def test_its_first_tokens_are_those_of_plain_transformers() -> None:
    ranker = ReasoningRanker.open(NAME, device="cpu")
    folder = find_reasoning_checkpoint(NAME).folder
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    request = ranker.encode(QUERY, DOCUMENTS[1:])
    [prompt] = request.prompts()
    found = model.generate(torch.tensor([prompt]), max_new_tokens=12, do_sample=False)
    written = ranker.explain(QUERY, DOCUMENTS[1:])[0].reasoned.text
    assert written.startswith(ranker._rules.text_of(found[0, len(prompt) :].tolist()).rstrip())
