"""Which views make up a test with fewer of them; numpy only."""

import numpy as np

from autox3d_tf.base import scores
from autox3d_tf.evaluation import metrics


def spread_order(count: int) -> list[int]:
    """Orders numbers from the middle, each as far as can be from those before.

    >>> spread_order(5)
    [2, 0, 4, 1, 3]
    """
    order = [(count - 1) // 2]
    while len(order) < count:
        rest = [n for n in range(count) if n not in order]
        order.append(
            max(rest, key=lambda n: (min(abs(n - o) for o in order), -n))
        )
    return order


def view_order(temporal_views: int, spatial_crops: int) -> list[int]:
    """Orders views so that the first n of them are a good test of n views.

    All places in time with the centre crop come first, then the other crops.
    View numbers are those of `data.pipeline.make_eval_dataset`.

    >>> view_order(2, 3)
    [1, 4, 0, 3, 2, 5]
    """
    return [
        time * spatial_crops + crop
        for crop in spread_order(spatial_crops)
        for time in spread_order(temporal_views)
    ]


def accuracy_curve(
    logits: np.ndarray,
    labels: np.ndarray,
    temporal_views: int,
    spatial_crops: int,
) -> list[dict]:
    """Returns top-1 accuracy with 1, 2, ... all views, from one pass.

    Args:
        logits: `(clips, views, classes)`.
        labels: `(clips,)`.
        temporal_views, spatial_crops: How the views were made.

    Returns:
        Per number of views: `views`, `top1`, `interval` (95 %, Wilson) and
        `last_view`, the number of the view that was added.
    """
    total = 0.0
    points = []
    order = view_order(temporal_views, spatial_crops)
    for count, view in enumerate(order, 1):
        total = total + scores.softmax(logits[:, view])
        right = metrics.top_k(total / count, labels)
        points.append(
            {
                "views": count,
                "top1": right / len(labels),
                "interval": metrics.wilson_interval(right, len(labels)),
                "last_view": view,
            }
        )
    return points
