"""What a search has found, for TensorBoard: the figures of its page."""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from autox3d_tf.runs import json_lines
from autox3d_tf.runs import run_dir as run_dir_lib
from autox3d_tf.search import figures, history, markdown, report
from autox3d_tf.space import arch as arch_lib
from autox3d_tf.space import search_space


def write_found(
    run: run_dir_lib.RunDir,
    space: search_space.SearchSpace,
    record: Mapping[str, Any],
) -> None:
    """Writes images and the table of runners-up, at the last step.

    Args:
        run: Of a search that has ended.
        space: What was searched.
        record: What search.json says.
    """
    arch = arch_lib.load_arch(run.file("arch.json"))
    images = {
        "network": figures.draw_network(arch, record),
        "judged_inside_the_supernet": figures.draw_children(record),
    }
    entries = json_lines.read(run.file(history.FILE))
    if entries:  # a supernet that was taken leaves none
        images["choices"] = figures.draw_choices(space, entries)
    top = markdown.format_table(report.top_table(space, record))
    writer = tf.summary.create_file_writer(str(run.summaries))
    with writer.as_default(step=record["config"]["search"]["steps"]):
        for name, figure in images.items():
            pixels = tf.image.decode_png(figures.as_png(figure), channels=3)
            tf.summary.image(name, pixels[tf.newaxis])
        tf.summary.text("first_within_budget", top)
    writer.close()
