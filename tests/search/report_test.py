import dataclasses
import json
import re

import pytest

from autox3d_tf import cost
from autox3d_tf import space as space_lib
from autox3d_tf.runs import run_dir
from autox3d_tf.search import files, history, report
from autox3d_tf.studies import plan, tables

SPACE = space_lib.get_space("tiny")
INDICES = tuple(0 for _ in SPACE.choices)


def write_history(folder, steps):
    SPACE.save(folder / "space.json")
    run_dir.RunDir(folder, {"budgets": [{"metric": "macs", "target": 2e6}]})
    log = history.History(
        folder / history.FILE,
        0,
        lambda step: [[1 / len(c)] * len(c) for c in SPACE.choices],
        lambda: {"architectures": 5},
    )
    for step in steps:
        log.add(
            step,
            {
                "entropy": 10.0 - step,
                "samples": 4.0,
                "weights_samples": 2.0,
                "effective_samples": float(step > 2),
                "cost_macs": 1e6,
                "train_accuracy": 0.5,
                "sample_accuracy": 0.5,
                "best_sample_accuracy": 0.6,
                "loss": 1.0,
            },
        )


def write_result(folder, **changes):
    arch = SPACE.decode(INDICES)
    arch.save(folder / "arch.json")
    macs = float(cost.cost_of(arch, num_classes=4).macs)
    child = {"indices": INDICES, "costs": [macs], "accuracy": 0.75,
             "log_likelihood": -0.5}  # fmt: skip
    record = {
        "format": files.FORMAT,
        "schema_version": files.SCHEMA_VERSION,
        "method": "probabilistic",
        "space_fingerprint": SPACE.fingerprint,
        "arch": arch.fingerprint,
        "costs": {"macs": {"target": 2 * macs, "cost": macs}},
        "metrics": ["macs"],
        "log_prob": -3.0,
        "rank": 7,
        "entropy": 1.25,
        "labels": ["a", "b", "c", "<d>"],
        "inherited_accuracy": 0.75,
        "judged_on": {"clips": 40, "of": "the <half>"},
        "indices": INDICES,
        "top": [{"indices": INDICES, "log_prob": -3.0, "costs": [macs],
                 "judged": child}],
        "children": [child, {**child, "costs": [macs / 2], "accuracy": 0.5}],
        "candidates": [],
        "finalists": [{"indices": INDICES, "accuracy": 0.625,
                       "log_likelihood": -1.25}],
        "counts": {"architectures": 9, "clips_trained": 80,
                   "clips_judged": 1234567},
        "config": {"seed": 3},
        **changes,
    }  # fmt: skip
    (folder / "search.json").write_text(json.dumps(record))
    return macs


def write_comparison(folder):
    """Two networks, 90 % and 80 %."""
    folder.mkdir()
    for method, accuracy in (("probabilistic", 0.9), ("hand_scaled", 0.8)):
        run = plan.Run(method=method, target_macs=2e6, seed=0)
        record = {
            "format": plan.FORMAT,
            "schema_version": plan.SCHEMA_VERSION,
            **dataclasses.asdict(run),
            "accuracy": accuracy,
            "macs": 1.9e6,
            "params": 5e4,
            "search": None,
            "recipe": {},
        }
        plan.result_path(folder, run).write_text(json.dumps(record))


def test_report_of_a_finished_search_is_one_self_contained_file(tmp_path):
    write_history(tmp_path, range(1, 6))
    macs = write_result(tmp_path)
    write_comparison(tmp_path / "comparison")
    compared = tables.sections(plan.read_results(tmp_path / "comparison"))
    page = report.write_report(tmp_path, compared).read_text()
    assert page.count("<img") == 4  # network, curves, choices, children
    sources = re.findall(r"src='([^']{30})", page)
    assert all(s.startswith("data:image/png;base64,") for s in sources)
    assert not re.search(r"https?://|<script|<link", page)
    assert f"{macs:,.0f} of at most {2 * macs:,.0f}" in page
    cells = ("-1.250", "62.5", "chosen")
    assert "".join(f"<td>{cell}</td>" for cell in cells) in page
    assert "1,234,567" in page and "1.25 nats" in page
    assert "the &lt;half&gt;" in page and "<half>" not in page
    assert "Differences, at most 2 M multiply-adds" in page
    assert "probabilistic - hand_scaled" in page and "+10.00" in page


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rank": 1234}, "1,234"),
        ({"rank": 3, "rank_ties": 0}, "3"),
        ({"rank": 1, "rank_ties": 1}, "1, tied with 1 other"),
        ({"rank": 1, "rank_ties": 12}, "1, tied with 12 others"),
        ({"rank": None, "rank_above": 1000}, "more than 1,000"),
        ({"rank": None}, "not known"),
    ],
)
def test_report_says_what_the_rank_is_above_of(tmp_path, changes, said):
    SPACE.save(tmp_path / "space.json")
    write_result(tmp_path, **changes)
    page = report.write_report(tmp_path).read_text()
    assert f"<td>rank among all</td><td>{said}</td>" in page


def test_report_of_a_search_that_is_still_going(tmp_path):
    write_history(tmp_path, [1])
    page = report.write_report(tmp_path).read_text()
    assert "Still searching" in page and page.count("<img") == 2


def test_a_directory_without_a_search_is_refused(tmp_path):
    with pytest.raises(ValueError, match="holds no history of a search"):
        report.write_report(tmp_path)


def test_a_foreign_record_is_refused(tmp_path):
    write_history(tmp_path, [1])
    (tmp_path / "search.json").write_text('{"format": "other"}')
    with pytest.raises(ValueError, match="was not written by a search"):
        report.write_report(tmp_path)
