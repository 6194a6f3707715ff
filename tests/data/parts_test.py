import dataclasses
import itertools

import numpy as np
import pytest

from autox3d_tf.data import manifest as manifest_lib
from autox3d_tf.data import options as options_lib
from autox3d_tf.data import parts, sources


def make_manifest(counts, **fields):
    rows = tuple(
        manifest_lib.ClipRow(
            path=f"{label}/{i}.mp4", label=label, frames=9, **fields
        )
        for label, count in counts.items()
        for i in range(count)
    )
    return manifest_lib.Manifest("/none", rows, tuple(sorted(counts)))


def paths(manifest):
    return {row.path for row in manifest.rows}


def test_held_out_share_of_each_class():
    manifest = make_manifest({"a": 20, "b": 10, "c": 2, "d": 1})
    options = options_lib.DataOptions(source="x", val_fraction=0.2)
    train = parts.select_part(manifest, options, "train")
    val = parts.select_part(manifest, options, "val")
    assert val.count() == {"a": 4, "b": 2, "c": 1, "d": 0}
    assert not paths(train) & paths(val)
    assert paths(train) | paths(val) == paths(manifest)
    assert train.classes == val.classes == manifest.classes


def test_held_out_clips_do_not_depend_on_order():
    manifest = make_manifest({"a": 20, "b": 10})
    turned = dataclasses.replace(manifest, rows=manifest.rows[::-1])
    assert parts.held_out_paths(manifest, 0.2) == parts.held_out_paths(
        turned, 0.2
    )


def test_groups_stay_together():
    manifest = make_manifest({"a": 30, "b": 30})
    rows = tuple(
        dataclasses.replace(row, group=f"scene{i % 6}")
        for i, row in enumerate(manifest.rows)
    )
    manifest = dataclasses.replace(manifest, rows=rows)
    chosen = parts.held_out_paths(manifest, 0.3)
    groups = {row.group for row in rows if row.path in chosen}
    assert len(groups) == 2  # 0.3 of 6 scenes
    assert chosen == {row.path for row in rows if row.group in groups}


def grouped(groups):
    """Two clips of each label that a group has."""
    rows = tuple(
        manifest_lib.ClipRow(
            path=f"{group}/{label}{i}.mp4", label=label, group=group, frames=9
        )
        for group, labels in groups.items()
        for label in labels
        for i in range(2)
    )
    return manifest_lib.Manifest("/none", rows, ("a", "b", "c"))


def test_what_is_held_out_does_not_depend_on_where_the_list_lies():
    manifest = make_manifest({"a": 20, "b": 10})
    rows = [
        dataclasses.replace(row, sha256=f"{number:064x}")
        for number, row in enumerate(manifest.rows)
    ]
    moved = [
        dataclasses.replace(row, path=f"../../clips/{row.path}") for row in rows
    ]
    here, there = (
        dataclasses.replace(manifest, rows=tuple(each))
        for each in (rows, moved)
    )
    assert here.fingerprint == there.fingerprint != manifest.fingerprint
    for choose in (
        lambda manifest: parts._split(manifest, 0.2)[1],
        lambda manifest: parts.few_per_class(manifest, 3, 0),
    ):
        held_out = [
            {row.sha256 for row in choose(manifest).rows}
            for manifest in (here, there)
        ]
        assert held_out[0] == held_out[1] != set()


def test_groups_of_one_class_are_a_share_of_it():
    manifest = grouped({f"{n}{label}": label for label in "abc" for n in "012"})
    chosen = parts.held_out_paths(manifest, 0.2)
    held_out = parts._only(manifest, chosen)
    assert held_out.count() == {"a": 2, "b": 2, "c": 2}
    manifest = grouped({label: label for label in "abc"})
    assert not parts.held_out_paths(manifest, 0.2)  # none would be left


