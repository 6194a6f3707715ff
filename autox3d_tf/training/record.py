"""What a training says about itself, before and after."""

from typing import Any

from absl import logging

from autox3d_tf import cost
from autox3d_tf.base import files as files_lib
from autox3d_tf.base import text as text_lib
from autox3d_tf.training import inputs

KIND = "training"
# When a run goes on.
_MAY_CHANGE = ("save_secs", "save_steps", "jit_compile")


def config_of(spec, data, training, optimizer, start, seed, source):
    """What must not change when the run goes on."""
    return {
        "kind": KIND,
        "arch": {"name": spec.name, "fingerprint": spec.fingerprint},
        "data": data,
        "manifest": source.manifest.fingerprint,
        "order": source.manifest.order_fingerprint,
        **recipe_of(training, optimizer),
        "init_from": None
        if start is None
        else {
            "path": str(start),
            "sha256": files_lib.file_sha256(start),
        },
        "seed": seed,
    }


def recipe_of(training, optimizer) -> dict[str, Any]:
    """How a network is trained, whichever it is."""
    options = files_lib.to_json(training)
    return {
        "training": {
            name: value
            for name, value in options.items()
            if name not in _MAY_CHANGE
        },
        "optimizer": optimizer,
    }


def log_start(spec, data, source, first_step, total_steps) -> None:
    """Says what is trained, on what, and which steps are left."""
    size = data.clip_size
    found = cost.cost_of(spec, size, len(source.classes))
    logging.info(
        "%s: %s parameters, %.1f M MACs per clip of %s; %d clips in %d "
        "classes; steps %d to %d.",
        spec.name,
        f"{found.params:,}",
        found.macs / 1e6,
        text_lib.times(size),
        len(source),
        len(source.classes),
        first_step,
        total_steps,
    )


def record_of(
    spec, data, source, validation, curve, run, licence, seconds
) -> dict[str, Any]:
    """Returns what training.json says, but for the end's own figures."""
    size = data.eval_clip_size
    found = cost.cost_of(spec, size, len(source.classes))
    return {
        "labels": list(source.classes),
        "preprocessing": inputs.preprocessing(data),
        "arch": spec.name,
        "params": found.params,
        "macs": {"clip_size": size, "per_view": found.macs},
        "train_clips": len(source),
        "clips": inputs.clips_by_part(data, source, validation),
        "licence": licence,
        "config": run.config,
        "seconds_since_start_or_resume": round(seconds, 1),
        "curve": curve.points,
        "provenance": run.provenance(seed=run.config["seed"]),
    }
