"""Trains one network: the function behind autox3d-train."""

import contextlib
import dataclasses
import pathlib
import time
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf
from absl import logging

from autox3d_tf import models
from autox3d_tf.base import text as text_lib
from autox3d_tf.data import pipeline
from autox3d_tf.runs import (
    checkpoints,
    claim,
    determinism,
    distribute,
    loop,
    memory,
    triggers,
)
from autox3d_tf.runs import optimizers as optimizers_lib
from autox3d_tf.runs import run_dir as run_dir_lib
from autox3d_tf.space import arch as arch_lib
from autox3d_tf.training import average as average_lib
from autox3d_tf.training import (
    batches,
    card,
    files,
    initial,
    inputs,
    optimizers,
    steps,
)
from autox3d_tf.training import curve as curve_lib
from autox3d_tf.training import options as options_lib
from autox3d_tf.training import record as record_lib
from autox3d_tf.training import starts as starts_lib
from autox3d_tf.training import validation as validation_lib

_PRECISE_SEED = 0x9C15E  # clips for precise batch norm, apart from training's
_WORTH_COMPILING = 2000  # steps that gain more on a GPU than compiling takes


def run_training(
    *,
    arch: str | arch_lib.ArchSpec,
    data: pipeline.DataOptions,
    training: options_lib.TrainingOptions,
    optimizer: options_lib.OptimizerOptions,
    run_dir: str,
    init_from: str | None = None,
    sources: tuple[pipeline.ClipSource, pipeline.ClipSource] | None = None,
    seed: int = 0,
    licence: str = card.NOT_STATED,
    strategy: tf.distribute.Strategy | None = None,
    check_only: bool = False,
) -> dict[str, Any]:
    """Trains a network; writes the files that `files` names.

    Called again with the same `run_dir` it goes on where it stopped, and ends
    with the same weights as if it had not stopped.

    Args:
        arch: A named network, an arch.json, a run directory with one, or a
            checkpoint of SlowFast or PyTorchVideo.
        data: Clips, and which of them train. The clips of part `val` are
            validated on if there are any; nothing is chosen by them.
        training: Length and regularisation.
        optimizer: Optimizer and learning rate.
        run_dir: Where the run writes.
        init_from: Weights to start from: a weights.npz, the directory of a
            training or of a search (inherited weights), or such a checkpoint.
        sources: Open clips to train and to validate on, instead of those that
            `data` names; `data` then only says how they are cut.
        seed: Of initialisation, order and augmentation of clips.
        licence: Of the weights, for the model card.
        strategy: Of tf.distribute, such as `distribute.make_strategy` makes:
            its replicas share each batch. Workers read the clips of their own
            replicas; the chief alone validates, takes batch norms anew and
            writes. None for one device.
        check_only: Whether to end where the run would begin, for those who
            train later and would rather hear now of what cannot be.

    Returns:
        What training.json says; with `check_only` the recipe, which is what
        its "config" says under "training" and "optimizer".
    """
    _check_replicas(training, strategy)
    if not check_only:
        determinism.set_seed(seed)
    size = data.eval_clip_size
    stride = data.stride if data.sampling == "dense" else 1
    spec = _sized(initial.find_arch(arch, size, stride), size)
    start = None if init_from is None else initial.weights_path(init_from)
    if start is not None and (start.parent / files.RECORD).is_file():
        inputs.warn_of_other_cut(files.read_record(start.parent), data)
    if spec.causal and data.standardize is True:
        logging.warning(
            "A stream does not know the whole clip: this network cannot be "
            "exported as one, with standardize=True. Train with "
            "--gin=DataOptions.standardize='frame' if it is to be."
        )
    with distribute.worker_errors(strategy):
        with distribute.chief_first(strategy):
            if sources is None:
                run_dir_lib.check_kind(run_dir, record_lib.KIND)
                begun = run_dir_lib.is_run(run_dir)
                data = pipeline.pin_manifest(
                    data, pathlib.Path(run_dir), begun=begun
                )
                source = pipeline.open_source(data, "train")
                validation = validation_lib.open_clips(data, training)
            else:
                source, validation = sources
            inputs.check_classes(source)
            if start is not None and not training.replace_head:
                initial.check_classes(start, source.classes)
            # Before it is a run.
            optimizers.steps_of(optimizer, training, len(source))
            if check_only:
                return record_lib.recipe_of(training, optimizer)
            config = record_lib.config_of(
                spec, inputs.portable(data, run_dir), training, optimizer,
                start, seed, source,
            )  # fmt: skip
            chief = distribute.is_chief(strategy)
            run = run_dir_lib.RunDir(run_dir, config, writes=chief)
            if start is None and not run.resumed:
                initial.mention_weights(arch)
        job = _Job(
            run=run, spec=spec, source=source, validation=validation,
            data=data, training=training, optimizer=optimizer, start=start,
            seed=seed, strategy=strategy,
        )  # fmt: skip
        if files.is_finished(run.path, licence):
            logging.info("%s is finished.", run.path)
            if found := files.read_record(run.path).get("validation"):
                validation_lib.log(found)
        else:
            _train_alone(job, licence, made_of=config)
        distribute.wait_at_end(strategy, run.file(files.RECORD).is_file)
    return files.read_record(run_dir)


