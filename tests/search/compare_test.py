import json

import pytest

from autox3d_tf.search import compare
from autox3d_tf.search import options as options_lib

SEARCH = options_lib.SearchOptions(
    steps=100, warmup_steps=20, batch_size=10, warmup_samples=2
)
ESTIMATOR = options_lib.EstimatorOptions()


class FakeSearch:
    """Counts clips as the real one would, and finds what its name says."""

    def __init__(self):
        self.calls = []

    def __call__(self, *, search, estimator, run_dir, seed):
        self.calls.append((search, estimator, run_dir))
        k, later = (
            estimator.fixed_samples or 5,
            search.steps - (search.warmup_steps),
        )
        trained = 10 * (search.warmup_steps * search.warmup_samples + later * k)
        judged = 10 * later * k
        if search.method != "probabilistic":
            judged = search.candidates * 40
        return {
            "counts": {"architectures": 7, "clips_trained": trained,
                       "clips_judged": judged},
            "judged_on": {"clips": 40},
            "inherited_accuracy": 0.5 + 0.1 * seed,
            "first_samples": 9,
        }  # fmt: skip


def test_all_methods_get_the_same_number_of_clips(tmp_path, capsys):
    fake = FakeSearch()
    rows = compare.compare_searches(
        search_fn=fake,
        search=SEARCH,
        estimator=ESTIMATOR,
        run_dir=str(tmp_path),
        seeds=(0, 1),
    )
    # 20 steps of 2 x 10 clips, then 80 steps of 5 x 10, twice
    assert rows[0]["clips"] == 20 * 20 + 80 * 100
    for row in rows[1:]:
        assert row["clips"] == pytest.approx(rows[0]["clips"], rel=0.03)
    assert [row["mean"] for row in rows] == pytest.approx([0.55] * 4)
    parsec = next(c for c in fake.calls if c[2].endswith("parsec_0"))
    assert parsec[1].fixed_samples == 9
    saved = json.loads((tmp_path / compare.FILE).read_text())
    assert saved["measured"] == "inherited accuracy"
    assert len(saved["runs"]) == 8
    assert "evolution" in capsys.readouterr().out


def test_networks_are_trained_from_scratch_if_wanted(tmp_path):
    def train(*, arch, run_dir, seed):
        assert arch.endswith("arch.json") and run_dir.endswith("train")
        better = "probabilistic" in arch
        return {"validation": {"accuracy": 0.8 + 0.1 * better}}

    rows = compare.compare_searches(
        search_fn=FakeSearch(),
        train_fn=train,
        search=SEARCH,
        estimator=ESTIMATOR,
        run_dir=str(tmp_path),
        methods=("random", "probabilistic"),
        seeds=(0,),
    )
    found = {row["method"]: row["mean"] for row in rows}
    assert found == {"probabilistic": 0.9, "random": 0.8}


def test_comparison_needs_the_search_it_compares_with(tmp_path):
    with pytest.raises(ValueError, match="`methods` must have 'probabilistic'"):
        compare.compare_searches(
            search_fn=FakeSearch(),
            search=SEARCH,
            estimator=ESTIMATOR,
            run_dir=str(tmp_path),
            methods=("random",),
        )
