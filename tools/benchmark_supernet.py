r"""Times a child inside the supernet against the same child built alone.

autox3d-benchmark-supernet --space=egogestar --batch_size=8
autox3d-benchmark-supernet --space=x3d_s --clip_size=4x112x112 --batch_size=2

Prints the time of the first step of a search (tracing included) and of later
ones, with two samples for each half and the update of all shared weights; and,
for a small, a middle and a large child, the training step in the supernet and
alone, in turn, with the median of the ratios.

A training step is forward and backward: here each sample of a search step is
one. In the supernet that includes cutting the child's windows out of the
shared weights and padding the gradients back to their size. The step of the
logits is forward only.
"""

import statistics
import time

from absl import flags

from autox3d_tf.base import text as text_lib
from autox3d_tf.runs import binary

FLAGS = flags.FLAGS


def _children(space):
    """Architectures of the first block type, as indices.

    With the narrowest filters, the smallest expansion and no attention; with
    what is in the middle; and with the widest, the largest and attention.
    """
    for name, share in (("small", 0.0), ("middle", 0.5), ("large", 1.0)):
        indices = []
        for choice in space.choices:
            places = range(len(choice))
            if choice.name.endswith("block_type"):
                places = [0]
            places = sorted(places, key=lambda i: choice.candidates[i])
            indices.append(places[round(share * (len(places) - 1))])
        yield name, indices


def _train_step(model, variables):
    """A compiled step: forward, backward, gradients consumed by a sum."""
    import tensorflow as tf

    @tf.function(autograph=False)  # as `loop` has it
    def step(clips, *indices):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(model(clips, *indices, training=True) ** 2)
        gradients = tape.gradient(
            loss,
            [v.value for v in variables],
            unconnected_gradients=tf.UnconnectedGradients.ZERO,
        )
        return tf.add_n([tf.reduce_sum(g) for g in gradients])

    return step


def _forward(model):
    """What the step of the logits does with a sample: no gradient."""
    import tensorflow as tf

    @tf.function(autograph=False)  # as `loop` has it
    def forward(clips, indices):
        return tf.reduce_sum(model(clips, indices, training=False))

    return forward


def _search_step(supernet, clip_size, batch_size):
    """A compiled step of a search, as `run_search` takes them: two samples."""
    import tensorflow as tf

    from autox3d_tf import cost
    from autox3d_tf.runs import loop
    from autox3d_tf.search import (
        cost_table,
        distribution,
        optimizers,
        options,
        search_step,
    )

    space = supernet.space
    budget = cost.Budget(
        target=cost.cost_of(space.decode(space.largest)).macs / 2,
        clip_size=clip_size,
        num_classes=supernet.num_classes,
    )
    search = options.SearchOptions(
        steps=100, warmup_steps=0, batch_size=batch_size
    )
    distributions = [distribution.factorized(space, supernet.logits)]
    learners = optimizers.Optimizers(
        supernet,
        options.WeightsOptions(),
        distributions,
        options.LogitsOptions(),
        batch_size=batch_size,
        steps=search.steps,
    )
    step = search_step.SearchStep(
        supernet,
        distributions,
        [cost_table.CostTable(space, budget)],
        learners,
        search,
        options.EstimatorOptions(fixed_samples=2),
        counters=tf.Variable(tf.zeros([3], tf.int64)),
    )
    compiled = loop.compile_step(step)
    return lambda number, *batch: compiled(number, *batch)["loss"]


def _seconds(function, *arguments):
    start = time.perf_counter()
    function(*arguments).numpy()
    return time.perf_counter() - start


def _main(arguments):
    binary.take_no_arguments(arguments)
    import tensorflow as tf

    from autox3d_tf import cost, models
    from autox3d_tf import space as space_lib

    # The loop of a run does the same: it halves tracing, not the step.
    tf.config.optimizer.set_experimental_options(
        {"disable_meta_optimizer": True}
    )
    space = space_lib.get_space(FLAGS.space)
    clip_size = FLAGS.clip_size or space.clip_size
    clips = tf.random.stateless_normal(
        (FLAGS.batch_size, *clip_size, 3), seed=(0, 0)
    )
    supernet = models.Supernet(space, FLAGS.num_classes)
    print(
        f"space {space.name}, clips {FLAGS.batch_size}x"
        f"{text_lib.times(clip_size)}"
    )
    search_step = _search_step(supernet, clip_size, FLAGS.batch_size)
    labels = tf.zeros((FLAGS.batch_size,), tf.int32)
    batch = (tf.constant(0, tf.int64), *[clips, labels] * 2)
    first, *later = (
        _seconds(search_step, *batch) for _ in range(1 + FLAGS.repeats)
    )
    print(
        f"step of a search, two samples: the first, tracing included, "
        f"{first:.1f} s, later ones {1e3 * statistics.median(later):.1f} ms"
    )
    print("step = forward and backward:")
    in_supernet = _train_step(supernet, supernet.shared_weights)
    forward = _forward(supernet)
    for name, indices in _children(space):
        arguments = (clips, tf.constant(indices))
        _seconds(in_supernet, *arguments)
        child = models.inherit(supernet, indices)
        alone = _train_step(child, child.trainable_variables)
        _seconds(alone, clips)
        _seconds(forward, *arguments)
        logits = [_seconds(forward, *arguments) for _ in range(FLAGS.repeats)]
        times = [
            (_seconds(in_supernet, *arguments), _seconds(alone, clips))
            for _ in range(FLAGS.repeats)
        ]
        inside, outside = (statistics.median(t) for t in zip(*times))  # noqa: B905
        macs = cost.cost_of(
            space.decode(indices), clip_size, FLAGS.num_classes
        ).macs
        ratio = statistics.median(a / b for a, b in times)
        print(
            f"{name:<8}{macs / 1e6:8.1f} M MACs   in the supernet "
            f"{1e3 * inside:8.1f} ms   alone {1e3 * outside:8.1f} ms   "
            f"ratio {ratio:.2f}   forward only "
            f"{1e3 * statistics.median(logits):8.1f} ms"
        )
    traces = in_supernet.experimental_get_tracing_count()
    print(f"traces of the supernet: {traces}")


def _define_flags():
    flags.DEFINE_string("space", "egogestar", "Named space, or a space.json.")
    binary.define_clip_size("By default the space's own.")
    flags.DEFINE_integer("batch_size", 8, "Clips of a step.", lower_bound=1)
    flags.DEFINE_integer("num_classes", 10, "Outputs.", lower_bound=1)
    flags.DEFINE_integer("repeats", 10, "Timed steps of each.", lower_bound=3)


def main():
    binary.run_plain(_main, define=_define_flags, threads=True)


if __name__ == "__main__":
    main()