def _check_replicas(training, strategy) -> None:
    """Refuses a batch that the replicas cannot share, and XLA for several."""
    replicas = distribute.num_replicas(strategy)
    if training.batch_size % replicas:
        raise ValueError(
            "`batch_size` must be a multiple of the number of replicas, which "
            f"share each batch. Received: batch_size={training.batch_size}, "
            f"{replicas} replicas."
        )
    mixed = training.mixup or training.cutmix
    if mixed and training.batch_size < 2 * replicas:
        raise ValueError(
            "`batch_size` must be at least 2 for each replica where clips are "
            f"mixed. Received: batch_size={training.batch_size}, {replicas} "
            f"replicas, mixup={training.mixup}, cutmix={training.cutmix}."
        )
    if training.jit_compile and strategy is not None:
        raise ValueError(
            "`jit_compile` must not be True with a strategy: XLA does not "
            "compile what replicas exchange. Received: jit_compile=True, "
            f"{type(strategy).__name__}."
        )


def _sized(spec, size) -> arch_lib.ArchSpec:
    """The network for clips as they are cut to be evaluated, and exported."""
    if tuple(spec.clip_size) == size:
        return spec
    logging.info(
        "%s takes clips of %s here, as `data` cuts them, instead of %s.",
        spec.name,
        text_lib.times(size),
        text_lib.times(spec.clip_size),
    )
    return dataclasses.replace(spec, clip_size=size)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Job:
    """A training, all that it needs resolved; see `run_training`."""

    run: run_dir_lib.RunDir
    spec: arch_lib.ArchSpec
    source: pipeline.ClipSource
    validation: pipeline.ClipSource | None
    data: pipeline.DataOptions
    training: options_lib.TrainingOptions
    optimizer: options_lib.OptimizerOptions
    start: pathlib.Path | None
    seed: int
    strategy: tf.distribute.Strategy | None
    suffix: str = ""  # of the names of its files

    def of_seed(self, seed: int) -> "_Job":
        """The same with another seed, in files of its own."""
        suffix = "" if seed == self.seed else f"_{seed}"
        return dataclasses.replace(self, seed=seed, suffix=suffix)

    def attempt(self, seed: int, steps: int, log_steps: int) -> curve_lib.Curve:
        """Takes the first steps with another seed; returns their curve."""
        training = starts_lib.options_of(
            self.training,
            steps,
            log_steps,
            num_workers=distribute.num_workers(self.strategy),
        )
        job = dataclasses.replace(self.of_seed(seed), training=training)
        return _attempt(job, steps).curve


@dataclasses.dataclass(frozen=True)
class _Attempt:
    """What a training has come to."""

    model: keras.Model
    average: average_lib.WeightAverage | None
    curve: curve_lib.Curve
    validate: Callable[..., dict[str, Any]] | None


def _train_alone(job: _Job, licence: str, made_of: dict[str, Any]) -> None:
    """Trains while no other process writes to the directory."""
    run = job.run
    with (
        claim.alone(run.path) if run.writes else contextlib.nullcontext(),
        memory.freed_at_end(),
    ):
        if run.writes:
            run.write_provenance(**made_of)
            inputs.save_clips(run.path, job.source)
        _train(job, licence)


def _train(job: _Job, licence: str) -> None:
    """Takes all steps, from where an earlier process stopped.

    The chief saves the end.
    """
    began = time.monotonic()
    training, num_clips = job.training, len(job.source)
    if training.starts > 1:
        seed = starts_lib.choose(
            job.run, training, num_clips, job.seed, job.attempt
        )
        job = job.of_seed(seed)
    total_steps = training.steps(training.epochs, num_clips)
    done = _attempt(job, total_steps)
    if not job.run.writes:
        return
    seconds = time.monotonic() - began
    model = done.model
    if done.average is not None:
        done.average.copy_to_model()
    if training.precise_batch_norm:
        _precise_batch_norm(job, model)
    record = record_lib.record_of(
        job.spec, job.data, job.source, job.validation, done.curve,
        job.run, licence, seconds,
    )  # fmt: skip
    given_up = (training.starts - 1) * starts_lib.steps_of(training, num_clips)
    record["clips_trained"] = (total_steps + given_up) * training.batch_size
    if training.starts > 1:
        record["start_seed"] = job.seed
    if done.validate is not None:
        record["validation"] = done.validate(final=True)
    files.save_trained(job.run, model, record)
    logging.info("Wrote %s.", job.run.file(files.RECORD))


