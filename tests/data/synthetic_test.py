import itertools
import os
import subprocess
import sys

import numpy as np
import pytest

from autox3d_tf.data import decoding, synthetic


def draw_many(kind, per_class, seed=0, frames=8, size=32):
    classes = synthetic.KINDS[kind].values()
    return [
        synthetic.draw_clip(
            moving,
            np.random.default_rng([seed, number, index]),
            frames=frames,
            size=size,
        )
        for index in range(per_class)
        for number, moving in enumerate(classes)
    ]


def ridge_accuracy(features, labels, num_classes, num_train):
    """Accuracy of one-against-all ridge regression on the later part."""
    features = (features - features[:num_train].mean(0)) / 60.0
    features = np.concatenate([features, np.ones((len(features), 1))], axis=1)
    train, targets = features[:num_train], np.eye(num_classes)[labels]
    kernel = train @ train.T + 10.0 * len(train[0]) / 100 * np.eye(num_train)
    weights = train.T @ np.linalg.solve(kernel, targets[:num_train])
    guesses = (features[num_train:] @ weights).argmax(axis=1)
    return (guesses == labels[num_train:]).mean()


@pytest.mark.parametrize("kind", synthetic.KINDS)
def test_single_frames_tell_nothing(kind):
    clips = draw_many(kind, per_class=1200 // len(synthetic.KINDS[kind]))
    num_classes = len(synthetic.KINDS[kind])
    labels = np.tile(np.arange(num_classes), len(clips) // num_classes)
    middle = np.array([clip[4, ::2, ::2].ravel() for clip in clips], float)
    accuracy = ridge_accuracy(middle, labels, num_classes, num_train=800)
    # 400 test clips have a standard deviation of 0.017 at chance 1/8, 0.012 at
    # 1/16.
    assert accuracy <= 1 / num_classes + 0.0375, accuracy
    # The same test does find a class that a frame gives away, faintly.
    hinted = middle.copy()
    hinted[np.arange(len(labels)), labels] += 60
    found = ridge_accuracy(hinted, labels, num_classes, num_train=800)
    assert found > 2 / num_classes


def test_two_frames_tell_the_motion():
    """The trace of the blob, found by what moves, gives the class away."""
    for name, expected in [
        ("left", (-1, 0)),
        ("right", (1, 0)),
        ("up", (0, -1)),
        ("down", (0, 1)),
    ]:
        for index in range(5):
            rng = np.random.default_rng([7, index])
            clip = synthetic.draw_clip(
                synthetic.KINDS["single"][name], rng, frames=24, size=64
            )
            still = np.median(clip, axis=0)
            moving = np.abs(clip - still).sum(axis=-1) ** 2  # (T, H, W)
            # Phase of the first Fourier component: position on a circle,
            # which is what wrap-around asks for.
            wave = np.exp(-2j * np.pi * np.arange(64) / 64)
            step = []
            for axis in (1, 2):
                trace = moving.sum(axis=axis) @ wave
                step.append(np.median(np.angle(trace[:-1] / trace[1:])))
            dx, dy = step
            assert np.dot((dx, dy), expected) > 0.1, (name, index)
            other = dy if expected[0] else dx
            assert abs(other) < 0.1, (name, index)


def test_the_shapes_of_a_pair_go_their_own_ways():
    """Drawn without a background, each shape's middle moves as it is said."""
    radius, grid = 0.15, (np.arange(64) + 0.5) / 64 - 0.5
    dx, dy = np.meshgrid(grid, grid)
    disc = synthetic.SHAPES["disc"](dx, dy, radius) < 0
    cross = synthetic.SHAPES["cross"](dx, dy, radius) < 0
    assert disc[32, 32] and cross[32, 32]
    corner = 32 + round(0.1 * 64)  # 0.14 from the middle, along the diagonal
    assert disc[corner, corner] and not cross[corner, corner]
    arm = 32 + round(0.17 * 64)  # outside the disc, on the arm of the cross
    assert not disc[32, arm] and cross[32, arm]
    assert not disc[arm, 32] and cross[arm, 32]
    pairs = synthetic.KINDS["pairs"]
    assert len(pairs) == 16
    assert pairs["disc_left_cross_up"] == (
        ("disc", synthetic.MOTIONS["left"]),
        ("cross", synthetic.MOTIONS["up"]),
    )

    # The same clip but for the way that the cross goes: only its trace differs.
    def draw(way):
        return synthetic.draw_clip(
            pairs[f"disc_left_cross_{way}"],
            np.random.default_rng(3),
            frames=8,
            size=32,
            noise=0,
        ).astype(int)

    up, down = draw("up"), draw("down")
    np.testing.assert_array_equal(up[0], down[0])
    # What goes up by d and what goes down by 1 - d is at the same place.
    assert (np.abs(up[4] - down[4]).max(axis=-1) > 20).sum() > 20


def test_of_eight_shapes_one_moves():
    movers = synthetic.KINDS["movers"]
    assert list(movers) == [f"{shape}_moves" for shape in synthetic.SHAPES]

    def draw(name, index):
        return synthetic.draw_clip(
            movers[name],
            np.random.default_rng([11, index]),
            frames=8,
            size=36,
            noise=0,
        ).astype(int)

    for index, name in enumerate(movers):
        clip, other = draw(name, index), draw("disc_moves", index)
        np.testing.assert_array_equal(clip[0], other[0])
        # What changes is where the mover has been and where it is now.
        changed = np.abs(clip[1] - clip[0]).max(axis=-1) > 20
        assert 8 < changed.sum() < 36 * 36 / 4, name
        if name != "disc_moves":
            assert np.abs(clip[1:] - other[1:]).max() > 40, name


def test_no_two_shapes_look_alike():
    dx, dy = np.meshgrid(*[(np.arange(64) + 0.5) / 64 - 0.5] * 2)
    masks = [draw(dx, dy, 0.2) < 0 for draw in synthetic.SHAPES.values()]
    for one, other in itertools.combinations(masks, 2):
        assert (one & other).sum() < 0.8 * (one | other).sum()
    for mask in masks:  # clips may be mirrored left to right
        np.testing.assert_array_equal(mask, mask[:, ::-1])


def test_seed_decides_every_byte(tmp_path):
    options = dict(num_classes=2, clips_per_class=2, frames=6, size=32)
    first = synthetic.write_synthetic(tmp_path / "a", seed=1, **options)
    again = synthetic.write_synthetic(tmp_path / "b", seed=1, **options)
    other = synthetic.write_synthetic(tmp_path / "c", seed=2, **options)
    assert first.fingerprint == again.fingerprint
    for row in first.rows:
        content = (tmp_path / "a" / row.path).read_bytes()
        assert content == (tmp_path / "b" / row.path).read_bytes()
        assert content != (tmp_path / "c" / row.path).read_bytes()
    assert len(other) == 4


def test_bytes_do_not_follow_unwritten_memory(tmp_path):
    """Long enough for the encoder to use all that it can."""
    contents = []
    for fill in ("85", "170"):  # what the allocator fills blocks with
        program = (
            "from autox3d_tf.data import synthetic\n"
            f"synthetic.write_synthetic({str(tmp_path / fill)!r}, "
            "frames=32, size=48, clips_per_class=3)"
        )
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "MALLOC_PERTURB_": fill},
            check=True,
        )
        paths = sorted((tmp_path / fill).glob("*/*.mp4"))
        contents.append([path.read_bytes() for path in paths])
    assert len(contents[0]) == 12
    assert contents[0] == contents[1]


