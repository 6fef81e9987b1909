"""Defines the YAML file that describes a run; models/TRAINING.md lists every key."""

from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, Field, model_validator

from blockrank_server.models.training.data_config import Data

# The linear layers of a decoder layer, as every supported family names them.
LINEAR_LAYERS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


class Loss(BaseModel, extra="forbid", frozen=True):
    """Weighs three losses, which are summed; those of weight 0 are not computed."""

    contrastive: float = Field(
        default=1.0, ge=0, description="Weight of InfoNCE over the document scores."
    )
    distillation: float = Field(
        default=0.0, ge=0, description="Weight of KL(teacher's distribution || document scores)."
    )
    lm: float = Field(
        default=0.0, ge=0, description="Weight of the next-token loss on the answer's ids."
    )
    temperature: float = Field(default=0.05, gt=0, description="Divides the documents' logits.")
    logits: Literal["mass", "log_mass", "log_sum_exp"] = Field(
        default="mass",
        description="mass takes a document's score, as BlockRank trains. log_mass takes its "
        "logarithm, whose gradient does not vanish for a positive that gets no attention "
        "yet. log_sum_exp takes the mean log-sum-exp of its attention, before the softmax over "
        "documents.",
    )
    anchor: float | None = Field(
        default=None,
        description="Log-sum-exp of an imagined document that stands in every list of the "
        "contrastive loss: irrelevant where there is an answer, the answer where there is none. "
        "Needs logits log_sum_exp; null puts none there.",
    )
    teacher_temperature: float = Field(
        default=1.0, gt=0, description="Divides the teacher's scores."
    )
    answer: str = Field(
        default="{numbers}]",
        description="The text that lm teaches to write after the tail; {numbers} stands for the "
        "relevant documents' numbers, such as 3, 7.",
    )
    answer_end: str | None = Field(
        default=None, min_length=1, description="Control token after the answer, such as </s>."
    )

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.contrastive + self.distillation + self.lm:
            raise ValueError("contrastive, distillation and lm are all 0: nothing to train")
        if "{numbers}" not in self.answer:
            raise ValueError("answer needs {numbers}")
        if self.anchor is not None and self.logits != "log_sum_exp":
            raise ValueError("anchor needs logits log_sum_exp")
        return self


class Lora(BaseModel, extra="forbid", frozen=True):
    """Describes low-rank adapters, which are trained beside frozen weights."""

    rank: int = Field(default=16, gt=0, description="Rank of the low-rank products.")
    alpha: float = Field(default=32.0, gt=0, description="The products are scaled by alpha / rank.")
    dropout: float = Field(
        default=0.0, ge=0, lt=1, description="Share of the adapters' inputs dropped."
    )
    modules: tuple[Literal[LINEAR_LAYERS], ...] = Field(  # type: ignore[valid-type]
        default=LINEAR_LAYERS, min_length=1, description="Linear layers that get an adapter."
    )
    first_layer: int = Field(
        default=0,
        ge=0,
        description="Layers below this one get no adapter and need no gradient, which is faster.",
    )


class Optimizer(BaseModel, extra="forbid", frozen=True):
    """Configures AdamW and its schedule."""

    learning_rate: float = Field(default=3e-4, gt=0, description="Learning rate at its highest.")
    schedule: Literal["cosine", "linear", "constant"] = Field(
        default="cosine", description="How the learning rate falls after the warm-up."
    )
    warmup: float = Field(
        default=0.05, ge=0, lt=1, description="Share of the steps in which the learning rate rises."
    )
    weight_decay: float = Field(
        default=0.0, ge=0, description="Weight decay, apart from the gradient."
    )
    max_grad_norm: float = Field(
        default=1.0, gt=0, description="Larger gradients are scaled down to it."
    )


class Logging(BaseModel, extra="forbid", frozen=True):
    """Says what a run writes while it trains. It changes no result."""

    log_every: int = Field(default=10, gt=0, description="Steps between two lines of metrics.")
    evaluate_every: int | None = Field(
        default=None,
        gt=0,
        description="Steps between two validations; null validates at the start and at the end.",
    )
    save_every: int = Field(default=200, gt=0, description="Steps between two checkpoints.")
    keep_checkpoints: int = Field(
        default=3,
        ge=2,
        description="Checkpoints that are kept: two at least, since a kill may leave the last one "
        "half written.",
    )
    report_to: tuple[Literal["tensorboard", "wandb"], ...] = Field(
        default=("tensorboard",),
        description="Where metrics go besides the terminal and the run's trainer_state.json.",
    )
    run_name: str | None = Field(default=None, description="Name of the run for wandb.")


class TrainConfig(BaseModel, extra="forbid", frozen=True):
    """Describes a training run, whose result depends on all but output, logging and workers."""

    model: str = Field(
        default="default",
        min_length=1,
        description="Folder or hub name of the checkpoint to start from, or default.",
    )
    card: Path | None = Field(
        default=None, description="Card file instead of the checkpoint's own."
    )
    name: str | None = Field(
        default=None, description="Name on the trained ranker's card; null keeps the base's."
    )
    adapter: Path | None = Field(
        default=None, description="Folder of a LoRA adapter to start from."
    )
    output: Path = Field(description="Folder that the result and the checkpoints are written to.")
    data: Data = Field(description="Where the lists come from and what is taken of each.")
    loss: Loss = Field(default=Loss(), description="What is minimised.")
    lora: Lora | None = Field(
        default=Lora(), description="Low-rank adapters to train; null trains every weight."
    )
    optimizer: Optimizer = Field(default=Optimizer(), description="How the loss is minimised.")
    lists_per_step: int = Field(
        default=16,
        gt=0,
        description="Lists whose gradients make one step, counted over all processes.",
    )
    lists_per_forward: int = Field(
        default=1, gt=0, description="Lists that are packed into one forward pass of one process."
    )
    epochs: float | None = Field(
        default=None, gt=0, description="Passes over the lists; give this or steps."
    )
    steps: int | None = Field(
        default=None, gt=0, description="Optimizer steps; give this or epochs."
    )
    seed: int = Field(
        default=7, ge=0, description="Decides order, negatives, positions and adapters."
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="auto takes a CUDA device where there is one."
    )
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        default="auto",
        description="dtype of the activations; auto is bfloat16 on CUDA and float32 on the CPU.",
    )
    gradient_checkpointing: bool = Field(
        default=False, description="Takes less memory for a third more time."
    )
    workers: int = Field(
        default=0, ge=0, description="Processes that tokenise ahead of the training."
    )
    logging: Logging = Field(default=Logging(), description="What is written while the run trains.")

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("give epochs or steps, and not both")
        if self.lists_per_step % self.lists_per_forward:
            raise ValueError("lists_per_step must be a multiple of lists_per_forward")
        if self.lists_per_forward % self.data.lists_together:
            raise ValueError("lists_per_forward must be a multiple of data.lists_together")
        if self.data.unanswerable and self.loss.anchor is None:
            raise ValueError("data.unanswerable needs loss.anchor")
        if self.data.unanswerable and self.loss.lm:
            raise ValueError(
                "data.unanswerable and loss.lm rule each other out: no answer to write"
            )
        return self
