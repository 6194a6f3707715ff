"""What goes wrong in a search is said in a line, and nothing good is lost."""

import dataclasses
import functools
import logging
import re
import shutil

import pytest

from autox3d_tf.data import synthetic
from autox3d_tf.runs import checkpoints
from autox3d_tf.search import engine, options
from autox3d_tf.training import run as training_run
from tests.cost import latency_test
from tests.search import search_driver
from tests.training import tiny

SPACE = search_driver.SPACE
# 4 and 12 do not pair up to 20; all else is the same.
OTHER_SPACE = dataclasses.replace(
    SPACE,
    name="other",
    stages=(
        dataclasses.replace(SPACE.stages[0], filters=(4, 12, 20), depth=1),
    ),
)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    synthetic.write_synthetic(
        folder, num_classes=2, clips_per_class=4, frames=5, size=32
    )
    return folder


class Entered(Exception):
    """The run has its directory, the search has not begun."""


def enter_only(monkeypatch, *arguments, **changes):
    def stop(**arguments):
        raise Entered

    with monkeypatch.context() as patch:
        patch.setattr(engine, "Engine", stop)
        with pytest.raises(Entered):
            search_driver.search(*arguments, deterministic=False, **changes)


def test_the_largest_network_trains_within_the_warm_up():
    for steps in (0, 2):
        options.SearchOptions(steps=3, warmup_steps=2, largest_steps=steps)
    with pytest.raises(
        ValueError, match="`largest_steps` must be at most warmup_steps=2"
    ):
        options.SearchOptions(steps=3, warmup_steps=2, largest_steps=3)


def test_directory_of_another_space_is_refused(clips, tmp_path, monkeypatch):
    enter_only(monkeypatch, clips, tmp_path / "run")
    with pytest.raises(
        ValueError,
        match="belongs to another run .*space.name='toy' there, 'other' here",
    ):
        search_driver.search(
            clips, tmp_path / "run", space=OTHER_SPACE, deterministic=False
        )


def test_norm_batches_that_finalists_start_from_stay(
    clips, tmp_path, monkeypatch
):
    def enter(folder, finalists, norm_batches):
        search = options.SearchOptions(
            steps=3, warmup_steps=2, refine=4, finalists=finalists,
            norm_batches=norm_batches,
        )  # fmt: skip
        enter_only(
            monkeypatch, clips, folder, search=search,
            finalist_fn=lambda **_: {},
        )  # fmt: skip

    for norm_batches in (2, 7):  # said of the end only
        enter(tmp_path / "one", 1, norm_batches)
    enter(tmp_path / "two", 2, 2)
    with pytest.raises(ValueError, match=r"norm_batches=2 there, 7 here"):
        enter(tmp_path / "two", 2, 7)


def test_the_recipes_of_finalists_are_the_searchs_own(
    clips, tmp_path, monkeypatch
):
    search = options.SearchOptions(
        steps=3, warmup_steps=2, refine=4, finalists=2
    )

    def enter(epochs, rate=0.1):
        recipe = functools.partial(
            training_run.run_training,
            training=tiny.training(epochs=epochs),
            optimizer=tiny.optimizer(learning_rate=rate),
        )
        enter_only(
            monkeypatch, clips, tmp_path / "run", search=search,
            finalist_fn=recipe,
        )  # fmt: skip

    enter(epochs=2)
    enter(epochs=2)
    with pytest.raises(ValueError, match="epochs=2.* there, 3"):
        enter(epochs=3)
    with pytest.raises(ValueError, match="learning_rate=0.1 there, 0.2 here"):
        enter(epochs=2, rate=0.2)


def test_a_table_without_a_budget_of_milliseconds_is_refused(clips, tmp_path):
    message = "`target_latency_ms` must be given with a latency table"
    with pytest.raises(ValueError, match=message):
        search_driver.search(
            clips, tmp_path / "run", latency_table=latency_test.TABLE
        )
    assert not (tmp_path / "run" / "run.json").exists()


def test_a_rate_that_never_comes_to_its_height_is_said(
    clips, tmp_path, monkeypatch, caplog
):
    for steps, said in ((8, False), (9, True)):
        enter_only(
            monkeypatch, clips, tmp_path / f"{steps}",
            weights=options.WeightsOptions(warmup_steps=steps),
        )  # fmt: skip
        assert ("never reaches its peak" in caplog.text) == said


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 3000.0}, "`steps` must be a whole number"),
        ({"joint_step": 1.5}, "`joint_step` must be a whole number"),
        ({"save_secs": -1.0}, "`save_secs` must be positive"),
        ({"save_secs": float("nan")}, "`save_secs` must be finite"),
        ({"save_steps": 0}, "`save_steps` must be at least 1, or None"),
    ],
)
def test_schedules_that_cannot_be_kept_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        options.SearchOptions(**{"steps": 3, "warmup_steps": 2, **changes})


@pytest.mark.parametrize(
    "made",
    [
        lambda: options.EstimatorOptions(temperature=float("inf")),
        lambda: options.EstimatorOptions(beta=float("inf")),
        lambda: options.WeightsOptions(learning_rate_per_sample=float("inf")),
        lambda: options.LogitsOptions(learning_rate=float("inf")),
    ],
)
def test_rates_are_finite(made):
    with pytest.raises(ValueError, match="must be finite. Received: .*=inf"):
        made()


def test_one_sample_is_refused(clips, tmp_path):
    with pytest.raises(ValueError, match=r"at least 2 \(one sample carries no"):
        search_driver.search(
            clips,
            tmp_path / "run",
            estimator=options.EstimatorOptions(fixed_samples=1),
        )


def test_nan_stops_the_search_and_keeps_the_last_checkpoint(
    clips, tmp_path, monkeypatch, caplog
):
    run = tmp_path / "run"
    # The rate grows from 0, so that the first steps are harmless.
    weights = options.WeightsOptions(
        learning_rate_per_sample=1e37, warmup_steps=3, clip_norm=None
    )
    search = options.SearchOptions(
        steps=9, warmup_steps=9, batch_size=4, save_steps=1
    )
    with (
        caplog.at_level(logging.INFO, logger="absl"),
        pytest.raises(checkpoints.NonFiniteError) as caught,
    ):
        search_driver.search(
            clips, run, search=search, weights=weights, space=OTHER_SPACE,
            target_macs=1e6, deterministic=False,
        )  # fmt: skip
    found = re.fullmatch(
        r"loss became nan in step (\d)\. The last checkpoint, of step (\d), is "
        r"kept\. Try a lower learning rate or gradient clipping\.",
        str(caught.value),
    )
    assert found, caught.value
    step = int(found[1])
    assert 2 <= step <= 4 and int(found[2]) == step - 1
    kept = run / "checkpoints" / f"step_{step - 1:08d}"
    assert (kept / "about.json").is_file()
    assert not (run / "arch.json").exists()
    # widths that do not pair up are allowed, and reported
    assert (
        "stage1/filters: channels are updated with probability 0.333 to 0.667, "
        "for the widths do not pair up to the widest: (4, 12, 20)."
    ) in caplog.messages

    enter_only(monkeypatch, clips, tmp_path / "other")
    shutil.copytree(kept, tmp_path / "other" / "checkpoints" / kept.name)
    with pytest.raises(
        ValueError, match=r"belongs to something else: .*space='\w+' there"
    ):
        search_driver.search(clips, tmp_path / "other", deterministic=False)
