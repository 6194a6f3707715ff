"""Which network a search takes, once all steps are taken."""

import functools
from collections.abc import Callable, Sequence

import numpy as np
from absl import logging

from autox3d_tf.base import progress
from autox3d_tf.search import (
    baselines,
    chain,
    children,
    cost_table,
    derive,
    niches,
)
from autox3d_tf.search import distribution as distribution_lib
from autox3d_tf.search import options as options_lib
from autox3d_tf.space import search_space

_DRAW_SEED = 0x5EA6C  # of children, apart from the seeds of steps


class Chooser:
    """Chooses among the networks within budget, by what a search has learnt.

    Args:
        space: What was searched.
        tables: Costs of index vectors, one per budget to be within.
        search: The method, and how many are judged to choose one.
        seed: Of what is drawn.
        make_judge: Returns what judges architectures with inherited weights.

    Attributes:
        candidates: Architectures that were judged to choose one of them.
        chosen_among: How many they are, and the clips that took.
    """

    def __init__(
        self,
        space: search_space.SearchSpace,
        tables: Sequence[cost_table.CostTable],
        search: options_lib.SearchOptions,
        seed: int,
        make_judge: Callable[[], children.Judge],
    ):
        self._space, self._tables = space, tables
        self._search, self._seed = search, seed
        self._make_judge = make_judge
        self._filters = [stage.filters for stage in space.places]
        self.candidates: list[children.Child] = []
        self.chosen_among = {"architectures": 0, "clips": 0}

    @functools.cached_property
    def judge(self) -> children.Judge:
        """Judges an architecture, with inherited weights."""
        return self._make_judge()

    def choose(
        self, distribution: distribution_lib.ArchitectureDistribution
    ) -> list[derive.Derived]:
        """Returns architectures within budget, the best first."""
        if self._search.method in options_lib.JUDGED:
            return self._choose_by_likelihood()
        rerank = self._search.rerank
        logging.info("Looking for the most probable architectures in budget.")
        top = derive.top_k(
            self._space,
            distribution,
            self._tables,
            max(rerank, self._search.top_k),
        )
        if max(rerank, self._search.refine) > 1:
            top = self._best_first(top[:rerank], distribution)
        return top

    def _best_first(self, found, distribution):
        """By likelihood with inherited weights, on the logits' half.

        Others may join them; see `SearchOptions.refine`.
        """
        known = {one.indices: one for one in found}
        entries = chain.Chain.of(self._space, distribution)

        def likeliest(vector):
            """Of the same blocks: what is judged is listed and inherited."""
            return entries.likeliest(vector)[0]

        method = baselines.evolve
        if self._search.finalists > 1:  # which are to differ
            method = functools.partial(niches.evolve_elites, niche=self._widths)
        scored = self._score_many(
            method,
            max(self._search.refine, len(known)),
            canonical=likeliest,
            first=list(known),
        )
        return [
            known.get(vector) or self._derived(*entries.likeliest(vector))
            for _, vector in scored
        ]

    def _choose_by_likelihood(self):
        """A baseline: architectures judged with inherited weights."""
        scored = self._score_many(
            baselines.PICKERS[self._search.method],
            self._search.candidates,
            canonical=self._space.canonical,
        )
        uniform = -float(np.log(float(self._space.size)))
        return [self._derived(vector, uniform) for _, vector in scored]

    def _derived(self, vector, log_prob) -> derive.Derived:
        return derive.Derived(
            indices=vector,
            log_prob=log_prob,
            costs=cost_table.costs_of(self._tables, vector),
        )

    def _score_many(self, method, count: int, **arguments):
        """Lets a method score vectors by likelihood with inherited weights."""
        self.candidates = []
        with progress.bar(title="judge", unit="candidate", total=count) as bar:

            def score(vector):
                child = self.judge(vector)
                self.candidates.append(child)
                bar.update()
                return child.log_likelihood

            scored = method(
                self._space.sizes,
                functools.partial(cost_table.fits, self._tables),
                score,
                count=count,
                seed=self._seed,
                **arguments,
            )
        self.chosen_among = {
            "architectures": len(self.candidates),
            "clips": self.judge.clips,
        }
        return scored

    def finalists(
        self, found: Sequence[derive.Derived]
    ) -> list[derive.Derived]:
        """The best of each set of filters per stage, as many as asked for.

        With a warning, fewer if no more sets were judged.
        """
        best = niches.one_of_each(found, lambda one: self._widths(one.indices))
        wanted = self._search.finalists
        if len(best) < wanted:
            logging.warning(
                "%d of the %d `finalists` asked for: the networks that were "
                "judged have no more sets of filters per stage.%s Judge more "
                "of them (`refine`) or give a larger budget.",
                len(best), wanted,
                " It is chosen without training." if len(best) == 1 else "",
            )  # fmt: skip
        return best[:wanted]

    def _widths(self, vector) -> tuple[int, ...]:
        """Filters of each stage, as indices."""
        return tuple(vector[place] for place in self._filters)

    def judged(
        self,
        top: Sequence[derive.Derived],
        distribution: distribution_lib.ArchitectureDistribution,
    ) -> list[children.Child]:
        """Judges the top k and samples of the distribution."""
        vectors = [one.indices for one in top]
        if self._search.children:
            drawn = distribution.sample(
                self._search.children, (self._seed, _DRAW_SEED)
            )
            vectors += [tuple(v) for v in drawn.numpy().tolist()]
        return [self.judge(vector) for vector in dict.fromkeys(vectors)]
