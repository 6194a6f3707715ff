"""Accuracy and likelihood on held-out clips; no training chooses by them."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from autox3d_tf.data import pipeline
from autox3d_tf.training import inputs, predict
from autox3d_tf.training import protocol as protocol_lib


def open_clips(data, training):
    """Returns the clips to validate on, None if there are none.

    Raises:
        ValueError: If they are named, and are not there.
    """
    if not inputs.has_part(data, "val"):
        if training.validate_epochs:
            logging.warning(
                "No validation: the options name no val_splits or val_folds."
            )
        return None
    try:
        return pipeline.open_source(data, "val")
    except ValueError as error:
        if data.named_parts:  # one may be misspelt, and the training long
            raise
        logging.warning("No validation: %s", error)
        return None


def make_validator(model, average, source, data, training) -> Callable:
    """Returns a function that validates the averaged weights, if averaged.

    It returns the top-1 `accuracy`, the mean `log_likelihood` of the class of
    a clip in nats, `clips`, how many, and the `protocol`.
    """
    predictor = predict.Predictor(model, training.batch_size)
    labels, clips = source.labels, len(source)
    protocol = protocol_lib.protocol_of(
        model.arch, source, data, model.output_shape[-1]
    )

    def measure():
        logits = predictor.predict(source, data)[:, 0]
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        return {
            "accuracy": float(np.mean(logits.argmax(-1) == labels)),
            "log_likelihood": -float(np.mean(losses)),
        }

    def validate(final: bool = False) -> dict[str, Any]:
        if average is None or final:
            values = measure()
        else:
            with average.in_model():
                values = measure()
        found = {**values, "clips": clips, "protocol": protocol}
        log(found)
        return found

    return validate


def log(found: dict[str, Any]) -> None:
    """Says what a validation has found, in one line."""
    logging.info(
        "Validation: top-1 %.1f %%: %s.",
        100 * found["accuracy"],
        protocol_lib.protocol_line(found["protocol"], found["clips"]),
    )
