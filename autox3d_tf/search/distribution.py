"""The distribution over architectures, a view over the searchable logits.

An index vector is split into factors, each one categorical variable over the
combinations of a few choices. With one choice per factor the distribution is
factorized; with the three choices of a block in one factor it is joint per
block (FP-NAS, coarse to fine). Both are the same class.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from autox3d_tf.space import search_space

_CLOSED = -1e9  # logit of the padding; its probability is exactly 0


@dataclasses.dataclass(frozen=True)
class Factor:
    """One categorical variable: the choices it decides together.

    Attributes:
        name: Of the choice, or of the block.
        positions: Of its choices in an index vector.
        sizes: Number of candidates of each of them.
    """

    name: str
    positions: tuple[int, ...]
    sizes: tuple[int, ...]

    def __len__(self) -> int:
        return math.prod(self.sizes)


def factorized_factors(space: search_space.SearchSpace) -> tuple[Factor, ...]:
    """One factor per choice."""
    return tuple(
        Factor(choice.name, (position,), (len(choice),))
        for position, choice in enumerate(space.choices)
    )


def joint_factors(space: search_space.SearchSpace) -> tuple[Factor, ...]:
    """One factor per block; the filters of a stage stay on their own."""
    members: dict[str, list[int]] = {}
    for position, choice in enumerate(space.choices):
        block, _, kind = choice.name.rpartition("/")
        name = choice.name if kind == "filters" else block
        members.setdefault(name, []).append(position)
    return tuple(
        Factor(
            name,
            tuple(positions),
            tuple(len(space.choices[position]) for position in positions),
        )
        for name, positions in members.items()
    )


def make_logits(factors: Sequence[Factor]) -> list[tf.Variable]:
    """One float32 vector of zeros per factor: the uniform distribution."""
    return [
        tf.Variable(
            tf.zeros([len(factor)]),
            name=factor.name.replace("/", "_") + "_logits",
        )
        for factor in factors
    ]


class ArchitectureDistribution:
    """Independent categorical factors over the choices of a space.

    Args:
        factors: What is decided together; see `factorized_factors`,
            `joint_factors`. Every position occurs in exactly one.
        logits: Float32 vectors (variables), one per factor. They stay the
            property of whoever made them, such as the searchable layers.

    Raises:
        ValueError: If the logits do not fit the factors.
    """

    def __init__(self, factors: Sequence[Factor], logits: Sequence):
        self.factors, self.logits = tuple(factors), list(logits)
        expected = [len(factor) for factor in self.factors]
        received = [int(np.prod(vector.shape)) for vector in self.logits]
        if expected != received:
            raise ValueError(
                "`logits` must have one vector per factor, of the factor's "
                f"size. Expected sizes: {expected}. Received: {received}."
            )
        positions = [p for factor in self.factors for p in factor.positions]
        self.num_choices = len(positions)
        if sorted(positions) != list(range(self.num_choices)):
            raise ValueError(
                "`factors` must hold every position once. Received: "
                f"positions={positions}."
            )
        self._lookup = _padded_lookup(expected)
        self._factor_of, self._divisor, self._size = _digits(self.factors)

    def _log_matrix(self) -> tf.Tensor:
        """Log probabilities, `(factors, largest factor)`, padded low."""
        flat = tf.concat(
            [*(tf.convert_to_tensor(v) for v in self.logits), [_CLOSED]], axis=0
        )
        return tf.nn.log_softmax(tf.gather(flat, self._lookup), axis=-1)

    def sample(self, num, seed) -> tf.Tensor:
        """Draws index vectors; the same ones for the same seed.

        Args:
            num: How many (K), an int or an int32 scalar tensor.
            seed: Two int32 numbers, as `tf.random.stateless_uniform` takes.

        Returns:
            Int32 `(K, choices)`.
        """
        log_probs = tf.stop_gradient(self._log_matrix())
        shape = tf.concat([[num], tf.shape(log_probs)], axis=0)
        scores = log_probs + _gumbel_noise(shape, seed)
        digits = tf.argmax(scores, axis=-1, output_type=tf.int32)
        return self._read(digits)

    def relax(self, seed, temperature: float) -> tuple[tf.Tensor, tf.Tensor]:
        """Draws one index vector, and gates that reach back to the logits.

        Args:
            seed: As for `sample`.
            temperature: Of the Gumbel-softmax.

        Returns:
            Int32 `(choices,)`, distributed as what `sample` draws, and float32
            `(choices,)`: p / stop_gradient(p), so 1, of p the relaxed
            probability of what was drawn.
        """
        log_probs = self._log_matrix()
        scores = log_probs + _gumbel_noise(tf.shape(log_probs), seed)
        digits = tf.argmax(scores, axis=-1, output_type=tf.int32)
        relaxed = tf.nn.softmax(scores / temperature)
        chosen = tf.gather(relaxed, digits, batch_dims=1)
        gates = chosen / tf.stop_gradient(chosen)
        return self._read(digits), tf.gather(gates, self._factor_of)

    def _read(self, digits):
        """`(..., choices)` indices of the factors' `(..., factors)`."""
        of_choice = tf.gather(digits, self._factor_of, axis=-1)
        return of_choice // self._divisor % self._size

    def log_prob(self, indices) -> tf.Tensor:
        """Log probability of index vectors `(K, choices)`; shape `(K,)`.

        Differentiable by the logits. It is that of the vector as drawn: the
        choices of a skipped block count.
        """
        digits = tf.cast(indices, tf.int32) * self._divisor
        of_factor = tf.math.unsorted_segment_sum(
            tf.transpose(digits), self._factor_of, len(self.factors)
        )  # (factors, K)
        chosen = tf.gather(self._log_matrix(), of_factor, batch_dims=1)
        return tf.reduce_sum(chosen, axis=0)

    def entropy(self) -> tf.Tensor:
        """Entropy in nats, exact: the sum of the factors' entropies."""
        log_probs = self._log_matrix()
        return -tf.reduce_sum(tf.exp(log_probs) * log_probs)

    def mode(self) -> tuple[int, ...]:
        """The most probable index vector, whatever it costs."""
        indices = np.zeros(self.num_choices, int)
        for factor, table in zip(self.factors, self.log_tables(), strict=True):
            best = np.unravel_index(np.argmax(table), factor.sizes)
            indices[list(factor.positions)] = best
        return tuple(int(i) for i in indices)

    def log_tables(self) -> list[np.ndarray]:
        """Per factor, log probabilities in float64, one axis per choice."""
        tables = []
        for factor, vector in zip(self.factors, self.logits, strict=True):
            values = np.asarray(vector, "float64").reshape(factor.sizes)
            shifted = values - values.max()
            tables.append(shifted - np.log(np.exp(shifted).sum()))
        return tables

    def probabilities(self) -> list[np.ndarray]:
        """Per choice of the space, the probabilities of its candidates."""
        found: dict[int, np.ndarray] = {}
        for factor, table in zip(self.factors, self.log_tables(), strict=True):
            for axis, position in enumerate(factor.positions):
                others = tuple(i for i in range(table.ndim) if i != axis)
                found[position] = np.exp(table).sum(axis=others)
        return [found[position] for position in range(self.num_choices)]


