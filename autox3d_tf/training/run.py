"""Trains one network: the function behind autox3d-train."""

import contextlib
import os
import pathlib
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from autox3d_tf import cost, models
from autox3d_tf.data import pipeline
from autox3d_tf.runs import (
    checkpoints,
    determinism,
    loop,
    triggers,
)
from autox3d_tf.runs import (
    run_dir as run_dir_lib,
)
from autox3d_tf.space import arch as arch_lib
from autox3d_tf.training import (
    average as average_lib,
)
from autox3d_tf.training import (
    curve as curve_lib,
)
from autox3d_tf.training import (
    files,
    initial,
    inputs,
    optimizers,
    predict,
    steps,
)
from autox3d_tf.training import (
    options as options_lib,
)

_PRECISE_SEED = 0x9C15E  # clips for precise batch norm, apart from training's
_MAY_CHANGE = ("save_secs", "save_steps")  # when a run goes on


def run_training(
    *,
    arch: str | arch_lib.ArchSpec,
    data: pipeline.DataOptions,
    training: options_lib.TrainingOptions,
    optimizer: options_lib.OptimizerOptions,
    run_dir: str,
    init_from: str | None = None,
    seed: int = 0,
    strategy: tf.distribute.Strategy | None = None,
) -> dict[str, Any]:
    """Trains a network and writes arch.json, weights.npz and training.json.

    Called again with the same `run_dir` it goes on where it stopped, and ends
    with the same weights as if it had not stopped.

    Args:
        arch: A named network, an arch.json or a run directory with one.
        data: Clips, and which of them train. The clips of part `val` are
            validated on if there are any; nothing is chosen by them.
        training: Length and regularisation.
        optimizer: Optimizer and learning rate.
        run_dir: Where the run writes.
        init_from: Weights to start from: a weights.npz, or the directory of a
            training or of a search (inherited weights).
        seed: Of initialisation, order and augmentation of clips.
        strategy: Replicas share each batch; None for one device.

    Returns:
        What training.json says.
    """
    determinism.set_seed(seed)
    spec = initial.find_arch(arch)
    start = None if init_from is None else initial.weights_path(init_from)
    data = inputs.freeze(data, _made(run_dir))
    source = pipeline.open_source(data, "train")
    inputs.check_classes(source)
    validation = _open_validation(data, training)
    config = _config(spec, data, training, optimizer, start, seed, source)
    run = run_dir_lib.RunDir(run_dir, config)
    run.write_provenance(**config)

    with strategy.scope() if strategy else contextlib.nullcontext():
        model = _build(spec, source, training, start, seed)
        learner = optimizers.make_optimizer(
            optimizer, training, model.trainable_variables, len(source)
        )
        average = None
        if training.ema_decay:
            average = average_lib.WeightAverage(model, training.ema_decay)
    saved = {"model": model, "optimizer": learner}
    if average is not None:
        saved["average"] = average
    saver = checkpoints.Checkpoints(
        run.checkpoints, saved, identity={"run": run.fingerprint}
    )
    first_step = saver.restore_latest()
    total_steps = training.steps(training.epochs, len(source))
    curve = curve_lib.Curve(run.file("curve.jsonl"), first_step)
    validate = None
    if validation is not None:
        validate = _validator(model, average, validation, data, training)
    _log_start(spec, data, source, first_step, total_steps)

    began = time.monotonic()
    train_step = steps.make_train_step(
        model,
        learner,
        training,
        weight_decay=optimizers.coupled_decay(optimizer),
        average=average,
        seed=seed,
    )
    batches = pipeline.make_train_dataset(
        source,
        data,
        batch_size=training.batch_size,
        seed=seed,
        first_step=first_step,
        total_steps=total_steps,
    )
    with pipeline.video_errors():
        loop.run_steps(
            train_step,
            batches,
            first_step=first_step,
            total_steps=total_steps,
            triggers=_triggers(
                run, saver, curve, training, validate, len(source)
            ),
            strategy=strategy,
        )
    seconds = time.monotonic() - began
    if average is not None:
        average.copy_to_model()
    if training.precise_batch_norm:
        _precise_batch_norm(model, source, data, training, seed)
    record = _record(spec, data, source, curve, config, seconds)
    if validate is not None:
        record["validation"] = validate(final=True)
    files.save_trained(run, model, record)
    logging.info("Wrote %s.", run.file(files.RECORD))
    return record


def _build(spec, source, training, start, seed) -> keras.Model:
    """Returns the network with the weights it begins with."""
    with _precision(training.precision):
        model = models.build_model(
            spec,
            len(source.classes),
            dropout=training.dropout,
            zero_init=training.zero_init,
            seed=seed,
        )
    if start is None:
        initial.start_with_motion(model, training.motion_init)
    else:
        initial.assign_initial(model, start, training.replace_head)
    if training.freeze_batch_norm:
        freeze_batch_norm(model)
    return model


