"""A search of a space with one best network finds it, whole: its step and
schedule, costs from their tables, the joint distribution, the derivation."""

import types

import keras
import numpy as np
import pytest
import tensorflow as tf

from autox3d_tf import cost, space
from autox3d_tf.runs import loop
from autox3d_tf.search import cost_table, derive, optimizers, search_step, steps
from autox3d_tf.search import distribution as distribution_lib
from autox3d_tf.search import options as options_lib

SPACE = space.get_space("tiny")  # 69,984 index vectors
STEPS, JOINT_STEP = 1200, 800
PER_HIT = 0.15  # nats of likelihood for each choice that is as planted


class Planted:
    """A search whose likelihoods are known: nothing is trained."""

    def __init__(self):
        self.best = tf.Variable(tf.zeros(len(SPACE.choices), tf.int32))
        self.seed = tf.Variable(0)
        random = np.random.default_rng(0).integers(
            SPACE.sizes, size=(501, len(SPACE.sizes))
        )
        measure = cost.Budget(target=1.0, num_classes=4)
        macs = [*map(cost.SpaceCost(SPACE, measure), random.tolist())]
        self.budget = cost.Budget(target=np.median(macs), num_classes=4)
        self.tables = [cost_table.CostTable(SPACE, self.budget)]
        self.distributions = [
            distribution_lib.factorized(SPACE),
            distribution_lib.joint(SPACE),
        ]
        supernet = types.SimpleNamespace(
            space=SPACE,
            shared_weights=[keras.Variable([0.0], name="kernel")],
            logits=self.distributions[0].logits,
        )
        self.optimizers = optimizers.Optimizers(
            supernet,
            options_lib.WeightsOptions(),
            self.distributions,
            options_lib.LogitsOptions(),
            batch_size=1,
            steps=STEPS,
        )
        step = search_step.SearchStep(
            supernet,
            self.distributions,
            self.tables,
            self.optimizers,
            options_lib.SearchOptions(
                steps=STEPS, warmup_steps=0, joint_step=JOINT_STEP
            ),
            options_lib.EstimatorOptions(samples_per_nat=1.0, temperature=0.1),
            counters=tf.Variable(tf.zeros([3], tf.int64)),
            seed=self.seed,
        )
        self.step = loop.compile_step(step)

    def log_likelihoods(self, supernet, indices, clips, labels):
        hits = tf.reduce_sum(tf.cast(indices == self.best, tf.float32), 1)
        return PER_HIT * hits, hits

    def plant(self, seed):
        """Chooses a network within the budget, and forgets the last search."""
        rng = np.random.default_rng(seed)
        while True:
            best = SPACE.canonical(rng.integers(SPACE.sizes).tolist())
            if self.tables[0](np.array([best]))[0] <= self.budget.limit:
                break
        self.best.assign(best)
        self.seed.assign(seed)
        for one, adam in zip(
            self.distributions, self.optimizers.logits, strict=True
        ):
            rate = adam.learning_rate.numpy()
            for variable in (*one.logits, *adam.variables):
                variable.assign(tf.zeros_like(variable))
            adam.learning_rate = rate
        return best


@pytest.fixture(scope="module")
def planted():
    found = Planted()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(steps, "log_likelihoods", found.log_likelihoods)
        patch.setattr(
            steps,
            "weights_gradient",
            lambda *_, **__: ([tf.zeros(1)], {"loss": tf.constant(0.0)}),
        )
        yield found


@pytest.mark.large
@pytest.mark.parametrize("seed", range(10))
def test_a_planted_network_is_found(planted, seed):
    best = planted.plant(seed)
    clips, labels = tf.zeros((1, 1)), tf.zeros(1, tf.int32)
    for number in range(STEPS):
        if number == JOINT_STEP:
            distribution_lib.convert(*planted.distributions)
        planted.step(tf.constant(number), clips, labels, clips, labels)
    (found,) = derive.top_k(SPACE, planted.distributions[1], planted.tables, 1)
    assert SPACE.canonical(found.indices) == best
    assert found.costs[0] <= planted.budget.limit
