"""The parts of a search, put together: the harness of all methods."""

import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from autox3d_tf import models
from autox3d_tf.base import text as text_lib
from autox3d_tf.data import parts, pipeline
from autox3d_tf.runs import checkpoints, distribute, loop, triggers
from autox3d_tf.runs import run_dir as run_dir_lib
from autox3d_tf.search import (
    batches,
    children,
    choose,
    cost_table,
    history,
    optimizers,
    relaxation,
    search_step,
    start,
)
from autox3d_tf.search import distribution as distribution_lib
from autox3d_tf.search import estimator as estimator_lib
from autox3d_tf.search import options as options_lib

# What is taken from another search: to judge by, and to go on from. The
# logits' optimizer has taken no step in a warm-up, and has its own rate.
_JUDGED_BY = ("supernet", "counters")
_WARMED_UP = (*_JUDGED_BY, "weights_optimizer")
_TIGHT = 0.05  # share of a space within the budget that leaves little
_LAST_SEED = 0x5EA6C  # of the clips of precise batch norm, apart from steps


class Engine:
    """The parts of a search, put together.

    Args:
        space: A `SearchSpace`.
        source: Open clips, which are halved here.
        data: How they are cut.
        budgets: Of `run.make_budgets`.
        search, estimator, weights, logits: Options.
        seed, strategy, own_clips: As in `run_search`.

    Attributes:
        first_samples: K at the start.
        chooser: Chooses a network once all steps are taken.
    """

    def __init__(
        self, *, space, source, data, budgets, search, estimator, weights,
        logits, seed, strategy=None, own_clips=False,
    ):  # fmt: skip
        self.space, self.source, self.data = space, source, data
        self.budgets, self.search, self.seed = budgets, search, seed
        self.estimator = estimator
        self.strategy, self.own_clips = strategy, own_clips
        self.halves = parts.halve(source, seed)
        self.tables = [cost_table.CostTable(space, b) for b in budgets]
        with distribute.scope(strategy):
            self._build(weights, logits)
        self.counters = tf.Variable(
            tf.zeros([3], tf.int64), trainable=False, name="counters"
        )
        self.chooser = choose.Chooser(
            space, self.tables, search, seed, self._make_judge
        )

    def _build(self, weights, logits):
        self.supernet = models.Supernet(
            self.space, len(self.source.classes), seed=self.seed
        )
        if weights.motion_init:
            self.supernet.stem.start_with_motion(weights.motion_init)
        self.distributions = [
            distribution_lib.factorized(self.space, self.supernet.logits)
        ]
        if self.search.start_at_budget:
            logits_start = start.logits_at_budget(
                self.space.sizes, self.tables, self.seed
            )
            for own, values in zip(
                self.supernet.logits, logits_start, strict=True
            ):
                own.assign(values)
        entropy = self.distributions[0].entropy()
        self.first_samples = int(
            estimator_lib.num_samples(entropy, self.estimator)
        )
        if self.search.joint_step:
            self.distributions.append(distribution_lib.joint(self.space))
        self.optimizers = optimizers.Optimizers(
            self.supernet,
            weights,
            self.distributions,
            logits,
            batch_size=self.search.batch_size,
            steps=self.search.steps,
        )

    def _make_judge(self) -> children.Judge:
        """Judges architectures on the logits' half."""
        search = self.search
        return children.Judge(
            self.supernet,
            self.halves[1],
            self.data,
            self.tables,
            search.clips_of_logits,
        )

    def distribution(self, step: int | None = None):
        """The distribution in force after `step` steps; of all by default."""
        step = self.search.steps if step is None else step
        joint = self.search.joint_step and step >= self.search.joint_step
        return self.distributions[1 if joint else 0]

    def probabilities(self, step: int) -> list[np.ndarray]:
        """Probabilities of all choices after `step` steps."""
        return self.distribution(step).probabilities()

    def counts(self) -> dict[str, int]:
        """What the search has cost so far."""
        names = ("architectures", "clips_trained", "clips_judged")
        found = dict(zip(names, self.counters.numpy().tolist(), strict=True))
        found["architectures"] += self.chooser.chosen_among["architectures"]
        found["clips_judged"] += self.chooser.chosen_among["clips"]
        return found

    def saved(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        objects = {
            "supernet": self.supernet,
            "weights_optimizer": self.optimizers.weights,
            "counters": self.counters,
        }
        for i, optimizer in enumerate(self.optimizers.logits):
            objects[f"logits_optimizer{i}"] = optimizer
        for i, distribution in enumerate(self.distributions[1:]):
            for factor, variable in zip(
                distribution.factors, distribution.logits, strict=True
            ):
                name = factor.name.replace("/", "_")
                objects[f"joint{i}_{name}"] = variable
        return objects

    def train(
        self, run: run_dir_lib.RunDir, supernet_from: str | None = None
    ) -> None:
        """Takes all steps, from where an earlier process stopped.

        Args:
            run: Where checkpoints and the history are.
            supernet_from: Directory of a search that has done the warm-up.
        """
        saver = self._saver(run)
        first_step = saver.restore_latest()
        distribute.check_same_step(self.strategy, first_step)
        if not first_step and supernet_from is not None:
            first_step = self.adopt(supernet_from)
            if 0 < self.search.joint_step <= first_step:
                self._convert(self.search.joint_step)
        self._log_start(first_step)
        step_fn = self._step_class()(
            self.supernet,
            self.distributions,
            self.tables,
            self.optimizers,
            self.search,
            self.estimator,
            counters=self.counters,
            seed=self.seed,
            strategy=self.strategy,
        )
        clips = batches.make_batches(
            self.halves,
            self.data,
            self.search,
            seed=self.seed,
            first_step=first_step,
            strategy=self.strategy,
            own_clips=self.own_clips,
        )
        with pipeline.video_errors():
            loop.run_steps(
                step_fn,
                clips,
                first_step=first_step,
                total_steps=self.search.steps,
                triggers=[
                    step_fn.omit_zeros,
                    *self._triggers(run, saver, first_step),
                ],
            )

    def _triggers(self, run, saver, first_step) -> list[Callable]:
        guard, scalars, *watching, save = triggers.usual(
            run.summaries,
            saver,
            save_secs=self.search.save_secs,
            save_steps=self.search.save_steps,
            log_steps=self.search.log_steps,
        )
        if not distribute.is_chief(self.strategy):
            return [self._convert, guard, save]
        log = history.History(
            run.file(history.FILE),
            first_step,
            self.probabilities,
            self.counts,
            every=self.search.log_steps,
        )
        choices = history.WriteChoices(
            scalars.write_text, self.space, self.probabilities
        )
        every = self.search.log_steps
        watching += [
            triggers.Every(log.add, steps=every, at_end=True),
            triggers.Every(choices, steps=10 * every, at_end=True),
        ]
        # Saving is last, so that a checkpoint's history is complete.
        return [self._convert, guard, scalars, *watching, save]

    def _step_class(self) -> type[search_step.SearchStep]:
        if self.search.method == "gumbel":
            return relaxation.RelaxedStep
        return search_step.SearchStep

    def adopt(self, run_dir: str, run: run_dir_lib.RunDir | None = None) -> int:
        """Takes the supernet of another search of the space; returns its steps.

        The distribution stays as it is.

        Args:
            run_dir: Of that search.
            run: Keeps the supernet as its own, if this search takes no steps.
        """
        config = run_dir_lib.read_config(run_dir)
        kept = [logits.numpy() for logits in self.supernet.logits]
        judged = self.search.method in options_lib.JUDGED
        objects = self.saved()
        saver = checkpoints.Checkpoints(
            pathlib.Path(run_dir, "checkpoints"),
            {n: objects[n] for n in (_JUDGED_BY if judged else _WARMED_UP)},
            partial=True,
            identity=self._identity(run_dir_lib.fingerprint_of(config)),
            writes=False,  # it may still be at work
        )
        steps = saver.restore_latest()
        if steps != config["search"]["steps"]:
            raise ValueError(
                "`supernet_from` must be a search that has come to its end, "
                f"step {config['search']['steps']}. Received: {run_dir}, at "
                f"step {steps}. Start it again with its options to go on."
            )
        for logits, values in zip(self.supernet.logits, kept, strict=True):
            logits.assign(values)
        if run is not None:
            self._saver(run).save(steps)
        return steps

    def _saver(self, run: run_dir_lib.RunDir) -> checkpoints.Checkpoints:
        return checkpoints.Checkpoints(
            run.checkpoints,
            self.saved(),
            identity=self._identity(run.fingerprint),
            writes=distribute.is_chief(self.strategy),
        )

    def _identity(self, run: str) -> dict[str, str]:
        return {"run": run, "space": self.space.fingerprint}

    def _convert(self, step: int, metrics=None) -> None:
        """At `joint_step`, goes on with the joint distribution."""
        del metrics
        if self.search.joint_step and step == self.search.joint_step:
            distribution_lib.convert(*self.distributions)
            logging.info("Step %d: blocks are decided jointly now.", step)

    def inherited(self, indices):
        """The derived network with the supernet's weights."""
        model = models.inherit(self.supernet, indices)
        batches = pipeline.make_train_dataset(
            self.source,
            self.data,
            batch_size=self.search.batch_size,
            seed=self.seed ^ _LAST_SEED,
            total_steps=self.search.norm_batches,
        )
        with pipeline.video_errors():
            models.reestimate_batch_norm(
                model, batches, self.search.norm_batches
            )
        return model

    def _log_start(self, first_step: int) -> None:
        space = self.space
        logging.info(
            "Space %s: %.3g architectures, %d choices; %s; halves of %d and "
            "%d clips; steps %d to %d, the first %d with frozen logits.",
            space.name,
            space.size,
            len(space.choices),
            ", ".join(map(str, self.budgets)),
            *(len(half) for half in self.halves),
            first_step,
            self.search.steps,
            self.search.warmup_steps,
        )
        self._warn_of_idle_replicas()
        self._log_share_within()
        for line in space.unfairness():
            logging.info("%s", line)
        clip = self.data.clip_size
        if clip != tuple(space.clip_size):
            logging.warning(
                "Clips of %s are searched on, while costs are counted for "
                "%s, the space's.",
                text_lib.times(clip),
                text_lib.times(space.clip_size),
            )

    def _warn_of_idle_replicas(self) -> None:
        replicas = distribute.num_replicas(self.strategy)
        most = self.first_samples
        for name, count in (
            ("samples_per_nat or max_samples", most),
            ("warmup_samples", self.search.warmup_samples or most),
            ("weights_samples", self.search.weights_samples or most),
        ):
            if replicas > count:
                logging.warning(
                    "Steps with %d architectures leave some of the %d replicas "
                    "nothing to do. Raise %s.",
                    count,
                    replicas,
                    name,
                )

    def _log_share_within(self) -> None:
        share = cost_table.share_within(self.tables, self.space.sizes)
        logging.info(
            "%.1f %% of the space, drawn uniformly, is within the budget.",
            100 * share,
        )
        if share < _TIGHT:
            logging.warning(
                "Less than %.0f %% of the space is within the budget: little "
                "is left to choose from, of filters above all. Raise the "
                "target, or give the stages narrower filters.",
                100 * _TIGHT,
            )
