"""Architectures judged with the weights they inherit from the supernet."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from autox3d_tf.data import pipeline
from autox3d_tf.models import supernet as supernet_lib
from autox3d_tf.runs import loop
from autox3d_tf.search import cost_table as cost_table_lib
from autox3d_tf.search import steps

_MOST_CLIPS = 1024
_CACHE_BYTES = 2**28  # clips that need no more are read and cut once


@dataclasses.dataclass(frozen=True, kw_only=True)
class Child:
    """An architecture and how it does inside the supernet.

    Attributes:
        indices: One entry per choice.
        costs: One per budget.
        accuracy, log_likelihood: Over the judge's clips, with the statistics
            of each batch in the batch norms.
    """

    indices: tuple[int, ...]
    costs: tuple[float, ...]
    accuracy: float
    log_likelihood: float


class Judge:
    """Judges architectures on one half of the clips, the same ones always.

    Args:
        supernet: Whose weights are inherited.
        source: The clips, such as the logits' half.
        data: How clips are sampled and cropped; as in evaluation, without
            augmentation.
        cost_tables: One per budget.
        batch_size: Clips at once; about `_MOST_CLIPS` in all are used.

    Attributes:
        clips_each: Clips that one architecture is judged on.
        distinct: How many of them differ: batches are full.
        clips: Clips judged so far.
    """

    def __init__(
        self,
        supernet: supernet_lib.Supernet,
        source,
        data: pipeline.DataOptions,
        cost_tables: Sequence[cost_table_lib.CostTable],
        batch_size: int,
    ):
        self._tables = tuple(cost_tables)
        # Mixed batches of one size, as batch norms use the batch's statistics;
        # the last one is filled up from the beginning.
        count = -(-min(len(source), _MOST_CLIPS) // batch_size)
        self.clips_each = count * batch_size
        self.distinct = min(len(source), self.clips_each)
        order = np.random.default_rng(0).permutation(len(source))
        rows = [source.manifest.rows[i]
                for i in np.resize(order, self.clips_each)]  # fmt: skip
        manifest = dataclasses.replace(source.manifest, rows=tuple(rows))
        self._batches = pipeline.make_eval_dataset(
            source.subset(manifest), data, batch_size=batch_size
        )
        clip = math.prod(self._batches.element_spec[0].shape[1:])
        if self.clips_each * clip * tf.float32.size <= _CACHE_BYTES:
            self._batches = self._batches.cache()
        self.clips = 0

        def judge(clips, labels, indices):
            one = indices[tf.newaxis]
            found = steps.log_likelihoods(supernet, one, clips, labels)
            return tf.stack(found)[:, 0]

        self._judge = loop.compile_step(judge)

    def __call__(self, indices: Sequence[int]) -> Child:
        """Judges one architecture."""
        vector, scores = tf.constant(indices, tf.int32), []
        step = tf.constant(0, tf.int64)
        with pipeline.video_errors():
            for clips, labels, *_ in self._batches:
                scores.append(self._judge(step, clips, labels, vector))
                self.clips += int(labels.shape[0])
        likelihood, accuracy = np.mean(scores, axis=0)
        return Child(
            indices=tuple(int(i) for i in indices),
            costs=cost_table_lib.costs_of(self._tables, indices),
            accuracy=float(accuracy),
            log_likelihood=float(likelihood),
        )