@pytest.mark.parametrize("seed", [0, 1, 2, 10, 11])  # the last lack c at first
def test_groups_of_some_classes_leave_each_class_a_clip(seed):
    rng = np.random.default_rng(seed)
    groups = {
        f"{seed}/{n}": rng.choice(list("abc"), rng.integers(1, 4), False)
        for n in range(9)
    }
    manifest = grouped({**groups, "x": "ab", "y": "bc", "z": "ca"})
    chosen = parts.held_out_paths(manifest, 0.3)
    train, val = parts._split(manifest, 0.3)
    assert chosen == paths(val)
    assert not {row.group for row in train.rows} & {r.group for r in val.rows}
    assert min(train.count().values()) > 0 and min(val.count().values()) > 0


def test_no_class_gives_its_last_group_for_another():
    """All groups of a are also of b or c, which have one more each."""
    labels = ("ab", "ac", "b", "c")
    for names in itertools.permutations("wxyz"):  # the hash says who is first
        manifest = grouped(dict(zip(names, labels, strict=True)))
        train, val = parts._split(manifest, 0.3)
        assert min(train.count().values()) > 0
        assert val.count()["b"] == val.count()["c"] == 2


def test_own_splits_come_before_holding_out():
    train = make_manifest({"a": 3}, split="train")
    val = make_manifest({"b": 2}, split="val")
    manifest = manifest_lib.Manifest("/", train.rows + val.rows, ("a", "b"))
    options = options_lib.DataOptions(source="x")
    assert len(parts.select_part(manifest, options, "train")) == 3
    assert len(parts.select_part(manifest, options, "val")) == 2
    with pytest.raises(ValueError, match="Received: part='test'"):
        parts.select_part(manifest, options, "test")
    none = make_manifest({"a": 3})
    with pytest.raises(ValueError, match="splits none.*or take 'val'"):
        parts.select_part(none, options, "test")


def test_splits_may_have_any_of_their_usual_names():
    train = make_manifest({"a": 3}, split="Training")
    val = make_manifest({"b": 2}, split="validation")
    manifest = manifest_lib.Manifest("/", train.rows + val.rows, ("a", "b"))
    options = options_lib.DataOptions(source="x")
    assert parts.select_part(manifest, options, "train").rows == train.rows
    assert parts.select_part(manifest, options, "val").rows == val.rows
    named = options_lib.DataOptions(source="x", train_splits=("train",))
    assert parts.select_part(manifest, named, "train").rows == train.rows


def test_clips_to_test_are_told_from_those_to_validate():
    val = make_manifest({"a": 3}, split="val")
    other = make_manifest({"b": 2}, split="eval")  # in file names, it is val
    manifest = manifest_lib.Manifest("/", val.rows + other.rows, ("a", "b"))
    options = options_lib.DataOptions(
        source="x", val_splits=("val",), test_splits=("eval",)
    )
    assert parts.select_part(manifest, options, "val").rows == val.rows
    assert parts.select_part(manifest, options, "test").rows == other.rows


def test_a_list_for_validation_only_is_all_of_it():
    manifest = make_manifest({"a": 3}, split="validation")
    options = options_lib.DataOptions(source="x")
    assert parts.select_part(manifest, options, "val").rows == manifest.rows
    with pytest.raises(ValueError, match=r"splits \['val'\]. Name"):
        parts.select_part(manifest, options, "train")


def test_two_names_of_a_split_are_the_same():
    with pytest.raises(ValueError, match="must not overlap"):
        options_lib.DataOptions(
            source="x", train_splits=("train",), val_splits=("training",)
        )


@pytest.mark.parametrize("part", ["train", "val"])
def test_splits_that_mean_nothing_are_not_thrown_together(part):
    day = make_manifest({"a": 3}, split="day")
    val = make_manifest({"b": 2}, split="val")
    manifest = manifest_lib.Manifest("/", day.rows + val.rows, ("a", "b"))
    options = options_lib.DataOptions(source="x")
    with pytest.raises(ValueError, match=r"splits \['day', 'val'\]. Name"):
        parts.select_part(manifest, options, part)


def test_naming_one_part_only_is_refused_for_the_others():
    manifest = make_manifest({"a": 3}, fold=0)
    options = options_lib.DataOptions(source="x", train_folds=(0,))
    with pytest.raises(ValueError, match="without val_.*while train have"):
        parts.select_part(manifest, options, "val")


