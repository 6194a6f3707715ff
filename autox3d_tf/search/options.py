"""How a search is run, as data; imports no TensorFlow."""

import dataclasses

from autox3d_tf.base import checks

_check = checks.check_field
MINIMUM_SAMPLES = 2
OPTIMIZERS = ("sgd", "adamw")
LEARNT = ("probabilistic", "gumbel")  # by steps of the logits
JUDGED = ("random", "evolution")  # pick by likelihood, no logits' steps


@dataclasses.dataclass(frozen=True, kw_only=True)
class EstimatorOptions:
    """How gradients are estimated from sampled architectures.

    Attributes:
        samples_per_nat: lambda; K = lambda * entropy. 0.25 in FP-NAS.
        fixed_samples: If positive, K is this instead (PARSEC).
        max_samples: K is never above it.
        temperature: Of the importance weights, for the mean log likelihood
            per clip. 1 / batch is the equation with the sum over the batch.
        beta: Weight of the cost term.
        two_sided: Let the cost term hold the cost at the budget, as in TuNAS,
            instead of pushing at what is above it only; `beta` is then of the
            order of 5. The hinge lets the distribution drift to cheap
            architectures while the supernet cannot tell large from small, and
            to costly ones once it can.
        control_variate: Subtract 1/K from the weights: same mean, less noise.
    """

    samples_per_nat: float = 0.25
    fixed_samples: int = 0
    max_samples: int = 64
    temperature: float = 0.1
    beta: float = 0.5
    two_sided: bool = False
    control_variate: bool = True

    def __post_init__(self):
        checks.check_numbers(self)
        for name in ("samples_per_nat", "temperature"):
            _check(self, name, lambda v: v > 0, "positive")
        _check(self, "beta", lambda v: v >= 0, "at least 0")
        wanted = "at least 2 (one sample carries no signal)"
        _check(self, "max_samples", lambda v: v >= MINIMUM_SAMPLES, wanted)
        _check(
            self,
            "fixed_samples",
            lambda v: v >= MINIMUM_SAMPLES or v == 0,
            f"{wanted}, or 0 to follow the entropy",
        )
        wanted = f"at most max_samples={self.max_samples}"
        _check(self, "fixed_samples", lambda v: v <= self.max_samples, wanted)


@dataclasses.dataclass(frozen=True, kw_only=True)
class WeightsOptions:
    """Optimizer of the shared weights; half a cosine to zero.

    Attributes:
        name: `sgd` (with momentum) or `adamw`.
        learning_rate_per_sample: Highest rate for one clip of a batch; the
            rate in force is this times the batch.
        momentum: Of `sgd`.
        weight_decay: Of kernels; batch norms and biases have none. Decoupled
            in `adamw`, part of the gradient in `sgd`.
        warmup_steps: The rate grows linearly for so long, from one step's
            growth on.
        clip_norm: Largest norm of all gradients together; None for no limit.
        motion_init: Share of the stem's channels that start as differences
            over time. Shortens the plateau at the start where classes differ
            in motion only.
    """

    name: str = "sgd"
    learning_rate_per_sample: float = 1.6 / 192
    momentum: float = 0.9
    weight_decay: float = 5e-5
    warmup_steps: int = 0
    clip_norm: float | None = 5.0
    motion_init: float = 0.0

    def __post_init__(self):
        checks.check_numbers(self)
        checks.check_choice("name", self.name, OPTIMIZERS)
        rate = "learning_rate_per_sample"
        _check(self, rate, lambda v: v > 0, "positive")
        _check(self, "momentum", lambda v: 0 <= v < 1, "in [0, 1)")
        for name in ("weight_decay", "warmup_steps"):
            _check(self, name, lambda v: v >= 0, "at least 0")
        _check(
            self,
            "clip_norm",
            lambda v: v is None or v > 0,
            "positive or None",
        )
        _check(self, "motion_init", lambda v: 0 <= v <= 1, "in [0, 1]")


