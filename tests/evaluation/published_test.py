"""Data sets as they are published: scanned, trained on, tested officially."""

import json

import av
import numpy as np
import pytest

from autox3d_tf.data import scan, synthetic
from autox3d_tf.evaluation import run
from autox3d_tf.training import run as training_run
from tests.training import tiny

CLASSES = ("Moving a cup left", "Moving a cup right")
LEFT, RIGHT = "Moving [something] left", "Moving [something] right"


def kinetics(root, lists):
    names = []
    for split in ("train", "val"):
        lines = ["label,youtube_id,time_start,time_end,split"]
        for number in range(6):
            label = CLASSES[number % 2]
            lines.append(f"{label},{split}-video{number},{number},9,{split}")
            folder = label.replace(" ", "_")
            name = f"{split}-video{number}_{number:06d}_000009.mp4"
            names.append(f"{split}/{folder}/{name}")
        (lists / f"{split}.csv").write_text("\n".join(lines))
    return names


def ssv2(root, lists):
    for split, first in (("train", 0), ("validation", 6)):
        clips = [
            {"id": str(first + n), "template": (LEFT, RIGHT)[n % 2]}
            for n in range(6)
        ]
        (lists / f"{split}.json").write_text(json.dumps(clips))
    return [f"{number}.webm" for number in range(12)]


def ucf101(root, lists):
    names = [
        f"{'LR'[n % 2]}/v_{'LR'[n % 2]}_g{n:02d}_c01.avi" for n in range(12)
    ]
    (lists / "classInd.txt").write_text("1 L\n2 R\n")
    (lists / "trainlist01.txt").write_text(
        "".join(f"{name} {1 + n % 2}\n" for n, name in enumerate(names[:6]))
    )
    (lists / "testlist01.txt").write_text("\n".join(names[6:]))
    return names


def hmdb51(root, lists):
    names = []
    for label in ("turn_left", "turn_right"):
        files = [f"film{n}_{label}_f_cm_np1_fr_med_0.avi" for n in range(6)]
        (lists / f"{label}_test_split1.txt").write_text(
            "".join(f"{f} {1 + n // 3} \n" for n, f in enumerate(files))
        )
        names += [f"{label}/{name}" for name in files]
    # As the others: six to train on, then six to test on.
    return sorted(names, key=lambda name: int(name.split("film")[1][0]) > 2)


def write(path, clip):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix != ".webm":
        synthetic.write_video(path, clip, 12)
        return
    with av.open(str(path), "w") as container:  # has no length in its header
        stream = container.add_stream("libvpx-vp9", rate=12)
        stream.height, stream.width = clip.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for picture in clip:
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


# Builder, part that is tested, clips x crops, and how frames are sampled.
PROTOCOLS = {
    "kinetics": (kinetics, "val", (10, 3), "dense"),
    "ssv2": (ssv2, "val", (2, 3), "segment"),
    "ucf101": (ucf101, "test", (10, 1), "dense"),
    "hmdb51": (hmdb51, "test", (10, 1), "dense"),
}


@pytest.mark.large
@pytest.mark.parametrize("name", PROTOCOLS)
def test_from_the_lists_to_the_accuracy(name, tmp_path):
    build, part, (temporal, spatial), sampling = PROTOCOLS[name]
    root, lists = tmp_path / "videos", tmp_path / "lists"
    lists.mkdir()
    names = build(root, lists)
    for number, path in enumerate(names):
        clip = np.random.default_rng(number).integers(
            0, 255, (24, 16, 24, 3), np.uint8
        )
        write(root / path, clip)
    (root / names[0]).write_bytes(b"")  # to train on
    (root / names[-1]).unlink()  # to test on
    manifest = scan.scan(root, format=name, annotations=[lists], min_frames=4)
    assert len(manifest) == 12 and len(manifest.select()) == 10
    manifest.save(tmp_path / "manifest.csv")

    options = tiny.data(
        tmp_path / "manifest.csv",
        train_folds=(),
        val_folds=(),
        sampling=sampling,
        flip="swap",
        rand_augment=1,
    )
    record = training_run.run_training(
        arch=tiny.arch(),
        data=options,
        training=tiny.training(epochs=2),
        optimizer=tiny.optimizer(),
        run_dir=str(tmp_path / "run"),
    )
    assert record["train_clips"] == 5
    result = run.run_evaluation(
        trained=str(tmp_path / "run"),
        data=options,
        part=part,
        temporal_views=temporal,
        spatial_crops=spatial,
        run_dir=str(tmp_path / "evaluation"),
    )
    # Against the list: the clip whose video is gone counts, and is named.
    assert (result["clips"], result["annotated_clips"]) == (5, 6)
    (gone,) = result["left_out"]
    assert gone["status"] == "missing"
    assert gone["path"].endswith(names[-1])
    logits = np.load(tmp_path / "evaluation/views.npz")["logits"]
    assert logits.shape == (5, temporal * spatial, 2)
    for clip in logits:
        assert len({tuple(view) for view in clip}) == temporal * spatial
    assert len(result["curve"]) == temporal * spatial
