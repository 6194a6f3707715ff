import numpy as np

from autox3d_tf.search import figures
from tests.search import search_driver

TOY = search_driver.SPACE
BUDGETS = {"macs": 2e6, "latency_ms": 4.0}


def entry(step, **others):
    names = ("entropy", "samples", "weights_samples", "train_accuracy", "loss")
    return {"step": step, **dict.fromkeys(names, 1.0), **others}


def test_every_budget_has_a_line_and_none_where_no_logits_were():
    names = ("sample_accuracy", "best_sample_accuracy", "effective_samples",
             "cost_macs", "cost_latency_ms")  # fmt: skip
    known = {**dict.fromkeys(names, 1.0), "cost_macs": 3e6}
    entries = [
        entry(1),
        entry(2),
        entry(3, **known),
        entry(4, **known),
    ]
    panel = figures.draw_curves(entries, BUDGETS).axes[3]
    assert panel.get_title() == "mean cost / budget"
    macs, latency, limit = panel.lines
    np.testing.assert_allclose(macs.get_xydata(), [[3, 1.5], [4, 1.5]])
    np.testing.assert_allclose(latency.get_xydata(), [[3, 0.25], [4, 0.25]])
    assert list(limit.get_ydata()) == [1, 1]
    assert [line.get_label() for line in panel.lines] == [
        "macs", "latency ms", "budget",
    ]  # fmt: skip


def test_columns_of_the_choices_end_at_their_steps():
    entries = [
        {
            "step": step,
            "probabilities": [[p, *[0.0] * (len(c) - 1)] for c in TOY.choices],
        }
        for step, p in ((10, 0.1), (20, 0.2), (23, 0.3))
    ]
    axis = figures.draw_choices(TOY, entries).axes[0]
    (mesh,) = axis.collections
    corners = mesh.get_coordinates()  # (rows + 1, columns + 1, 2)
    np.testing.assert_allclose(corners[0, :, 0], [0, 10, 20, 23])
    np.testing.assert_allclose(mesh.get_array()[0], [0.1, 0.2, 0.3])
    assert axis.get_ylim() == (sum(map(len, TOY.choices)), 0)  # first on top
    assert figures.draw_choices(TOY, entries[:1]).axes[0].get_xlim() == (9, 10)


def make_record():
    return {
        "metrics": list(BUDGETS),
        "costs": {m: {"target": t, "cost": t} for m, t in BUDGETS.items()},
        "inherited_accuracy": 0.5,
        "candidates": [],
        "children": [
            {"indices": [0], "costs": [1e6, 4.0], "accuracy": 0.4},
            {"indices": [1], "costs": [1e6, 5.0], "accuracy": 0.7},
            {"indices": [2], "costs": [3e6, 1.0], "accuracy": 0.6},
        ],
    }


def test_networks_over_any_budget_are_hollow_in_each_panel():
    axes = figures.draw_children(make_record()).axes
    assert [axis.get_xlabel() for axis in axes] == list(BUDGETS)
    expected = (
        ([[1e6, 40]], [[1e6, 70], [3e6, 60]]),
        ([[4, 40]], [[5, 70], [1, 60]]),
    )
    fronts = [[1e6, 70]], [[1, 60], [5, 70]]
    for axis, (within, over), front, limit in zip(
        axes, expected, fronts, BUDGETS.values(), strict=True
    ):
        filled, hollow, _ = axis.collections
        np.testing.assert_allclose(axis.lines[0].get_xydata(), front)
        np.testing.assert_allclose(filled.get_offsets(), within)
        np.testing.assert_allclose(hollow.get_offsets(), over)
        assert len(filled.get_facecolors()) and not len(hollow.get_facecolors())
        assert list(axis.lines[-1].get_xdata()) == [limit, limit]


def test_what_was_judged_to_choose_is_drawn_once():
    record = make_record()
    first = {**record["children"][0], "indices": (0,)}
    other = {"indices": (7,), "costs": (5e5, 2.0), "accuracy": 0.3}
    axes = figures.draw_children({**record, "candidates": [first, other]}).axes
    within = axes[0].collections[0].get_offsets()
    np.testing.assert_allclose(within, [[1e6, 40], [5e5, 30]])
