import json

import pytest

from autox3d_tf.data import synthetic
from autox3d_tf.studies import transfer
from autox3d_tf.training import run
from tests.training import tiny


def entry(start, size, seed, right, **changes):
    return {
        "format": transfer.FORMAT,
        "start": start,
        "clips_per_class": size,
        "seed": seed,
        "steps": 9,
        "arch": "nano",
        "training": {"batch_size": 4},
        "top1": right / 10,
        "top1_correct": right,
        "clips": 10,
        "annotated_clips": 11,
        "protocol": {
            "temporal_views": 1,
            "spatial_crops": 1,
            "clip_size": [4, 16, 16],
            "sampling": "segment",
            "macs_per_view": 2_000_000,
            "macs_all_views": 2_000_000,
            "manifest": "abcdef0123456789",
        },
        **changes,
    }


def test_table_by_hand():
    table = transfer.format_table(
        [
            entry("pretrained", None, 1, 9),
            entry("scratch", None, 1, 7),
            entry("scratch", 3, 0, 2),
            entry("pretrained", None, 0, 8),
            entry("scratch", None, 0, 5),
        ]
    ).splitlines()
    assert table[0] == "| clips per class | scratch | pretrained |"
    # One seed: Wilson's interval of 2 of 10 is 0.057 to 0.510.
    assert table[2] == "| 3 | 20.0 % (6 to 51; 2) | - |"
    # Means of two, whose intervals by t = 12.71 are beyond 0 and 1.
    assert table[3] == (
        "| all | 60.0 % (0 to 100; 5, 7) | 85.0 % (21 to 100; 8, 9) |"
    )
    assert "nano after 9 steps of 4 clips" in table[-1]
    assert "10 of 11 annotated clips, manifest abcdef012345" in table[-1]


def test_what_is_no_result_is_named(tmp_path):
    with pytest.raises(ValueError, match="There is no result of a transfer"):
        transfer.read_results(tmp_path)
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(ValueError, match="a.json is not a result: not valid"):
        transfer.read_results(tmp_path)
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(
        ValueError, match="a.json was not written by a transfer"
    ):
        transfer.read_results(tmp_path)


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"seeds": ()}, "`seeds` must name at least one"),
        ({"steps": 5, "warmup_steps": 5}, "warmup_steps=5, steps=5"),
    ],
)
def test_options_refuse_nonsense(fields, message):
    with pytest.raises(ValueError, match=message):
        transfer.TransferOptions(**fields)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    synthetic.write_synthetic(
        folder, num_classes=3, clips_per_class=4, frames=8, size=16
    )
    return folder / synthetic.MANIFEST_NAME


def test_each_run_leaves_a_file_and_is_not_repeated(clips, tmp_path, capsys):
    calls = []

    def train(**arguments):
        calls.append(arguments)
        return run.run_training(arch=tiny.short_arch(), **arguments)

    def compare(sizes, steps=3, test=3, frames=tiny.FRAMES, **starts):
        return transfer.compare_starts(
            train_fn=train,
            data=tiny.data(
                clips, train_folds=tuple({0, 1, 2, 3} - {test}), val_folds=(),
                test_folds=(test,), clip_frames=frames,
            ),
            training=tiny.training(replace_head=True),
            optimizer=tiny.optimizer(),
            options=transfer.TransferOptions(
                clips_per_class=sizes, seeds=(4,), steps=steps, warmup_steps=1
            ),
            run_dir=str(tmp_path / "runs"),
            results_dir=str(tmp_path / "results"),
            **starts,
        )  # fmt: skip

    compare((2,))
    table = compare((2,), pretrained=str(tmp_path / "runs/scratch_2_4"))
    assert len(calls) == 2  # the first run was not repeated
    for call in calls:
        assert call["seed"] == call["data"].clips_seed == 4
        warmup = call["optimizer"].warmup_epochs
        assert call["training"].steps(warmup, num_clips=6) == 1
    assert (tmp_path / "results" / transfer.TABLE).read_text() == table + "\n"
    assert table in capsys.readouterr().out
    for start in ("scratch", "pretrained"):
        path = tmp_path / f"results/{start}_2_4.json"
        assert path.stat().st_size < 6000
        found = json.loads(path.read_text())
        assert found["train_clips"] == 6  # 2 of each of 3 classes
        assert found["clips"] == 3  # fold 3
        assert found["protocol"]["temporal_views"] == 1
        assert bool(found["init_from"]) == (start == "pretrained")
    curve = json.loads(
        (tmp_path / "runs/pretrained_2_4/training.json").read_text()
    )["curve"]
    assert [point["step"] for point in curve] == [1, 2, 3]
    with pytest.raises(ValueError, match="new folder .*steps=3 there, 4 here"):
        compare((2,), steps=4)
    with pytest.raises(ValueError, match=r"new folder .*\(protocol.manifest="):
        compare((2, 1), test=2)
    with pytest.raises(ValueError, match=r"new folder .*\(protocol.clip_size="):
        compare((2, 1), frames=5)
    with pytest.raises(ValueError, match="new folder .*weights="):
        compare((2,), pretrained=str(tmp_path / "runs/pretrained_2_4"))
    with pytest.raises(ValueError, match="`init_from` must be a file of wei"):
        compare((2,), pretrained=str(tmp_path / "none"))
    assert len(calls) == 2