def freeze_batch_norm(model: keras.Model) -> None:
    """Makes all batch norms use and keep their statistics in training.

    Their scales and offsets are still trained, as in SlowFast.
    """
    for layer in models.parts(model):
        normalize = layer.norm

        def frozen(name, clip, training, normalize=normalize):
            del training
            return normalize(name, clip, False)

        layer.norm = frozen


def _made(run_dir: str | os.PathLike):
    path = pathlib.Path(run_dir)
    path.mkdir(parents=True, exist_ok=True)
    return path


def _open_validation(data, training):
    """Returns the clips to validate on, None if there are none."""
    if not inputs.has_part(data, "val"):
        if training.validate_epochs:
            logging.warning(
                "No validation: the options name no val_splits or val_folds."
            )
        return None
    try:
        return pipeline.open_source(data, "val")
    except ValueError as error:
        logging.warning("No validation: %s", error)
        return None


def _config(spec, data, training, optimizer, start, seed, source):
    """What must not change when the run goes on."""
    options = run_dir_lib.to_json(training)
    return {
        "kind": "training",
        "arch": {"name": spec.name, "fingerprint": spec.fingerprint},
        "data": data,
        "manifest": source.manifest.fingerprint,
        "training": {
            name: value
            for name, value in options.items()
            if name not in _MAY_CHANGE
        },
        "optimizer": optimizer,
        "init_from": None
        if start is None
        else {
            "path": str(start),
            "sha256": run_dir_lib.file_sha256(start),
        },
        "seed": seed,
    }


@contextlib.contextmanager
def _precision(policy: str):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _validator(model, average, source, data, training) -> Callable:
    """Returns a function that validates the averaged weights, if averaged."""
    predictor = predict.Predictor(model, training.batch_size)
    labels = source.labels

    def accuracy():
        logits = predictor.predict(source, data)[:, 0]
        return float(np.mean(logits.argmax(-1) == labels))

    def validate(final: bool = False) -> dict[str, Any]:
        if average is None or final:
            value = accuracy()
        else:
            with average.in_model():
                value = accuracy()
        clips = len(source)
        logging.info("Validation: %.1f %% of %d clips.", 100 * value, clips)
        return {
            "accuracy": value,
            "clips": clips,
            "views": "1x1",
            "crop_size": data.eval_size[1],
            "manifest": source.manifest.fingerprint,
        }

    return validate


def _triggers(run, saver, curve, training, validate, num_clips):
    usual = triggers.usual(
        run,
        saver,
        save_secs=training.save_secs,
        save_steps=training.save_steps,
        log_steps=training.log_steps,
    )
    own = [triggers.Every(curve.add, steps=training.log_steps)]
    if validate is not None and training.validate_epochs:
        every = training.steps(training.validate_epochs, num_clips)

        def add_validation(step, metrics):
            del metrics
            found = validate()
            curve.add(step, {"validation_accuracy": found["accuracy"]})

        own.append(triggers.Every(add_validation, steps=every))
    # Saving is last, so that a checkpoint's curve is complete.
    return [*usual[:-1], *own, usual[-1]]


def _precise_batch_norm(model, source, data, training, seed) -> None:
    batches = pipeline.make_train_dataset(
        source,
        data,
        batch_size=training.batch_size,
        seed=seed ^ _PRECISE_SEED,
        total_steps=training.precise_batch_norm,
    )
    with pipeline.video_errors():
        used = models.reestimate_batch_norm(
            model, batches, training.precise_batch_norm
        )
    logging.info("Batch-norm statistics taken anew over %d batches.", used)


def _log_start(spec, data, source, first_step, total_steps) -> None:
    size = (data.clip_frames, data.crop_size, data.crop_size)
    found = cost.cost_of(spec, size, len(source.classes))
    logging.info(
        "%s: %s parameters, %.1f M MACs per clip of %s; %d clips in %d "
        "classes; steps %d to %d.",
        spec.name,
        f"{found.params:,}",
        found.macs / 1e6,
        "x".join(map(str, size)),
        len(source),
        len(source.classes),
        first_step,
        total_steps,
    )


def _record(spec, data, source, curve, config, seconds) -> dict[str, Any]:
    crop = data.eval_size[1]
    size = (data.clip_frames, crop, crop)
    found = cost.cost_of(spec, size, len(source.classes))
    return {
        "labels": list(source.classes),
        "preprocessing": inputs.preprocessing(data),
        "arch": spec.name,
        "params": found.params,
        "macs": {"clip_size": size, "per_view": found.macs},
        "train_clips": len(source),
        "config": config,
        "seconds_since_start_or_resume": round(seconds, 1),
        "curve": curve.points,
        "provenance": run_dir_lib.provenance(seed=config["seed"]),
    }
