"""A whole search on real files, also killed and resumed."""

import contextlib
import dataclasses
import itertools
import json
import logging
import pathlib
import shutil
import signal
import subprocess
import sys
import types

import numpy as np
import pytest
import tensorflow as tf

from autox3d_tf import cost, models
from autox3d_tf import space as space_lib
from autox3d_tf.data import synthetic
from autox3d_tf.runs import json_lines
from autox3d_tf.search import baselines, history, run
from autox3d_tf.search import options as options_lib
from autox3d_tf.studies import equal_cost
from tests.cost import latency_test
from tests.search import search_driver

REPO = pathlib.Path(__file__).resolve().parents[2]


def summaries_of(folder):
    """Yields `(tag, step, tensor)` of what a search wrote for TensorBoard."""
    for path in (folder / "summaries").glob("events.*"):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                yield value.tag, event.step, value.tensor


@pytest.fixture(scope="module")
def ended(clips, tmp_path_factory):
    """A folder with a search, and one that was killed twice; what was said."""
    folder = tmp_path_factory.mktemp("search")
    # Between the checkpoints of steps 3, 6 and 9.
    jobs = [str(folder / "run"), f"{folder / 'killed'}:5:8"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.search.search_driver", clips, *jobs],
        cwd=REPO,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder, done.stdout.splitlines(), done.stderr[-3000:]


@pytest.fixture(scope="module")
def finished(ended):
    """The directory of a search that was never interrupted."""
    folder, lines, error = ended
    assert "run 0 True" in lines, error
    return folder / "run"


@pytest.mark.large
def test_arch_json_is_within_budget_and_says_where_it_comes_from(finished):
    arch = space_lib.load_arch(finished / "arch.json")
    budget = cost.Budget(target=search_driver.TARGET_MACS, num_classes=2)
    assert budget.allows(arch)
    space = space_lib.load_space(finished / "space.json")
    assert space.fingerprint == arch.provenance["space_fingerprint"]
    indices = arch.provenance["indices"]
    assert space.decode(indices).fingerprint == arch.fingerprint
    assert arch.provenance["costs"]["macs"]["cost"] == budget.cost(arch)
    assert 0 < arch.provenance["probability"] < 1
    assert arch.provenance["rank"] >= 1
    assert arch.provenance["seed"] == 1
    assert len(arch.provenance["config_hash"]) == 64


@pytest.mark.large
def test_search_json_lists_runners_up_and_children(finished):
    record = json.loads((finished / "search.json").read_text())
    assert record["top"][0]["indices"] == record["indices"]
    log_probs = [one["log_prob"] for one in record["top"]]
    assert log_probs == sorted(log_probs, reverse=True)
    assert len(record["top"]) == 4
    for one in record["top"]:
        assert one["costs"][0] <= search_driver.TARGET_MACS
    for child in record["children"]:
        assert 0 <= child["accuracy"] <= 1 and child["log_likelihood"] < 0
    assert record["counts"]["architectures"] > 0
    assert record["labels"] == sorted(record["labels"])


@pytest.mark.large
def test_inherited_weights_fit_the_network_and_have_statistics(finished):
    arch = space_lib.load_arch(finished / "arch.json")
    model = models.build_model(arch, 2)
    with np.load(finished / "inherited.npz", allow_pickle=False) as file:
        values = dict(file)
    assert values.keys() == models.weight_values(model).keys()
    models.assign_weights(model, values)
    # re-estimated, not the 0 and 1 a fresh network has
    assert np.abs(values["stem/norm_mean"]).max() > 0
    assert (values["stem/norm_variance"] != 1).all()


@pytest.mark.large
def test_history_has_every_choice_and_follows_the_schedule(finished):
    entries = json_lines.read(finished / "search_history.jsonl")
    assert [entry["step"] for entry in entries] == [2, 4, 6, 8, 9]
    space = search_driver.SPACE
    for entry in entries:
        assert [len(row) for row in entry["probabilities"]] == [
            len(choice) for choice in space.choices
        ]
        for row in entry["probabilities"]:
            assert sum(row) == pytest.approx(1, abs=1e-4)
    # uniform during the warm-up: log(3) + log(8) + log(12)
    assert entries[0]["entropy"] == pytest.approx(5.663, abs=1e-3)
    assert entries[-1]["entropy"] < entries[0]["entropy"]
    assert entries[0]["clips_judged"] == 0 < entries[1]["clips_judged"]
    # Steps of the logits begin after 3: before, nobody knows these.
    unknown = {"cost_macs", "effective_samples", "log_likelihood"}
    assert not unknown & entries[0].keys()
    assert all(unknown <= entry.keys() for entry in entries[1:])
    scalars = {(tag, step) for tag, step, _ in summaries_of(finished)}
    assert {("loss", 2), ("loss", 4), ("log_likelihood", 4)} <= scalars
    assert ("log_likelihood", 2) not in scalars


@pytest.mark.large
def test_tensorboard_shows_the_figures_of_the_page(finished):
    record = json.loads((finished / "search.json").read_text())
    found = {
        tag: tf.make_ndarray(tensor)
        for tag, step, tensor in summaries_of(finished)
        if step == 9
    }
    for tag in ("choices", "network", "judged_inside_the_supernet"):
        width, height, png = found[tag]
        pixels = tf.image.decode_png(png).numpy()
        assert pixels.shape == (int(height), int(width), 3)
        assert pixels.std() > 1  # something is drawn
    assert b"| stage1/filters |" in found["most_probable_choices"].item()
    # One file of the steps, and one of what was found at their end.
    assert len(list((finished / "summaries").iterdir())) == 2
    header, _, *rows = found["first_within_budget"].item().decode().split("\n")
    assert header.startswith("|  | filters | blocks | log probability | macs |")
    assert len(rows) == len(record["top"])
    assert f"| {record['costs']['macs']['cost']:,.0f} |" in rows[0]


@pytest.mark.large
def test_killed_search_ends_with_the_same_arch_json(ended, finished):
    folder, lines, error = ended
    kill = f"killed {-signal.SIGKILL} False"  # no arch.json
    own = [line for line in lines if line.startswith("killed")]
    assert own == [kill, kill, "killed 0 True"], error
    for name in ("arch.json", "search_history.jsonl", "inherited.npz"):
        assert (folder / "killed" / name).read_bytes() == (
            finished / name
        ).read_bytes(), name


GOES_ON = options_lib.SearchOptions(
    steps=6, warmup_steps=3, batch_size=4, children=0, norm_batches=1,
    save_steps=3, start_at_budget=True,
)  # fmt: skip


def search_short(*arguments, **changes):
    return search_driver.search(
        *arguments, space=search_driver.SHORT, **changes
    )


@pytest.fixture(scope="module")
def warm(clips, tmp_path_factory):
    """The directory of a search that is only the warm-up of others."""
    folder = tmp_path_factory.mktemp("warm")
    search_short(clips, folder, search=equal_cost.warm_up(GOES_ON))
    return str(folder)


@pytest.mark.large
@pytest.mark.parametrize("joint_step", [3, 5])  # with the first, or later
def test_a_search_goes_on_from_the_warm_up_of_another(
    clips, warm, tmp_path, joint_step
):
    search, seen = dataclasses.replace(GOES_ON, joint_step=joint_step), []
    for target in (60_000.0, 100_000.0):
        folder = tmp_path / f"{target:g}"
        record = search_short(
            clips, folder, search=search, target_macs=target, supernet_from=warm
        )
        assert record["costs"]["macs"]["cost"] <= target
        assert record["config"]["supernet_from"]
        entries = json_lines.read(folder / "search_history.jsonl")
        assert [entry["step"] for entry in entries] == [6]
        # 3 steps of two architectures in the warm-up, then 3 of K
        trained = record["counts"]["clips_trained"]
        assert trained == 3 * 2 * 4 + record["counts"]["clips_judged"]
        seen.append(entries[0]["probabilities"])
    assert seen[0] != seen[1]  # each started at its own budget
    with pytest.raises(ValueError, match="that ended after the same warm-up"):
        search_short(
            clips,
            tmp_path / "other",
            search=dataclasses.replace(search, warmup_steps=2),
            supernet_from=warm,
        )


@pytest.mark.parametrize(
    ("warmup_samples", "change", "may_differ"),
    [
        (1, {"temperature": 0.5}, True),  # nothing to weigh one against
        (2, {"temperature": 0.5}, False),
        (2, {"samples_per_nat": 9.0}, True),
        (0, {"samples_per_nat": 9.0}, False),  # which says how many
        (0, {"temperature": 0.5}, False),
        (2, {"beta": 9.0}, True),  # of the logits
        (1, {}, True),
    ],
)
def test_what_a_warm_up_for_another_search_depends_on(
    tmp_path, warmup_samples, change, may_differ
):
    search = dataclasses.replace(GOES_ON, warmup_samples=warmup_samples)
    estimator = options_lib.EstimatorOptions()
    config = {"kind": "search", "seed": 1}
    for name in ("space", "manifest", "order", "data", "weights"):
        config[name] = {}
    there = {
        **config,
        "search": {**dataclasses.asdict(search), "steps": search.warmup_steps},
        "estimator": dataclasses.asdict(estimator),
    }
    (tmp_path / "run.json").write_text(json.dumps(there))
    asked = {
        **config,
        "search": dataclasses.asdict(search),
        "estimator": dataclasses.replace(estimator, **change),
    }
    refused = contextlib.nullcontext()
    if not may_differ:
        refused = pytest.raises(ValueError, match="after the same warm-up")
    with refused:
        run.check_supernet(str(tmp_path), asked)
    if not change:  # clips of their own were seen by two replicas
        with pytest.raises(ValueError, match=r"replicas='nothing' there, 2"):
            run.check_supernet(str(tmp_path), {**asked, "replicas": 2})


@pytest.mark.large
def test_a_search_without_steps_has_the_supernet_too(clips, warm, tmp_path):
    """For a ranking."""
    judged = dataclasses.replace(
        equal_cost.warm_up(GOES_ON), method="random", candidates=2
    )
    places = (warm, *(str(tmp_path / name) for name in ("random", "ranked")))
    seen = [
        search_short(clips, here, search=judged, supernet_from=there)["top"][0]
        for there, here in itertools.pairwise(places)
    ]
    assert seen[0]["judged"] == seen[1]["judged"]


@pytest.mark.large
def test_a_search_without_steps_may_follow_one_that_ended_jointly(
    clips, warm, tmp_path
):
    joint = dataclasses.replace(GOES_ON, joint_step=5)
    search_short(clips, tmp_path / "joint", search=joint, supernet_from=warm)
    judged = dataclasses.replace(
        joint, method="random", warmup_steps=6, joint_step=0, candidates=2
    )
    record = search_short(
        clips,
        tmp_path / "random",
        search=judged,
        supernet_from=str(tmp_path / "joint"),
    )
    assert record["chosen_among"]["architectures"] == 2
    assert record["counts"]["architectures"] > 2  # those of its steps, too


def test_a_relaxation_on_several_replicas_is_refused(clips, tmp_path):
    search = dataclasses.replace(GOES_ON, method="gumbel")
    replicas = types.SimpleNamespace(num_replicas_in_sync=2)
    with pytest.raises(ValueError, match="one device for .* 'gumbel'.* 2 repl"):
        search_short(clips, tmp_path, search=search, strategy=replicas)


def test_budgets_too_tight_for_random_draws_are_refused_before_the_steps(
    clips, tmp_path, monkeypatch
):
    monkeypatch.setattr(baselines, "_DRAWS", 0)
    search = dataclasses.replace(
        equal_cost.warm_up(GOES_ON), method="random", candidates=2
    )
    with pytest.raises(ValueError, match="is within the budget. Raise the tar"):
        search_short(clips, tmp_path, search=search)
    assert not list((tmp_path / "checkpoints").iterdir())


def test_impossible_budget_is_refused_with_the_minimum(clips, tmp_path):
    with pytest.raises(ValueError, match=r"macs <= 1,000. The smallest has"):
        search_driver.search(clips, tmp_path / "run", target_macs=1000.0)


def test_budgets_that_exclude_each_other_are_refused_at_once():
    space = latency_test.SPACE
    tables = latency_test.TABLE
    least = cost.cheapest(space, cost.Budget(target=1e18, num_classes=3))
    fastest = cost.cheapest(
        space,
        cost.Budget(
            metric=cost.LATENCY, target=1e18, num_classes=3, table=tables
        ),
    )
    run.make_budgets(space, 3, table=tables, macs=least * 9, latency_ms=fastest)
    with pytest.raises(ValueError, match="is within all budgets together"):
        run.make_budgets(space, 3, table=tables, macs=least, latency_ms=fastest)


def test_a_target_of_zero_is_refused(clips, tmp_path):
    with pytest.raises(ValueError, match="`target` must be a positive number"):
        search_driver.search(clips, tmp_path / "run", target_macs=0.0)


def test_no_target_is_refused(clips, tmp_path):
    with pytest.raises(ValueError, match="At least one of `target_macs`"):
        search_driver.search(clips, tmp_path / "run", target_macs=None)


def test_a_search_says_what_its_milliseconds_are_of(clips, tmp_path, caplog):
    table = latency_test.make_table(search_driver.SPACE)
    budget = {"target_latency_ms": 1e-9, "latency_table": table}
    caplog.set_level("INFO", logger="absl")
    with pytest.raises(ValueError, match="The smallest has"):
        search_driver.search(clips, tmp_path / "run", **budget)
    assert f"Latency table: {table}." in caplog.text


def test_a_single_class_is_refused(tmp_path):
    synthetic.write_synthetic(
        tmp_path / "clips", num_classes=2, clips_per_class=2, frames=4, size=32
    )
    folder = next(p for p in (tmp_path / "clips").iterdir() if p.is_dir())
    one_class = tmp_path / "one"
    one_class.mkdir()
    folder.rename(one_class / folder.name)
    with pytest.raises(ValueError, match="at least two classes"):
        search_driver.search(one_class, tmp_path / "run")


@pytest.mark.large
def test_a_finished_search_is_returned_as_it_is(
    clips, finished, monkeypatch, caplog
):
    before = {p: p.read_bytes() for p in finished.iterdir() if p.is_file()}
    monkeypatch.setattr(run.engine_lib, "Engine", None)  # nothing is built
    with caplog.at_level(logging.INFO, logger="absl"):
        found = search_driver.search(clips, finished)
    assert "Chosen: macs " in caplog.text
    assert found == json.loads((finished / "search.json").read_text())
    assert {path: path.read_bytes() for path in before} == before


def test_directory_of_another_search_is_refused(clips, finished):
    with pytest.raises(ValueError, match=r"seed=1 there, 2 here"):
        search_driver.search(clips, finished, seed=2)


def test_a_line_that_a_kill_cut_short_is_dropped(tmp_path):
    path = tmp_path / history.FILE
    path.write_text('{"step": 2}\n{"step": 4}\n{"step": 6, "ent')
    assert [e["step"] for e in json_lines.read(path)] == [2, 4]
    log = history.History(path, 2, lambda step: [[0.5, 0.5]], lambda: {"n": 1})
    log.add(4, {"entropy": 0.693147})
    assert json_lines.read(path)[1] == {
        "step": 4,
        "entropy": 0.693147,
        "n": 1,
        "probabilities": [[0.5, 0.5]],
    }


def test_table_of_choices_names_the_most_probable():
    space = search_driver.SPACE
    rows = [[0.0] * (len(c) - 1) + [1.0] for c in space.choices]
    table = history.choices_table(space, rows)
    assert "| stage1/filters | 12 | 1.00 |" in table
    assert "| stage1/block2/block_type | skip | 1.00 |" in table


def test_a_search_goes_on_with_the_clips_that_it_began_with(
    clips, tmp_path, monkeypatch
):
    class Opened(Exception):
        pass

    def stop(*, source, **_):
        raise Opened(len(source), source.manifest.fingerprint)

    def opened():
        with pytest.raises(Opened) as caught:
            search_driver.search(tmp_path / "clips", tmp_path / "run")
        return caught.value.args

    monkeypatch.setattr(run.engine_lib, "Engine", stop)
    shutil.copytree(clips, tmp_path / "clips")
    (tmp_path / "clips/manifest.csv").unlink()
    before = opened()
    video, *_ = (tmp_path / "clips").glob("*/*.mp4")
    shutil.copy(video, video.with_name("one_more.mp4"))
    assert opened() == before
