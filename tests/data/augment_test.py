import numpy as np
import pytest
import tensorflow as tf

from autox3d_tf.data import augment, transforms
from autox3d_tf.data import options as options_lib


def noise(frames=3, size=16, seed=0):
    rng = np.random.default_rng(seed)
    return rng.uniform(0, 255, (frames, size, size, 3)).astype(np.float32)


def still(**shape):
    return np.repeat(noise(1, **shape), 3, axis=0)


AUGMENTS = {
    "rand": lambda clip, seed: augment.rand_augment(clip, seed, 2, 9.0),
    "auto": augment.auto_augment,
    "erase": lambda clip, seed: augment.erase(clip, seed, 0.9),
}


@pytest.mark.parametrize("name", AUGMENTS)
def test_eagerly_and_in_a_dataset_alike_and_all_frames_too(name):
    clip, seeds = still(), [(number, 5) for number in range(40)]
    seeds = np.array(seeds, np.int32)
    dataset = tf.data.Dataset.from_tensor_slices(seeds)
    dataset = dataset.map(lambda seed: AUGMENTS[name](clip, seed))
    assert dataset.element_spec.shape == clip.shape
    kinds = set()
    for seed, mapped in zip(seeds, dataset.as_numpy_iterator(), strict=True):
        eager = AUGMENTS[name](clip, seed)
        np.testing.assert_allclose(mapped, eager, atol=1e-3)
        np.testing.assert_array_equal(mapped, mapped[:1].repeat(3, 0))
        kinds.add(float(mapped.sum()))
    assert len(kinds) > 10  # of 40, some draw what changes nothing


@pytest.mark.parametrize("name", augment.OPERATIONS)
def test_each_operation_keeps_the_range(name):
    for level, sign in ((0.0, 1.0), (1.0, 1.0), (1.0, -1.0)):
        found = augment.OPERATIONS[name](
            tf.constant(noise()), tf.constant(level), tf.constant(sign)
        )
        assert found.shape == (3, 16, 16, 3)
        assert float(tf.reduce_min(found)) >= -0.001
        assert float(tf.reduce_max(found)) <= 255.001


@pytest.mark.parametrize(
    "name", [n for n in augment.OPERATIONS if "_" in n or n == "rotate"]
)
def test_level_0_changes_no_place(name):
    found = augment.OPERATIONS[name](tf.constant(noise()), 0.0, -1.0)
    np.testing.assert_allclose(found, noise(), atol=1e-3)


def test_a_policy_applies_its_pair_in_order_and_by_chance(monkeypatch):
    """Never inverted, then solarized from 128 on half of the time."""
    policy = ((("invert", 0.0, 0), ("solarize", 0.5, 5)),)
    monkeypatch.setattr(augment, "AUTO_POLICY", policy)
    clip = np.full((1, 2, 2, 3), 200, np.float32)
    levels = [
        float(augment.auto_augment(clip, (number, 3))[0, 0, 0, 0])
        for number in range(60)
    ]
    assert set(levels) == {200.0, 55.0}
    assert 18 <= levels.count(55.0) <= 42  # 30 expected, deviation 3.9


def test_both_of_a_pair_are_drawn_apart_and_so_are_their_signs(monkeypatch):
    policy = ((("brightness", 0.5, 2), ("contrast", 0.5, 9)),)
    monkeypatch.setattr(augment, "AUTO_POLICY", policy)
    clip = np.full((1, 4, 4, 3), 80.0, np.float32)
    clip[:, 2:] = 120.0
    seen = set()
    for number in range(48):
        found = augment.auto_augment(clip, (number, 3)).numpy()
        # 100, 118 or 82; apart by 40 % of that times 1, or 1.81 or 0.19.
        middle, apart = found.mean(), found[0, 3, 0, 0] - found[0, 0, 0, 0]
        seen.add((round(float(middle)), round(float(100 * apart / middle))))
    assert seen == {(m, a) for m in (82, 100, 118) for a in (8, 40, 72)}


def test_levels_of_a_policy_are_tenths(monkeypatch):
    policy = ((("solarize", 1.0, 5), ("identity", 0.0, 0)),)
    monkeypatch.setattr(augment, "AUTO_POLICY", policy)
    clip = np.float32([127, 129]).repeat(6).reshape(1, 2, 2, 3)
    found = augment.auto_augment(clip, (0, 3))[0, :, 0, 0]
    np.testing.assert_array_equal(found, [127, 126])  # inverted from 128 on


