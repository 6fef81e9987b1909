"""One YAML file describes a run. docs: models/TRAINING.md lists every key."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field, model_validator

from blockrank_server.models.data.source import Source

# The linear layers of a decoder layer, as every supported family names them.
LINEAR_LAYERS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


class Data(BaseModel, extra="forbid", frozen=True):
    """Where lists come from and what is taken of each."""

    root: Path = Field(default=Path(), description="Folder that relative paths start from.")
    sources: tuple[Source, ...] = Field(min_length=1, description="Sets to train on together.")
    documents: Annotated[int, Field(ge=2)] | tuple[int, int] = Field(
        default=16, description="Documents of a list; [least, most] draws for each list anew."
    )
    lists_together: int = Field(
        default=1,
        gt=0,
        description="Neighbours in a file that are drawn together; what they share is computed "
        "once, if they are in one forward pass and documents do not see the query.",
    )
    max_positives: int | None = Field(
        default=None, gt=0, description="Relevant documents of a list; null keeps all that fit."
    )
    negatives_from_first: int | None = Field(
        default=None,
        gt=0,
        description="Negatives are drawn from the first so many of the list; null: from all.",
    )
    min_relevance: int = Field(default=1, gt=0, description="Least judgement of a positive.")
    max_document_tokens: int | None = Field(
        default=None, gt=0, description="Lowers the card's limit."
    )
    max_query_tokens: int | None = Field(default=None, gt=0, description="Lowers the card's limit.")

    @property
    def document_range(self) -> tuple[int, int]:
        """Least and most documents of a list."""
        least, most = (self.documents,) * 2 if isinstance(self.documents, int) else self.documents
        return least, most

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        least, most = self.document_range
        if not 2 <= least <= most:
            raise ValueError("documents needs 2 <= least <= most")
        return self

    @model_validator(mode="after")
    def _whole_neighbours(self) -> Self:
        for source in self.sources:
            if self.lists_together > 1 and source.validation_lists and source.lists_per_epoch != 0:
                raise ValueError(
                    "lists_together needs validation lists in sources of their own, with "
                    f"lists_per_epoch 0: {source.path or source.hub} trains and validates"
                )
        if all(source.lists_per_epoch == 0 for source in self.sources):
            raise ValueError("sources: lists_per_epoch is 0 for each, nothing to train on")
        return self


class Loss(BaseModel, extra="forbid", frozen=True):
    """Weighted sum of three losses; those of weight 0 are not computed."""

    contrastive: float = Field(
        default=1.0, ge=0, description="Weight of InfoNCE over document scores."
    )
    distillation: float = Field(
        default=0.0, ge=0, description="Weight of KL(teacher's distribution || document scores)."
    )
    lm: float = Field(
        default=0.0, ge=0, description="Weight of the next-token loss on the answer's ids."
    )
    temperature: float = Field(default=0.05, gt=0, description="Divides the documents' logits.")
    logits: Literal["mass", "log_mass"] = Field(
        default="mass",
        description="mass: a document's score, as BlockRank trains. log_mass: its logarithm, whose "
        "gradient does not vanish for a positive that gets no attention yet.",
    )
    teacher_temperature: float = Field(default=1.0, gt=0, description="Divides teacher's scores.")
    answer: str = Field(
        default="{numbers}]", description="What lm teaches to say after the tail; {numbers}: 3, 7."
    )
    answer_end: str | None = Field(
        default=None, min_length=1, description="Control token after the answer: </s>."
    )

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.contrastive + self.distillation + self.lm:
            raise ValueError("contrastive, distillation and lm are all 0: nothing to train")
        if "{numbers}" not in self.answer:
            raise ValueError("answer needs {numbers}")
        return self


class Lora(BaseModel, extra="forbid", frozen=True):
    """Low-rank adapters beside frozen weights."""

    rank: int = Field(default=16, gt=0, description="Of the products.")
    alpha: float = Field(default=32.0, gt=0, description="The products are scaled by alpha/rank.")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="On the adapters' inputs.")
    modules: tuple[Literal[LINEAR_LAYERS], ...] = Field(  # type: ignore[valid-type]
        default=LINEAR_LAYERS, min_length=1, description="Linear layers that get an adapter."
    )
    first_layer: int = Field(
        default=0, ge=0, description="Layers below get none, and need no gradient: faster."
    )


class Optimizer(BaseModel, extra="forbid", frozen=True):
    """AdamW and its schedule."""

    learning_rate: float = Field(default=3e-4, gt=0, description="At its highest.")
    schedule: Literal["cosine", "linear", "constant"] = Field(
        default="cosine", description="Decay."
    )
    warmup: float = Field(default=0.05, ge=0, lt=1, description="Share of the steps.")
    weight_decay: float = Field(default=0.0, ge=0, description="Decoupled.")
    max_grad_norm: float = Field(default=1.0, gt=0, description="Gradients are scaled down to it.")


class Logging(BaseModel, extra="forbid", frozen=True):
    """What a run writes while it trains. Changes no result."""

    log_every: int = Field(default=10, gt=0, description="Steps between two lines of metrics.")
    evaluate_every: int | None = Field(
        default=None, gt=0, description="Steps between two validations; null: at start and end."
    )
    save_every: int = Field(default=200, gt=0, description="Steps between two checkpoints.")
    keep_checkpoints: int = Field(
        default=3, ge=2, description="Checkpoints kept; two at least, one may be half written."
    )
    report_to: tuple[Literal["tensorboard", "wandb"], ...] = Field(
        default=("tensorboard",), description="Besides the terminal and the run's trainer_state."
    )
    run_name: str | None = Field(default=None, description="For wandb.")


class TrainConfig(BaseModel, extra="forbid", frozen=True):
    """A training run. The result depends on everything here but output, logging and workers."""

    model: str = Field(default="default", min_length=1, description="Folder, hub name or default.")
    card: Path | None = Field(default=None, description="Instead of the checkpoint's own card.")
    name: str | None = Field(default=None, description="Name on the trained ranker's card.")
    adapter: Path | None = Field(default=None, description="LoRA adapter to start from.")
    output: Path = Field(description="Folder of the result and the checkpoints.")
    data: Data = Field(description="Lists.")
    loss: Loss = Field(default=Loss(), description="What is minimised.")
    lora: Lora | None = Field(default=Lora(), description="null trains every weight.")
    optimizer: Optimizer = Field(default=Optimizer(), description="How it is minimised.")
    lists_per_step: int = Field(
        default=16, gt=0, description="Lists whose gradients make one step, over all processes."
    )
    lists_per_forward: int = Field(
        default=1, gt=0, description="Lists packed into one forward pass of one process."
    )
    epochs: float | None = Field(default=None, gt=0, description="Passes over the lists; or steps.")
    steps: int | None = Field(default=None, gt=0, description="Optimizer steps; or epochs.")
    seed: int = Field(default=7, ge=0, description="Of order, negatives, positions and adapters.")
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="auto takes CUDA where there is one."
    )
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        default="auto", description="Of activations; auto is bfloat16 on CUDA, float32 on the CPU."
    )
    gradient_checkpointing: bool = Field(
        default=False, description="Less memory for a third more time."
    )
    workers: int = Field(default=0, ge=0, description="Processes that tokenise ahead.")
    logging: Logging = Field(default=Logging(), description="What is written meanwhile.")

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("give epochs or steps, and not both")
        if self.lists_per_step % self.lists_per_forward:
            raise ValueError("lists_per_step must be a multiple of lists_per_forward")
        if self.lists_per_forward % self.data.lists_together:
            raise ValueError("lists_per_forward must be a multiple of data.lists_together")
        return self