def test_few_clips_of_each_class_are_nested_and_train_only():
    train, seen = make_manifest({"a": 8, "b": 8, "c": 2}, fold=0), []
    tests = [
        dataclasses.replace(train.rows[0], path=f"a/test{n}.mp4", fold=1)
        for n in range(2)
    ]
    manifest = dataclasses.replace(train, rows=(*train.rows, *tests))
    for count in (1, 3, 5, None):
        options = options_lib.DataOptions(
            source="x",
            train_folds=(0,),
            test_folds=(1,),
            clips_per_class=count,
        )
        few = parts.select_part(manifest, options, "train")
        seen.append(paths(few))
        most = count or 8
        assert few.count() == {"a": most, "b": most, "c": min(2, most)}
        assert len(parts.select_part(manifest, options, "test")) == 2
    for fewer, more in itertools.pairwise(seen):
        assert fewer < more
    other = parts.few_per_class(train, 3, seed=1)
    assert paths(other) != seen[1]


def test_halves_are_disjoint_and_balanced():
    counts = {"a": 7, "b": 9, "c": 4, "d": 1}
    source = sources.VideoSource(make_manifest(counts))
    weights, logits = parts.halve(source, seed=3)
    assert not paths(weights.manifest) & paths(logits.manifest)
    assert len(weights) + len(logits) == 21
    # The only d goes to the first, then odd clips in turn: 3 + 4, then 5 + 4.
    assert weights.manifest.count() == {"a": 3, "b": 5, "c": 2, "d": 1}
    assert logits.manifest.count() == {"a": 4, "b": 4, "c": 2, "d": 0}


def test_groups_are_not_divided_between_halves():
    rng = np.random.default_rng(0)
    rows = [
        manifest_lib.ClipRow(
            path=f"{group}_{number}",
            label="abc"[rng.integers(3)],
            group=f"g{group}",
            frames=9,
        )
        for group in range(12)
        for number in range(4 + 2 * group)
    ]
    whole = manifest_lib.Manifest("", tuple(rows), ("a", "b", "c"))
    first, second = parts.halve(sources.VideoSource(whole), seed=0)
    groups = [{r.group for r in half.manifest.rows} for half in (first, second)]
    assert not groups[0] & groups[1] and len(groups[0] | groups[1]) == 12
    for name, count in whole.count().items():
        one, other = (h.manifest.count()[name] for h in (first, second))
        assert one + other == count and abs(one - other) < 0.15 * count


def test_groups_of_each_class_are_in_both_halves():
    """By size 5 a, 4 b, 3 b, 2 a: in turn, one half would have all of a."""
    rows = tuple(
        manifest_lib.ClipRow(
            path=f"{group}/{n}", label=group[0], group=group, frames=9
        )
        for group, count in {"a1": 5, "b1": 4, "b2": 3, "a2": 2}.items()
        for n in range(count)
    )
    source = sources.VideoSource(manifest_lib.Manifest("", rows, ("a", "b")))
    for seed in range(3):
        for half in parts.halve(source, seed=seed):
            assert min(half.manifest.count().values()) > 0


def test_single_clips_make_good_what_a_large_group_upsets():
    rows = tuple(
        manifest_lib.ClipRow(
            path=f"{n}", label="a", group="large" if n > 5 else "", frames=9
        )
        for n in range(12)
    )
    source = sources.VideoSource(manifest_lib.Manifest("", rows, ("a",)))
    for seed in range(3):
        assert [len(half) for half in parts.halve(source, seed=seed)] == [6, 6]


def test_files_of_equal_content_are_not_divided_between_halves():
    rows = [
        manifest_lib.ClipRow(
            path=f"{n}", label="a", frames=9, sha256=f"{n % 5}"
        )
        for n in range(10)
    ]
    whole = manifest_lib.Manifest("", tuple(rows), ("a",))
    for seed in range(5):
        first, second = parts.halve(sources.VideoSource(whole), seed=seed)
        halves = [{r.sha256 for r in h.manifest.rows} for h in (first, second)]
        assert not halves[0] & halves[1] and len(halves[0] | halves[1]) == 5


