"""How a network is trained, as data; imports no TensorFlow."""

import dataclasses
import math

from autox3d_tf.base import checks

_check = checks.check_field
OPTIMIZERS = ("sgd", "adam", "adamw")
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizerOptions:
    """Optimizer and learning rate: warm-up, then half a cosine.

    Attributes:
        name: `sgd` (with momentum), `adam` or `adamw`.
        learning_rate: Highest rate, whatever the batch.
        learning_rate_per_sample: Or the highest rate for one clip of a batch;
            the rate in force is this times `batch_size`.
        momentum: Of `sgd`.
        nesterov: Whether it is Nesterov's, as in SlowFast; None for no, as
            runs from before this option say.
        weight_decay: Of kernels; batch norms and biases have none. Decoupled
            from the gradient in `adamw`, part of it in the others.
        warmup_epochs: The rate grows linearly from `warmup_start` times the
            highest for so long.
        warmup_start: Where the rate begins, relative to the highest; 0 for
            what it grows by in a step, so that the first one learns.
        final: Where the rate ends, relative to the highest.
        clip_norm: Largest norm of all gradients together; None for no limit.
    """

    name: str = "adamw"
    learning_rate: float | None = None
    learning_rate_per_sample: float | None = None
    momentum: float = 0.9
    nesterov: bool | None = None
    weight_decay: float = 0.0
    warmup_epochs: float = 0.0
    warmup_start: float = 0.0
    final: float = 0.0
    clip_norm: float | None = None

    def __post_init__(self):
        checks.check_numbers(self)
        checks.check_choice("name", self.name, OPTIMIZERS)
        rates = (self.learning_rate, self.learning_rate_per_sample)
        if rates.count(None) != 1:
            raise ValueError(
                "Exactly one of `learning_rate` and `learning_rate_per_sample`"
                f" must be given. Received: learning_rate={rates[0]}, "
                f"learning_rate_per_sample={rates[1]}."
            )
        for name in ("learning_rate", "learning_rate_per_sample", "clip_norm"):
            _check(self, name, lambda v: v is None or v > 0, "positive")
        _check(self, "momentum", lambda v: 0 <= v < 1, "in [0, 1)")
        wanted = f"False or None for {self.name!r}"
        _check(self, "nesterov", lambda v: not v or self.name == "sgd", wanted)
        for name in ("warmup_start", "final"):
            _check(self, name, lambda v: 0 <= v <= 1, "in [0, 1]")
        for name in ("weight_decay", "warmup_epochs"):
            _check(self, name, lambda v: v >= 0, "at least 0")

    def rate(self, batch_size: int) -> float:
        """Returns the highest learning rate of a run.

        >>> OptimizerOptions(learning_rate_per_sample=0.001).rate(64)
        0.064
        """
        if self.learning_rate is not None:
            return self.learning_rate
        return self.learning_rate_per_sample * batch_size


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """Length and regularisation of a training.

    Attributes:
        epochs: How often each clip is seen.
        starts: So many trainings, of different seeds, take the first quarter
            of the steps; the one with the least loss goes on. For small
            networks, some of whose trainings stay behind.
        batch_size: Clips of a step.
        label_smoothing: Share of the target spread over all classes.
        balance: A clip's loss counts with the number of clips of its class
            to the power of minus this: at 1 all classes count the same, rare
            ones too; None or 0 for all clips alike.
        dropout: Rate before the last layer.
        mixup: Parameter of the Beta distribution that clips of a batch are
            mixed by, of which each replica needs two; 0 for none.
        cutmix: The same for rectangles cut out of other clips; with both, each
            gets half of the batches.
        ema_decay: Decay of the moving average of the weights, which is what
            is validated and saved; 0 for none.
        short_cycle: The clips of successive batches are as large as the crop,
            1 / sqrt(2) as large, and half as large: the short cycle of
            Multigrid (Wu et al., CVPR 2020), with as many clips in each. That
            is 0.58 times the multiply-adds on average.
        precise_batch_norm: Batches over which the batch norms' statistics are
            re-estimated at the end; 0 keeps the moving averages.
        zero_init: Each residual block starts as the identity.
        motion_init: Share of the stem's channels that start as differences
            over time, so that what does not move cancels out in them.
        follow_motion: Share of the channels of kernels over time and space
            that start by following a motion. With `motion_init`, small
            networks get over the plateau at the start of training where
            classes differ in motion only.
        freeze_batch_norm: Batch norms use, and keep, the statistics that the
            weights came with. For fine-tuning.
        layer_decay: Each block, from the head down to the stem, learns at this
            times the rate of the one after it. For fine-tuning.
        replace_head: If the initial weights are for other classes, start the
            last layer anew instead of refusing. Classes are others by name
            where a run says their names, else by number.
        precision: `float32`, `mixed_bfloat16` or `mixed_float16`.
        jit_compile: Whether XLA compiles the step, once for each size of clip;
            None if that pays: minutes before the first step, and steps in a
            third of the time, on a GPU. On a CPU they take much longer.
        validate_epochs: Epochs from one validation to the next; 0 for none.
        save_secs: Seconds from one checkpoint to the next.
        save_steps: Or steps; None for `save_secs`.
        log_steps: Steps from one point of the curve to the next.
    """

    epochs: float
    batch_size: int
    starts: int = 1
    label_smoothing: float = 0.0
    balance: float | None = None
    dropout: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    ema_decay: float = 0.0
    short_cycle: bool = False
    precise_batch_norm: int = 0
    zero_init: bool = False
    motion_init: float = 0.0
    follow_motion: float = 0.0
    freeze_batch_norm: bool = False
    layer_decay: float = 1.0
    replace_head: bool = False
    precision: str = "float32"
    jit_compile: bool | None = None
    validate_epochs: float = 0.0
    save_secs: float = 300.0
    save_steps: int | None = None
    log_steps: int = 10

    def __post_init__(self):
        checks.check_numbers(self)
        _check(self, "epochs", lambda v: v > 0, "positive")
        for name in ("batch_size", "starts", "log_steps"):
            _check(self, name, lambda v: v >= 1, "at least 1")
        checks.check_saves(self)
        for name in ("label_smoothing", "dropout", "ema_decay"):
            _check(self, name, lambda v: 0 <= v < 1, "in [0, 1)")
        _check(self, "layer_decay", lambda v: 0 < v <= 1, "in (0, 1]")
        for name in ("balance", "motion_init", "follow_motion"):
            _check(self, name, lambda v: 0 <= (v or 0.0) <= 1, "in [0, 1]")
        for name in (
            "mixup",
            "cutmix",
            "precise_batch_norm",
            "validate_epochs",
        ):
            _check(self, name, lambda v: v >= 0, "at least 0")
        checks.check_choice("precision", self.precision, PRECISIONS)
        if self.freeze_batch_norm and self.precise_batch_norm:
            raise ValueError(
                "`precise_batch_norm` must be 0 where batch norms are frozen. "
                f"Received: precise_batch_norm={self.precise_batch_norm}, "
                "freeze_batch_norm=True."
            )

    def clip_sizes(self, crop_size: int) -> tuple[int, ...]:
        """Returns the heights and widths of successive batches, if they vary.

        >>> TrainingOptions(epochs=1, batch_size=8, short_cycle=True
        ...     ).clip_sizes(160)
        (160, 113, 80)
        """
        if not self.short_cycle:
            return ()
        return tuple(round(crop_size / 2 ** (n / 2)) for n in range(3))

    def steps(self, epochs: float, num_clips: int) -> int:
        """Returns the steps in so many epochs, at least 1.

        >>> TrainingOptions(epochs=2, batch_size=16).steps(2, num_clips=100)
        13
        """
        return max(1, math.ceil(epochs * num_clips / self.batch_size))
