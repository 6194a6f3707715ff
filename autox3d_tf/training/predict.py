"""Logits of every view of every clip."""

import keras
import numpy as np

from autox3d_tf.data import pipeline
from autox3d_tf.runs import loop


class Predictor:
    """Runs a model over clips; its graph is traced once.

    Args:
        model: Clips -> logits. Its weights may change between calls.
        batch_size: Views in a batch; the last one is filled up.
    """

    def __init__(self, model: keras.Model, batch_size: int = 16):
        self.batch_size = batch_size
        self.num_classes = model.output_shape[-1]
        self._run = loop.compile_step(
            lambda clips: model(clips, training=False)
        )

    def predict(
        self,
        source,
        options: pipeline.DataOptions,
        temporal_views: int = 1,
        spatial_crops: int = 1,
        on_batch=None,
    ) -> np.ndarray:
        """Returns logits, float32 `(clips, views, classes)`.

        Args:
            source: From `data.pipeline.open_source`.
            options: How clips are sampled and cropped.
            temporal_views, spatial_crops: Views of each clip; see
                `data.pipeline.make_eval_dataset` for their order.
            on_batch: Called with the number of views done, to show progress.

        Raises:
            ValueError: A logit is NaN or infinite.
        """
        views = temporal_views * spatial_crops
        shape = (len(source), views, self.num_classes)
        logits = np.full(shape, np.nan, np.float32)
        dataset = pipeline.make_eval_dataset(
            source,
            options,
            batch_size=self.batch_size,
            temporal_views=temporal_views,
            spatial_crops=spatial_crops,
        )
        with pipeline.video_errors():
            for clips, _, places, numbers in dataset:
                count = len(places)
                clips = _fill_up(clips.numpy(), self.batch_size)
                batch = self._run(0, clips).numpy()[:count]
                logits[places.numpy(), numbers.numpy()] = batch
                if on_batch is not None:
                    on_batch(count)
        if not np.isfinite(logits).all():
            bad = len(source) - np.isfinite(logits).all((1, 2)).sum()
            raise ValueError(
                "The network must give finite numbers. Received: NaN or "
                f"infinity for {bad} of {len(source)} clips. Its weights are "
                "damaged, or training diverged."
            )
        return logits


def _fill_up(clips: np.ndarray, size: int) -> np.ndarray:
    if len(clips) == size:
        return clips
    rest = np.zeros((size - len(clips), *clips.shape[1:]), clips.dtype)
    return np.concatenate([clips, rest])