def test_every_operation_is_drawn():
    """1400 draws, each of the 14 operations about 100 times."""
    clip = noise(1, 4)
    names, results = [], []
    for name in augment.RAND_OPERATIONS:
        for sign in (-1.0, 1.0):
            names.append(name)
            operation = augment.OPERATIONS[name]
            results.append(operation(tf.constant(clip), 0.9, sign).numpy())
    seeds = np.stack([np.arange(1400), np.zeros(1400)], 1).astype(np.int32)
    dataset = tf.data.Dataset.from_tensor_slices(seeds).map(
        lambda seed: augment.rand_augment(clip, seed, 1, 9.0)
    )
    drawn = []
    for found in dataset.as_numpy_iterator():
        distances = np.abs(np.stack(results) - found).max((1, 2, 3, 4))
        assert distances.min() < 0.01
        drawn.append(names[distances.argmin()])
    counts = [drawn.count(name) for name in augment.RAND_OPERATIONS]
    assert min(counts) > 65 and max(counts) < 135  # standard deviation 10


def test_no_operation_and_no_magnitude():
    found = augment.rand_augment(noise(), (0, 0), 0, 9.0)
    np.testing.assert_array_equal(found, noise())


def test_policy_names_operations_and_levels():
    assert len(augment.AUTO_POLICY) == 25  # as in the paper's table
    for pair in augment.AUTO_POLICY:
        for name, probability, level in pair:
            assert name in augment.OPERATIONS
            assert 0 <= probability <= 1 and 0 <= level <= 9


def test_erased_rectangle():
    clip = np.full((2, 20, 30, 3), 9.0, np.float32)  # noise never reaches 9
    shares, erased = [], 0
    for number in range(200):
        found = augment.erase(clip, (number, 1), 0.5).numpy()
        hidden = (found != 9.0).all(-1)
        np.testing.assert_array_equal(hidden[0], hidden[1])
        np.testing.assert_array_equal(found[0], found[1])
        rows, columns = hidden[0].any(1), hidden[0].any(0)
        # A rectangle: all of its rows times all of its columns.
        np.testing.assert_array_equal(hidden[0], rows[:, None] & columns)
        if hidden.any():
            erased += 1
            shares.append(hidden[0].mean())
    assert 70 <= erased <= 130  # 100 expected, standard deviation 7
    assert 0.01 < min(shares) < 0.06 and 0.28 < max(shares) < 0.36


def test_what_is_erased_lies_or_stands():
    clip = np.full((1, 40, 40, 3), 9.0, np.float32)
    lying = 0
    for number in range(60):
        hidden = augment.erase(clip, (number, 1), 1.0).numpy()[0, ..., 0] != 9.0
        rows, columns = hidden.any(1).sum(), hidden.any(0).sum()
        assert 0.25 < rows / columns < 4.0  # 0.3 to 3.3, and whole pixels
        lying += rows < columns
    assert 18 <= lying <= 42  # 30 expected, standard deviation 3.9


def test_erasing_never_and_always():
    clip = np.full((1, 8, 8, 3), 9.0, np.float32)
    for number in range(10):
        never = augment.erase(clip, (number, 0), 0.0)
        np.testing.assert_array_equal(never, clip)
        assert (augment.erase(clip, (number, 0), 1.0).numpy() != clip).any()


def batch(size=4, classes=3):
    clips = np.stack([noise(2, 8, seed) for seed in range(size)])
    labels = np.eye(classes, dtype=np.float32)[np.arange(size) % classes]
    return clips, labels


def test_mixup_adds_clips_and_targets_in_one_share():
    clips, targets = batch()
    mixed, shares = augment.mix(clips, targets, (1, 2), mixup=0.4)
    # Targets of clips 1 and 2, classes 1 and 2, tell the share.
    share = float(shares[1][1])
    assert 0 <= share <= 1
    np.testing.assert_allclose(shares[1], [0, share, 1 - share], atol=1e-6)
    np.testing.assert_allclose(
        mixed, share * clips + (1 - share) * np.roll(clips, -1, 0), rtol=1e-4
    )


def test_cutmix_counts_the_pixels():
    clips, targets = batch()
    places = set()
    for number in range(30):
        mixed, shares = augment.mix(clips, targets, (number, 0), cutmix=1.0)
        own = (mixed.numpy() == clips).all(-1)  # (B, T, H, W)
        np.testing.assert_array_equal(
            own, np.broadcast_to(own[0, 0], own.shape)
        )
        partner = (mixed.numpy() == np.roll(clips, -1, 0)).all(-1)
        assert (own | partner).all()
        share = own[0, 0].mean()
        np.testing.assert_allclose(shares[1], [0, share, 1 - share], atol=1e-6)
        places.add(own[0, 0].tobytes())
    assert len(places) > 15


def test_cutmix_draws_the_area_not_the_side():
    """The share that stays is from Beta(1, 1): on average a half."""
    clips, targets = np.zeros((2, 1, 16, 16, 3), np.float32), np.eye(2)
    shares = [
        float(augment.mix(clips, targets, (number, 0), cutmix=1.0)[1][0, 0])
        for number in range(100)
    ]
    assert 0.4 < np.mean(shares) < 0.6  # deviation 0.03


