"""Says how many replicas there are, and what each is given: the arguments of the application."""

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class ReplicaOptions(BaseModel):
    """Holds what can be set about replicas; the server in each has its BLOCKRANK_ settings.

    Raises:
        pydantic.ValidationError: a value out of range, or an unknown one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    min_replicas: int = Field(1, ge=1, description="Replicas kept without any load.")
    max_replicas: int = Field(1, ge=1, description="Replicas at the highest load.")
    num_gpus: float = Field(
        0, ge=0, description="GPUs of a replica; 0.5 puts two on one. The memory is not divided."
    )
    num_cpus: float = Field(
        1, gt=0, description="Cores of a replica; torch runs as many threads, unless it is told."
    )
    target_requests: float = Field(
        2, gt=0, description="Requests of a replica, running and waiting, above which one is added."
    )
    upscale_delay_s: float = Field(30, ge=0, description="Load before replicas are added.")
    downscale_delay_s: float = Field(600, ge=0, description="Calm before replicas are removed.")

    @model_validator(mode="after")
    def _refuse_an_empty_range(self) -> Self:
        if self.min_replicas > self.max_replicas:
            raise ValueError(f"min_replicas {self.min_replicas} > max_replicas {self.max_replicas}")
        return self
