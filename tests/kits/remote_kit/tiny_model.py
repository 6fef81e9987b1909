"""rank1's tiny checkpoints by plain transformers: greedy next tokens, and log-probabilities."""

import json
import threading
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import DynamicCache, Qwen2Config, Qwen2ForCausalLM

# Column c of eight is this nibble of AWQ's word.
_NIBBLES = 4 * torch.tensor([0, 4, 1, 5, 2, 6, 3, 7])


@dataclass
class Text:
    """A text under way: the ids not computed yet, and what is kept of those that are."""

    ids: list[int]
    cache: DynamicCache = field(default_factory=DynamicCache)


class TinyModel:
    def __init__(self, folder: Path) -> None:
        fields = json.loads((folder / "config.json").read_text())
        packing = fields.pop("quantization_config", None)
        state = load_file(folder / "model.safetensors")
        if packing:
            _unpack(state, packing["group_size"])
        self._model = Qwen2ForCausalLM(Qwen2Config(**fields)).float().eval()
        self._model.load_state_dict({name: each.float() for name, each in state.items()})
        self._lock = threading.Lock()
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.end: int = fields["eos_token_id"]
        self.max_positions: int = fields["max_position_embeddings"]

    def step(self, text: Text, allowed: list[int] | None) -> tuple[int, torch.Tensor]:
        """The likeliest id, which the text then ends with, and the log-probabilities of all."""
        with self._lock, torch.inference_mode():
            logits = self._model(torch.tensor([text.ids]), past_key_values=text.cache).logits[0, -1]
        choice = logits[: self.tokenizer.get_vocab_size()]
        token = int(choice.argmax()) if allowed is None else max(allowed, key=lambda i: logits[i])
        text.ids = [token]
        return token, logits.log_softmax(-1)

    def decode(self, ids: list[int]) -> str:
        return str(self.tokenizer.decode(ids, skip_special_tokens=False))


def _unpack(state: dict[str, torch.Tensor], group: int) -> None:
    for name in [name for name in state if name.endswith(".qweight")]:
        base = name.removesuffix("qweight")
        steps, zeros = (_nibbles(state.pop(base + part)) for part in ("qweight", "qzeros"))
        scales = state.pop(base + "scales").float().repeat_interleave(group, 0)
        state[base + "weight"] = (
            (steps - zeros.repeat_interleave(group, 0)) * scales
        ).T.contiguous()


def _nibbles(words: torch.Tensor) -> torch.Tensor:
    return ((words.long()[:, :, None] >> _NIBBLES) & 15).flatten(1)
