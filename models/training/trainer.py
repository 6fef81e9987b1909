"""Fits transformers' Trainer to packed batches: its loop, optimiser, checkpoints and reports."""

import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather_object
from safetensors import SafetensorError
from torch.utils.data import Sampler, SequentialSampler
from transformers import Trainer, TrainerCallback, TrainerControl, TrainingArguments

from blockrank_server.models.engine.host_memory import give_back_freed_memory
from blockrank_server.models.training.checkpoints import mark_complete
from blockrank_server.models.training.errors import TrainingError
from blockrank_server.models.training.examples import (
    Batch,
    Collator,
    HeldOutExamples,
    TrainingExamples,
)
from blockrank_server.models.training.list_measures import list_measures
from blockrank_server.models.training.nan_report import NotFiniteError, write_report
from blockrank_server.models.training.running_means import RunningMeans, means
from blockrank_server.models.training.trainable_ranker import BatchLoss, TrainableRanker
from blockrank_server.models.training.trained_weights import TrainedWeights


class _Trim(TrainerCallback):  # type: ignore[misc]
    """Keeps a run's memory at that of its largest step."""

    def on_step_end(self, *_: Any, **__: Any) -> None:
        give_back_freed_memory()


class RankTrainer(Trainer):  # type: ignore[misc]
    """Trains a ranker, and stops at the first loss or gradient that is no number.

    Args:
        model: computes the loss too.
        weights: the part of the model that is trained, saved and loaded.
        examples: stand in the order they are trained on.
        held_out: validates; may be empty.
        lists_per_epoch: turns steps into epochs for the reports.
    """

    def __init__(
        self,
        model: TrainableRanker,
        weights: TrainedWeights,
        args: TrainingArguments,
        examples: TrainingExamples,
        held_out: HeldOutExamples,
        collator: Collator,
        *,
        lists_per_epoch: int,
    ) -> None:
        super().__init__(
            model=model,
            args=args,
            train_dataset=examples,
            eval_dataset=held_out,
            data_collator=collator,
            callbacks=[_Trim()] if args.device.type == "cpu" else [],
        )
        self.model_accepts_loss_kwargs = False  # the loss is a mean over the batch's lists
        self._weights = weights
        self._lists_per_epoch = lists_per_epoch
        self._window = RunningMeans()
        self._window_started = time.perf_counter()
        self._step_batches: list[Batch] = []
        self._found: BatchLoss

    def training_step(
        self, model: torch.nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """Run the forward and backward pass of one batch.

        Raises:
            NotFiniteError: its loss is no number; the step's lists are saved.
        """
        batch = inputs["batch"]
        self._step_batches.append(batch)
        loss: torch.Tensor = super().training_step(model, inputs, num_items_in_batch)
        # Read after the backward pass is launched: before it, a GPU would have to be waited for.
        if not math.isfinite(loss.item()):
            self._stop("loss", loss.item())
        _add(self._window, batch, self._found)
        self._window.add({"tokens": batch.packed.num_tokens, "lists": len(batch.examples)})
        return loss

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Return the loss of the model, which is kept for the metrics."""
        loss, self._found = super().compute_loss(model, inputs, True, num_items_in_batch)
        return (loss, self._found) if return_outputs else loss

    def _clip_grad_norm(self, model: torch.nn.Module) -> Any:
        norm = super()._clip_grad_norm(model)
        if not math.isfinite(norm := float(norm)):
            self._stop("gradient", norm)
        self._step_batches.clear()
        return norm

    def _stop(self, what: str, value: float) -> None:
        step = self.state.global_step + 1
        folder = Path(self.args.output_dir) / f"nan-step-{step}-process-{self.args.process_index}"
        write_report(folder, self._step_batches, self._weights)
        raise NotFiniteError(
            f"the {what} of step {step} is {value}; its lists and the weights are in {folder}"
        )

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Report means over the held-out lists of each source, and their mean over sources."""
        self.model.eval()
        found = RunningMeans()
        with torch.no_grad():
            for batch in self._held_out_batches():
                _add(found, batch, self.model(batch), by_source=True)
        self.model.train()
        metrics = _with_mean_of_sources(means(gather_object([found.take()])))
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in metrics.items()}
        self.log(metrics)
        self._window_started = time.perf_counter()
        self.control: TrainerControl = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics

    def _held_out_batches(self) -> Iterator[Batch]:
        """Give this process's share, in batches of one forward pass."""
        examples, args = self.eval_dataset, self.args
        mine = range(args.process_index, len(examples), args.world_size)
        size = args.per_device_train_batch_size
        for start in range(0, len(mine), size):
            yield self.data_collator([examples[i] for i in mine[start : start + size]])["batch"]

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Report, with the means since the last report where training goes on."""
        if "loss" in logs:
            parts = gather_object([self._window.take()])
            seconds = time.perf_counter() - self._window_started
            self._window_started = time.perf_counter()
            for name in ("lists", "tokens"):
                logs[f"{name}_per_s"] = sum(part.pop(name)[0] for part in parts) / seconds
            logs |= means(parts)
        done = self.state.global_step * self._lists_per_step
        self.state.epoch = done / self._lists_per_epoch  # the Trainer takes a run for one epoch
        super().log(logs, start_time)

    @property
    def _lists_per_step(self) -> int:
        args = self.args
        per_process = args.per_device_train_batch_size * args.gradient_accumulation_steps
        return int(per_process * args.world_size)

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        return SequentialSampler(self.train_dataset)  # the order is the data set's own

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        if self.args.should_save:
            self._weights.save(Path(output_dir or self.args.output_dir))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        self._weights.load(Path(resume_from_checkpoint))

    def _save_checkpoint(self, model: torch.nn.Module, trial: Any) -> None:
        folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
        try:
            super()._save_checkpoint(model, trial)
        except (RuntimeError, SafetensorError) as error:  # torch and safetensors, of a full disk
            raise TrainingError(f"cannot write {folder}: {error}") from error
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            mark_complete(folder)


def _add(window: RunningMeans, batch: Batch, found: BatchLoss, *, by_source: bool = False) -> None:
    """Take the losses of a batch into account, and the measures of its lists: by_source, named
    name/source."""
    window.add({name: x.item() for name, x in found["parts"].items()}, len(batch.examples))
    for example, scores in zip(batch.examples, found["scores"], strict=True):
        if any(example.positive):  # a teacher alone says of no document that it is relevant
            measures = list_measures(scores.tolist(), example.relevance, example.positive)
            end = f"/{example.source}" if by_source else ""
            window.add({f"{name}{end}": value for name, value in measures.items()})


def _with_mean_of_sources(metrics: dict[str, float]) -> dict[str, float]:
    """Return the metrics, and of those named name/source the mean over sources by name."""
    by_name: dict[str, list[float]] = {}
    for name, value in metrics.items():
        if "/" in name:
            by_name.setdefault(name.partition("/")[0], []).append(value)
    return {name: sum(values) / len(values) for name, values in by_name.items()} | metrics
