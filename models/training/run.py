"""Leads a training run from its config to a folder that a ranker opens."""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import torch
from transformers import TrainingArguments

from blockrank_server.models.checkpoint.cache import cache_folder, make_cache_folder
from blockrank_server.models.files.paths import expand_user
from blockrank_server.models.training.base_checkpoint import BaseCheckpoint
from blockrank_server.models.training.config import TrainConfig
from blockrank_server.models.training.errors import ConfigError
from blockrank_server.models.training.examples import Collator
from blockrank_server.models.training.run_folder import RunFolder
from blockrank_server.models.training.train_data import TrainData, open_data
from blockrank_server.models.training.trainer import RankTrainer

_TABLES = "training-lists"
# By transformers' names: its plain "constant" knows no warm-up.
_SCHEDULES = {"cosine": "cosine", "linear": "linear", "constant": "constant_with_warmup"}


def train(
    config: TrainConfig,
    *,
    is_resuming: bool = False,
    checkpoint: Path | None = None,
    cache_dir: Path | None = None,
    tell: Callable[[str], None] | None = None,
) -> Path:
    """Train a ranker, in this process or as one of those that accelerate launched.

    Everything is checked before the first step: config, card, weights, every line of data.

    Args:
        is_resuming: goes on from a checkpoint of the same run.
        checkpoint: names the one to go on from; None takes the latest.
        cache_dir: keeps validated lists; None takes the user's cache folder.
        tell: takes a line where there is nothing left to do; nothing is changed then.

    Returns:
        Folder with the adapter (or all weights) and its card.

    Raises:
        ConfigError: a setting contradicts the card, the device or another.
        DataError: rows or files are at fault; told by file and line.
        CardError, CheckpointError: the checkpoint cannot be opened.
        TrainingError: there is nothing to resume; the loss or gradient is no number.
    """
    config = _resolved(config)
    folder = RunFolder(config)
    if not is_resuming:
        folder.check_free()
        _run(config, folder, None, cache_folder(cache_dir))
    elif folder.is_finished(found := folder.resume(checkpoint)):
        if tell is not None:
            tell(f"{folder.path}: this run is finished, and nothing is changed")
    else:
        _run(config, folder, found, cache_folder(cache_dir))
    return folder.path


def _run(config: TrainConfig, folder: RunFolder, resume_from: Path | None, cache: Path) -> None:
    is_resuming = resume_from is not None
    base = BaseCheckpoint.open(config)
    data = open_data(config, base.maker, make_cache_folder(cache / _TABLES))
    args = _arguments(config, data, is_resuming=is_resuming)
    model, weights = base.load(config, args.device)
    if args.process_index == 0:
        folder.prepare()
    trainer = RankTrainer(
        model,
        weights,
        args,
        data.training,
        data.validation,
        Collator(base.card),
        lists_per_epoch=data.lists_per_epoch,
    )
    trainer.train(resume_from_checkpoint=str(resume_from) if resume_from else None)
    if args.process_index == 0:
        dtype = torch.bfloat16 if config.dtype == "bfloat16" else torch.float32
        history = trainer.state.log_history
        if is_resuming:  # the Trainer's summary is of the steps since then alone, or of none
            history = [report for report in history if "train_runtime" not in report]
        folder.finish(weights, base.card, dtype, history)
    if args.device.type == "cuda":
        # Not on the CPU: gloo's group waits for its threads when it is destroyed, and holds the
        # lock that a thread may still need to free a tensor (torch 2.13). The exit ends it.
        trainer.accelerator.end_training()


def _resolved(config: TrainConfig) -> TrainConfig:
    """Return the config without auto, refused where the machine cannot run it."""
    has_cuda = torch.cuda.is_available()
    if config.device == "cuda" and not has_cuda:
        raise ConfigError("device is cuda, and there is none")
    device = config.device if config.device != "auto" else "cuda" if has_cuda else "cpu"
    dtype = config.dtype
    if dtype == "auto":
        dtype = "bfloat16" if device == "cuda" else "float32"
    for package in config.logging.report_to:
        if find_spec(package) is None:
            raise ConfigError(f"logging.report_to names {package}, which is not installed")
    return config.model_copy(update={"device": device, "dtype": dtype})


def _arguments(config: TrainConfig, data: TrainData, *, is_resuming: bool) -> TrainingArguments:
    """Translate the config into what transformers takes."""
    optimizer, logging = config.optimizer, config.logging
    args = TrainingArguments(
        output_dir=str(expand_user(config.output)),
        max_steps=data.num_steps,
        per_device_train_batch_size=config.lists_per_forward,
        optim="adamw_torch",
        learning_rate=optimizer.learning_rate,
        lr_scheduler_type=_SCHEDULES[optimizer.schedule],
        warmup_steps=round(optimizer.warmup * data.num_steps),
        weight_decay=optimizer.weight_decay,
        max_grad_norm=optimizer.max_grad_norm,
        bf16=config.dtype == "bfloat16",
        use_cpu=config.device == "cpu",
        seed=config.seed,
        logging_steps=logging.log_every,
        logging_nan_inf_filter=False,
        save_steps=logging.save_every,
        save_total_limit=logging.keep_checkpoints,
        eval_strategy="steps" if len(data.validation) else "no",
        eval_steps=logging.evaluate_every or data.num_steps,
        eval_on_start=bool(len(data.validation)) and not is_resuming,
        report_to=list(logging.report_to) or "none",
        run_name=logging.run_name,
        remove_unused_columns=False,
        dataloader_num_workers=config.workers,
        dataloader_pin_memory=False,
        ddp_find_unused_parameters=False,
    )
    args._n_gpu = min(args.n_gpu, 1)  # several devices take several processes: no DataParallel
    per_pass = config.lists_per_forward * args.world_size
    if config.lists_per_step % per_pass:
        raise ConfigError(
            f"lists_per_step is {config.lists_per_step}, no multiple of lists_per_forward x "
            f"processes = {per_pass}"
        )
    args.gradient_accumulation_steps = config.lists_per_step // per_pass
    return args