def test_manifest_says_what_the_files_hold(clips):
    assert clips.classes == ("left", "right", "up")
    assert clips.count() == {"left": 4, "right": 4, "up": 4}
    for row in clips.rows[::5]:
        info = decoding.probe(clips.absolute_path(row))
        assert (info.frames, info.height, info.width) == (
            row.frames,
            row.height,
            row.width,
        )
        assert info.fps == row.fps
    assert [row.fold for row in clips.rows[:4]] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "options, message",
    [
        ({"num_classes": 9}, "num_classes=9"),
        ({"num_classes": 17, "kind": "pairs"}, "num_classes=17"),
        ({"speed": 0.0}, "speed=0.0"),
        ({"kind": "triples"}, "kind='triples'"),
        ({"size": 33}, "size=33"),
        ({"frames": 1}, "frames=1"),
        ({"clips_per_class": 0}, "clips_per_class=0"),
    ],
)
def test_impossible_requests_are_refused(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        synthetic.write_synthetic(tmp_path, **options)


def test_a_folder_with_other_clips_is_refused(tmp_path):
    def write(clips_per_class):
        return synthetic.write_synthetic(
            tmp_path, num_classes=2, clips_per_class=clips_per_class, frames=2,
            size=16,
        )  # fmt: skip

    assert write(2) == write(2)
    with pytest.raises(ValueError, match="with 2 others, such as left/left_00"):
        write(1)
    assert len(list(tmp_path.rglob("*.mp4"))) == 4


def test_varied_noise_differs_from_clip_to_clip(tmp_path):
    arguments = dict(num_classes=2, clips_per_class=4, frames=4, size=16)

    def roughness(name, **noise):
        manifest = synthetic.write_synthetic(
            tmp_path / name, **arguments, **noise
        )
        clips = [
            decoding.decode_frames(tmp_path / name / row.path)
            for row in manifest.rows
        ]
        return [float(np.abs(np.diff(c.astype(int), axis=0)).mean())
                for c in clips]  # fmt: skip

    even = roughness("even", noise=60)
    varied = roughness("varied", noise=60, noise_power=1)
    assert np.ptp(varied) > 3 * np.ptp(even)
    assert max(varied) < 1.1 * max(even)
    # The same clips, all of them easier.
    mostly_easy = roughness("mostly_easy", noise=60, noise_power=3)
    assert all(np.less(mostly_easy, varied))