def test_mixing_by_both_takes_turns():
    clips, targets = batch()
    cut = 0
    for number in range(60):
        mixed, shares = augment.mix(
            clips, targets, (number, 3), mixup=1.0, cutmix=1.0
        )
        np.testing.assert_allclose(tf.reduce_sum(shares, 1), 1.0, rtol=1e-5)
        values = mixed.numpy()
        cut += bool(
            ((values == clips) | (values == np.roll(clips, -1, 0))).all()
        )
    assert 15 <= cut <= 45  # 30 expected, standard deviation 4


def test_the_seed_decides_how_clips_mix():
    draws = [
        augment.mix(*batch(), seed, mixup=1.0)[1].numpy()[1]
        for seed in ((0, 1), (0, 1), (0, 2), (1, 1))
    ]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert len({tuple(draw) for draw in draws}) == 3


def test_mixing_in_a_dataset():
    clips, targets = batch()
    dataset = tf.data.Dataset.from_tensors((clips, targets)).map(
        lambda c, t: augment.mix(c, t, (1, 2), mixup=0.4, cutmix=1.0)
    )
    ((mixed, shares),) = dataset.as_numpy_iterator()
    expected = augment.mix(clips, targets, (1, 2), mixup=0.4, cutmix=1.0)
    np.testing.assert_allclose(mixed, expected[0], rtol=1e-5)
    np.testing.assert_allclose(shares, expected[1], rtol=1e-5)


@pytest.mark.parametrize("alphas", [{"mixup": 1.0}, {"cutmix": 1.0}])
def test_every_clip_of_an_odd_batch_is_mixed(alphas):
    clips, targets = batch(3)
    _, shares = augment.mix(clips, targets, (1, 2), **alphas)
    assert (np.diagonal(shares) < 1).all()


def test_no_mixing_and_bad_alphas():
    clips, targets = batch()
    same = augment.mix(clips, targets, (0, 0))
    np.testing.assert_array_equal(same[0], clips)
    with pytest.raises(ValueError, match="Received: cutmix=-1"):
        augment.mix(clips, targets, (0, 0), cutmix=-1)


@pytest.mark.parametrize("alpha", [0.01, 1.0, 8.0])
def test_shares_are_numbers_for_small_alphas_too(alpha):
    shares = [float(augment._beta((n, 0), alpha)) for n in range(200)]
    assert np.isfinite(shares).all() and 0.4 < np.mean(shares) < 0.6
    deviation = 0.5 / np.sqrt(2 * alpha + 1)  # of Beta(alpha, alpha)
    assert np.std(shares) == pytest.approx(deviation, rel=0.15)


@pytest.mark.parametrize(
    "fields",
    [{"rand_augment": 2}, {"auto_augment": True}, {"erase": 1.0}],
    ids=str,
)
def test_options_augment_training_clips(fields):
    shape = {"crop_size": 16, "short_side_range": (16, 16)}
    plain = options_lib.DataOptions(source="x", **shape)
    options = options_lib.DataOptions(source="x", **shape, **fields)
    frames = np.repeat(noise(1, 24), 3, 0).astype(np.uint8)
    seeds = np.array([(number, 1) for number in range(8)], np.int32)
    dataset = tf.data.Dataset.from_tensor_slices(seeds).map(
        lambda seed: transforms.train_clip(frames, seed, options, False)
    )
    changed = 0
    for seed, mapped in zip(seeds, dataset.as_numpy_iterator(), strict=True):
        clip = transforms.train_clip(frames, seed, options, False)
        same = transforms.train_clip(frames, seed, plain, False)
        np.testing.assert_allclose(mapped, clip, atol=1e-4)
        # Kernels round the last bit by where in memory a value is.
        np.testing.assert_allclose(clip[1:], clip[:-1], atol=1e-6)
        changed += bool(np.abs(clip - same).max() > 0.01)
    assert changed >= 4


def test_what_is_erased_is_noise_as_networks_see_it():
    options = options_lib.DataOptions(
        source="x", crop_size=32, short_side_range=(32, 32), erase=1.0
    )
    frames = np.full((2, 32, 32, 3), 100, np.uint8)
    values = []
    for number in range(10):
        clip = transforms.train_clip(frames, (number, 0), options, False)
        plain = transforms.normalize(frames)
        values.append(clip.numpy()[np.abs(clip - plain) > 1e-3])
    values = np.concatenate(values)
    assert abs(values.mean()) < 0.1 and 0.9 < values.std() < 1.1


def test_as_many_operations_as_strong_as_is_asked_for(monkeypatch):
    seen = []

    def watched(clip, seed, *how):
        seen.append(how)
        return clip

    monkeypatch.setattr(augment, "rand_augment", watched)
    options = options_lib.DataOptions(
        source="x", crop_size=16, short_side_range=(16, 16),
        rand_augment=3, rand_magnitude=4.0,
    )  # fmt: skip
    transforms.train_clip(still(), (0, 0), options, False)
    assert seen == [(3, 4.0)]