def test_a_class_of_one_group_is_in_the_first_half():
    rows = [
        manifest_lib.ClipRow(path=f"{n}", label=label, group=group, frames=9)
        for n, (label, group) in enumerate(
            [("a", "x"), ("b", "x"), ("b", "x"), ("a", "y"), ("a", "z")]
        )
    ]
    source = sources.VideoSource(
        manifest_lib.Manifest("", tuple(rows), ("a", "b"))
    )
    for seed in range(5):
        first, second = parts.halve(source, seed=seed)
        assert first.manifest.count()["b"] == 2
        assert second.manifest.count()["a"] > 0
    with pytest.raises(ValueError, match="clips of two groups.*3 clips, 1 gr"):
        parts.halve(
            source.subset(
                manifest_lib.Manifest("", tuple(rows[:3]), ("a", "b"))
            ),
            seed=0,
        )


def test_halves_depend_on_the_seed():
    source = sources.VideoSource(make_manifest({"a": 20, "b": 20}))
    first = paths(parts.halve(source, seed=1)[0].manifest)
    assert first == paths(parts.halve(source, seed=1)[0].manifest)
    assert first != paths(parts.halve(source, seed=2)[0].manifest)


def test_nothing_to_halve():
    source = sources.VideoSource(make_manifest({"a": 1, "b": 1}))
    with pytest.raises(ValueError, match="2 clips, 2 groups or single"):
        parts.halve(source, seed=0)


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"clip_frames": 0}, "clip_frames=0"),
        ({"crop_size": 70}, r"short_side_range=\(64, 80\), crop_size=70"),
        ({"short_side_range": (80, 70)}, r"\(80, 70\)"),
        ({"sampling": "dens"}, "sampling='dens'"),
        ({"flip": "yes"}, "flip='yes'"),
        ({"hue": 0.6}, "hue=0.6"),
        ({"rand_augment": -1}, "rand_augment=-1"),
        ({"rand_magnitude": 11}, "rand_magnitude=11"),
        ({"erase": 1.5}, "erase=1.5"),
        ({"clips_per_class": 0}, "`clips_per_class` must be at least 1"),
        ({"rand_augment": 2, "auto_augment": True}, "rand_augment=2"),
        ({"shift": "much"}, "shift='much'"),
        ({"eval_short_side": 32}, "eval_short_side=32, eval_crop_size=64"),
        (
            {"eval_short_side": "most"},
            "at least 1, 'least' or None. Received: ",
        ),
        (
            {"eval_crop_size": -5},
            "`eval_crop_size` must be at least 1, or None",
        ),
        ({"crop_size": 64.0}, "`crop_size` must be a whole number"),
        ({"shift": float("nan")}, "`shift` must be finite"),
        ({"train_folds": (0, 1), "val_folds": (1,)}, r"Received: \[1\]"),
        ({"train_folds": (0, 1), "test_folds": (0,)}, r"Received: \[0\]"),
    ],
)
def test_options_refuse_nonsense(fields, message):
    with pytest.raises(ValueError, match=message):
        options_lib.DataOptions(source="x", **fields)


def test_evaluation_scales_to_the_crop_or_as_training_does():
    sides = {"crop_size": 160, "short_side_range": (182, 228)}
    options = options_lib.DataOptions(source="x", **sides)
    assert options.eval_size == (160, 160)
    options = dataclasses.replace(options, eval_short_side="least")
    assert options.eval_size == (182, 160)


def test_sources_refuse_clips_that_are_not_usable():
    manifest = make_manifest({"a": 2}, status="truncated")
    with pytest.raises(ValueError, match="'a/0.mp4' with status='truncated'"):
        sources.VideoSource(manifest)


def test_labels_are_class_numbers():
    source = sources.VideoSource(make_manifest({"a": 2, "b": 1}))
    np.testing.assert_array_equal(source.labels, [0, 0, 1])
    assert source.labels.dtype == np.int32