def _attempt(job: _Job, last_step: int) -> _Attempt:
    """Takes steps up to `last_step`, from where an earlier process stopped."""
    training, num_clips = job.training, len(job.source)
    with distribute.scope(job.strategy):
        model = _build(job)
        learner = optimizers.make_optimizer(
            job.optimizer, training, model.trainable_variables, num_clips
        )
        average = None
        if training.ema_decay:
            average = average_lib.WeightAverage(model, training.ema_decay)
    saved = {"model": model, "optimizer": learner}
    if average is not None:
        saved["average"] = average.values
    folder = job.run.checkpoints
    saver = checkpoints.Checkpoints(
        folder.with_name(folder.name + job.suffix),
        saved,
        identity={"run": job.run.fingerprint},
        writes=job.run.writes,
    )
    first_step = saver.restore_latest()
    distribute.check_same_step(job.strategy, first_step)
    curve = curve_lib.Curve(
        job.run.file(f"curve{job.suffix}.jsonl"),
        first_step,
        writes=job.run.writes,
    )
    validate = None
    if job.validation is not None and job.run.writes:
        validate = validation_lib.make_validator(
            model, average, job.validation, job.data, training
        )
    record_lib.log_start(job.spec, job.data, job.source, first_step, last_step)
    class_weights = None
    if training.balance:
        class_weights = steps.class_weights_of(
            job.source.labels, len(job.source.classes), training.balance
        )
    train_step = steps.make_train_step(
        model,
        learner,
        training,
        weight_decay=optimizers_lib.coupled_decay(
            job.optimizer.name, job.optimizer.weight_decay
        ),
        average=average,
        class_weights=class_weights,
        seed=job.seed,
        jit_compile=is_compiled(training, job.strategy, last_step - first_step),
    )
    with pipeline.video_errors():
        loop.run_steps(
            train_step,
            batches.make_batches(
                job.source,
                job.data,
                training,
                seed=job.seed,
                first_step=first_step,
                last_step=last_step,
                strategy=job.strategy,
            ),
            first_step=first_step,
            total_steps=last_step,
            triggers=_triggers(job, saver, curve, validate),
            strategy=job.strategy,
        )
    return _Attempt(model, average, curve, validate)


def is_compiled(
    training: options_lib.TrainingOptions,
    strategy: tf.distribute.Strategy | None,
    steps: int,
) -> bool:
    """Whether XLA compiles the step; see `TrainingOptions.jit_compile`."""
    wanted = training.jit_compile
    if wanted is None:
        wanted = (
            bool(tf.config.list_logical_devices("GPU"))
            and strategy is None
            and not training.short_cycle
            and steps >= _WORTH_COMPILING
        )
    if wanted:
        logging.info(
            "XLA compiles the step: the first takes minutes, further ones less "
            "time than without (--gin=TrainingOptions.jit_compile=False)."
        )
    return wanted


def _build(job: _Job) -> keras.Model:
    """Returns the network with the weights it begins with."""
    training = job.training
    model = models.build_model(
        job.spec,
        len(job.source.classes),
        dropout=training.dropout,
        zero_init=training.zero_init,
        freeze_batch_norm=training.freeze_batch_norm,
        seed=job.seed,
        dtype=training.precision,
    )
    if job.start is None:
        stem, *blocks, _ = models.parts(model)
        stem.start_with_motion(training.motion_init)
        for block in blocks:
            block.follow_motion(training.follow_motion)
    else:
        initial.assign_initial(
            model, job.start, training.replace_head, job.source.classes
        )
    return model


def _triggers(job: _Job, saver, curve, validate):
    training, summaries = job.training, job.run.summaries
    usual = triggers.usual(
        summaries.with_name(summaries.name + job.suffix),
        saver,
        save_secs=training.save_secs,
        save_steps=training.save_steps,
        log_steps=training.log_steps,
    )
    own = [triggers.Every(curve.add, steps=training.log_steps)]
    if not job.run.writes:
        return [usual[0], *own, usual[-1]]
    if validate is not None and training.validate_epochs:
        every = training.steps(training.validate_epochs, len(job.source))
        (scalars,) = (t for t in usual if isinstance(t, triggers.WriteScalars))

        def add_validation(step, metrics):
            del metrics
            found = {"validation_accuracy": validate()["accuracy"]}
            curve.add(step, found)
            scalars.write(step, found)

        own.append(triggers.Every(add_validation, steps=every))
    # Saving is last, so that a checkpoint's curve is complete.
    return [*usual[:-1], *own, usual[-1]]


def _precise_batch_norm(job: _Job, model: keras.Model) -> None:
    count = job.training.precise_batch_norm
    clips = pipeline.make_train_dataset(
        job.source,
        job.data,
        batch_size=job.training.batch_size,
        seed=job.seed ^ _PRECISE_SEED,
        total_steps=count,
    )
    with pipeline.video_errors():
        used = models.reestimate_batch_norm(model, clips, count)
    logging.info("Batch-norm statistics re-estimated over %d batches.", used)