def factorized(
    space: search_space.SearchSpace, logits: Sequence | None = None
) -> ArchitectureDistribution:
    """Every choice on its own; logits of zeros if none are given."""
    factors = factorized_factors(space)
    return ArchitectureDistribution(factors, logits or make_logits(factors))


def joint(space: search_space.SearchSpace) -> ArchitectureDistribution:
    """The choices of each block together; logits of zeros."""
    factors = joint_factors(space)
    return ArchitectureDistribution(factors, make_logits(factors))


def convert(
    source: ArchitectureDistribution, target: ArchitectureDistribution
) -> None:
    """Sets the logits of a coarser distribution so that nothing changes.

    A joint logit becomes the sum of the log probabilities of its parts, which
    is its own log probability. Every factor of `source` must lie inside one
    factor of `target`, as those of `factorized` do in `joint`.
    """
    tables = dict(
        zip((f.positions for f in source.factors), source.log_tables(),
            strict=True)
    )  # fmt: skip
    for factor, variable in zip(target.factors, target.logits, strict=True):
        total = np.zeros(factor.sizes)
        for positions, table in tables.items():
            if not set(positions) <= set(factor.positions):
                continue
            axes = [factor.positions.index(p) for p in positions]
            order = np.argsort(axes)
            shape = np.ones(len(factor.sizes), int)
            shape[axes] = table.shape
            total = total + table.transpose(order).reshape(shape)
        variable.assign(total.ravel().astype("float32"))


def _gumbel_noise(shape, seed) -> tf.Tensor:
    tiny = np.finfo("float32").tiny
    uniform = tf.random.stateless_uniform(shape, seed, minval=tiny)
    return -tf.math.log(-tf.math.log(uniform))


def _padded_lookup(sizes: Sequence[int]) -> np.ndarray:
    """Where each logit lies in the flat vector; padding points at its end."""
    lookup = np.full((len(sizes), max(sizes)), sum(sizes), "int32")
    start = 0
    for row, size in enumerate(sizes):
        lookup[row, :size] = np.arange(start, start + size)
        start += size
    return lookup


def _digits(factors: Sequence[Factor]):
    """Per position: its factor, and divisor and size to read its index."""
    num = sum(len(factor.positions) for factor in factors)
    of, divisor, size = (np.zeros(num, "int32") for _ in range(3))
    for row, factor in enumerate(factors):
        below = len(factor)
        for position, candidates in zip(
            factor.positions, factor.sizes, strict=True
        ):
            below //= candidates
            of[position], divisor[position] = row, below
            size[position] = candidates
    return of, divisor, size