@dataclasses.dataclass(frozen=True, kw_only=True)
class LogitsOptions:
    """Optimizer of the architecture logits: Adam at a constant rate.

    Attributes:
        learning_rate: 0.025 in Auto-X3D.
        beta_1, beta_2: Of Adam.
        clip_norm: Largest norm of all gradients together; None for no limit.
    """

    learning_rate: float = 0.025
    beta_1: float = 0.9
    beta_2: float = 0.999
    clip_norm: float | None = None

    def __post_init__(self):
        checks.check_numbers(self)
        _check(self, "learning_rate", lambda v: v > 0, "positive")
        for name in ("beta_1", "beta_2"):
            _check(self, name, lambda v: 0 <= v < 1, "in [0, 1)")
        _check(
            self,
            "clip_norm",
            lambda v: v is None or v > 0,
            "positive or None",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """Length and schedule of a search.

    Attributes:
        steps: Steps in all; each is one step of the weights and, after the
            warm-up, one of the logits.
        warmup_steps: The first so many leave the logits as they are; samples
            are uniform.
        method: `probabilistic`; or a baseline by relaxation, `gumbel`; or one
            that picks by likelihood with the weights of a supernet trained on
            uniform paths, `random` or `evolution`. Those have `warmup_steps`
            equal to `steps`.
        candidates: How many architectures they judge.
        start_at_budget: After the warm-up, samples cost the target on average
            at first, instead of being uniform; see `start`.
        joint_step: After so many steps the choices of a block are decided
            jointly; 0 for never.
        batch_size: Clips of the weights' half in a step.
        logits_batch_size: Clips of the logits' half; 0 for `batch_size`.
        warmup_samples: K during the warm-up; 0 to follow the entropy.
        largest_steps: The first so many steps train the largest architecture
            of the space instead of samples. It leaves the first plateau much
            sooner than narrow ones do, and what it has learned by then carries
            them. At most the warm-up, the rest of which makes all candidates
            equal.
        weights_samples: Architectures in a step of the weights after the
            warm-up; 0 for K, the same as in a step of the logits.
        label_smoothing: Of the loss that the weights learn from.
        rerank: Of so many most probable architectures within the budget, the
            one with the highest likelihood with inherited weights is chosen;
            1 for the most probable one.
        refine: Judge so many architectures in all, the `rerank` most probable
            ones and what regularised evolution makes of them, and choose the
            likeliest; 0 for none but those. Choices of a factorized
            distribution do not know of each other, and it may end where only
            a change of two of them helps.
        finalists: Train the best of so many sets of filters per stage on
            alone, on the weights' half, and choose the one with the highest
            likelihood then on the logits' half; 1 for the likeliest with
            inherited weights. `run_search` is told how. With more than one,
            `refine` looks for the best of each set of filters; if all have the
            same, the likeliest is chosen.
        top_k: How many runners-up to list; where some are judged, of those.
        children: How many samples of the final distribution to evaluate with
            inherited weights.
        norm_batches: Batches for the batch norms of the inherited weights.
        save_secs: Seconds from one checkpoint to the next.
        save_steps: Or steps; None for `save_secs`.
        log_steps: Steps from one line of the history to the next.
    """

    steps: int
    warmup_steps: int
    method: str = "probabilistic"
    candidates: int = 100
    start_at_budget: bool = False
    joint_step: int = 0
    batch_size: int = 16
    logits_batch_size: int = 0
    warmup_samples: int = 2
    largest_steps: int = 0
    weights_samples: int = 0
    label_smoothing: float = 0.0
    rerank: int = 1
    refine: int = 0
    finalists: int = 1
    top_k: int = 10
    children: int = 24
    norm_batches: int = 20
    save_secs: float = 120.0
    save_steps: int | None = None
    log_steps: int = 10

    def __post_init__(self):
        checks.check_numbers(self)
        checks.check_saves(self)
        for name in ("steps", "batch_size", "rerank", "top_k", "log_steps",
                     "finalists"):  # fmt: skip
            _check(self, name, lambda v: v >= 1, "at least 1")
        for name in ("logits_batch_size", "warmup_samples", "weights_samples",
                     "children", "joint_step", "largest_steps",
                     "refine"):  # fmt: skip
            _check(self, name, lambda v: v >= 0, "at least 0")
        _check(self, "norm_batches", lambda v: v >= 1, "at least 1")
        wanted = f"0 or at least rerank={self.rerank}"
        _check(self, "refine", lambda v: v == 0 or v >= self.rerank, wanted)
        wanted = f"in [0, {self.steps}], the steps"
        for name in ("warmup_steps", "joint_step"):
            _check(self, name, lambda v: 0 <= v <= self.steps, wanted)
        wanted = f"at most warmup_steps={self.warmup_steps}"
        _check(self, "largest_steps", lambda v: v <= self.warmup_steps, wanted)
        checks.check_choice("method", self.method, (*LEARNT, *JUDGED))
        if self.method in JUDGED:
            wanted = f"equal to steps={self.steps} for {self.method!r}"
            _check(self, "warmup_steps", lambda v: v == self.steps, wanted)
        if self.method != "probabilistic":
            wanted = f"0 for {self.method!r}"
            _check(self, "joint_step", lambda v: v == 0, wanted)
        _check(self, "candidates", lambda v: v >= 1, "at least 1")
        pool = max(self.rerank, self.refine)
        pool = self.candidates if self.method in JUDGED else pool
        wanted = f"at most {pool}, the architectures that are judged"
        _check(self, "finalists", lambda v: v <= pool, wanted)
        _check(self, "label_smoothing", lambda v: 0 <= v < 1, "in [0, 1)")

    @property
    def clips_of_logits(self) -> int:
        """Clips of the logits' half in a step."""
        return self.logits_batch_size or self.batch_size
