import numpy as np
import pytest

from autox3d_tf.data import decoding, synthetic


def draw_many(per_class, num_classes, seed=0, frames=8, size=32):
    names = tuple(synthetic.MOTIONS)[:num_classes]
    return [
        synthetic.draw_clip(
            name,
            np.random.default_rng([seed, number, index]),
            frames=frames,
            size=size,
        )
        for index in range(per_class)
        for number, name in enumerate(names)
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


def test_single_frames_tell_nothing():
    num_classes, per_class = 8, 150
    clips = draw_many(per_class, num_classes)
    labels = np.tile(np.arange(num_classes), per_class)
    middle = np.array([clip[4, ::2, ::2].ravel() for clip in clips], float)
    accuracy = ridge_accuracy(middle, labels, num_classes, num_train=800)
    # Chance is 1/8; 400 test clips have a standard deviation of 0.017 there.
    assert accuracy <= 1.3 / 8, accuracy
    # The same test does find a class that a frame gives away, faintly.
    hinted = middle.copy()
    hinted[np.arange(len(labels)), labels] += 60
    assert ridge_accuracy(hinted, labels, num_classes, num_train=800) > 0.25


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
            clip = synthetic.draw_clip(name, rng, frames=24, size=64)
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
        ({"size": 33}, "size=33"),
        ({"frames": 1}, "frames=1"),
    ],
)
def test_impossible_requests_are_refused(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        synthetic.write_synthetic(tmp_path, **options)


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
