"""Which clips train and which validate."""

import collections
import dataclasses
import hashlib
import itertools

import numpy as np
from absl import logging

from autox3d_tf.data import manifest as manifest_lib


def select_part(manifest, options, part: str) -> manifest_lib.Manifest:
    """Returns the rows of one part; see `open_source`."""
    selected = _select_part(manifest, options, part)
    if part == "train" and options.clips_per_class is not None:
        return few_per_class(
            selected, options.clips_per_class, options.clips_seed
        )
    return selected


def few_per_class(manifest, count: int, seed: int) -> manifest_lib.Manifest:
    """Returns at most `count` clips of each class, chosen by hash.

    With one seed, a larger count adds clips to those of a smaller one.
    """
    kept, ranked = set(), collections.defaultdict(list)
    for row in manifest.rows:
        digest = hashlib.sha256(f"{seed} {row.identity}".encode()).digest()
        ranked[row.label].append((digest, row.path))
    for members in ranked.values():
        kept.update(path for _, path in sorted(members)[:count])
    return _only(manifest, kept)


def _select_part(manifest, options, part):
    if part == "all":
        return manifest
    if options.named_parts:
        splits = getattr(options, f"{part}_splits") or None
        folds = getattr(options, f"{part}_folds") or None
        if splits is None and folds is None:
            named = " and ".join(options.named_parts)
            raise ValueError(
                f"`part` must be named in the options. Received: part={part!r} "
                f"without {part}_splits or {part}_folds, while {named} have "
                f"them. Give those to {part}, or take another part."
            )
        return manifest.select(splits=splits, folds=folds)
    own_splits = manifest.splits
    if is_own_split(part, own_splits):
        return manifest.select(splits=(part,))
    if part == "test" or "train" in own_splits:
        # Holding out of a given train split would change its meaning.
        named = sorted(own_splits - {""})
        held_out = "" if named else ", or take 'val', a share held out"
        raise ValueError(
            f"`part` must be a split of the data, or all. Received: "
            f"part={part!r}, splits {named or 'none'}. Name {part}_splits "
            f"or {part}_folds{held_out}."
        )
    if own_splits - {""}:  # one of them may be meant for validation
        raise ValueError(
            "The splits of the data must be 'train', 'val' and 'test', or be "
            f"named. Received: splits {sorted(own_splits)}. Name train_splits "
            "and val_splits, or train_folds and val_folds."
        )
    return _split(manifest, options.val_fraction)[part == "val"]


def is_own_split(part: str, splits: set[str]) -> bool:
    """Whether the data itself says what belongs to a part.

    It does if that is all there is, such as a list for validation only.
    """
    return part in splits and ("train" in splits or splits == {part})


def _split(manifest, fraction: float):
    """Returns the rows that are not held out, and those that are."""
    held_out = held_out_paths(manifest, fraction)
    rest = {row.path for row in manifest.rows} - held_out
    return _only(manifest, rest), _only(manifest, held_out)


def _only(manifest, paths: set[str]) -> manifest_lib.Manifest:
    """Returns the rows of these paths, in their order."""
    rows = tuple(row for row in manifest.rows if row.path in paths)
    return dataclasses.replace(manifest, rows=rows)


def held_out_paths(manifest, fraction: float) -> set[str]:
    """Returns the paths of a share of each class, chosen by hash.

    Clips of one group stay together; a class keeps at least one clip (or
    group) for training, and gives at least one if it has two, unless its
    groups are all that another class has left.
    """
    members, labels_of = collections.defaultdict(list), {}
    for row in manifest.rows:
        members[row.unit].append(row.path)
        labels_of.setdefault(row.unit, set()).add(row.label)
    total = collections.Counter(itertools.chain(*labels_of.values()))
    wanted = {
        label: min(count - 1, max(1, round(fraction * count)))
        for label, count in total.items()
    }
    names = sorted(
        members, key=lambda name: hashlib.sha256(name.encode()).digest()
    )
    chosen, given = [], collections.Counter()
    for name in names:
        if all(given[label] < wanted[label] for label in labels_of[name]):
            chosen.append(name)
            given.update(labels_of[name])
    # A group of several classes is passed over once one of them has given its
    # share; another may have given nothing by then.
    for name in names:
        labels = labels_of[name]
        lacking = any(wanted[label] and not given[label] for label in labels)
        if lacking and all(given[label] < total[label] - 1 for label in labels):
            chosen.append(name)
            given.update(labels)
    return {path for name in chosen for path in members[name]}


def halve(source, seed: int):
    """Returns two sources that share no clip and balance every class.

    A search learns weights on the first and architectures on the second. Clips
    of one group stay together; a class's only clip (or group) goes to the
    first half.
    """
    manifest, labels = source.manifest, source.manifest.labels
    units: dict[str, list[int]] = {}
    for place, row in enumerate(manifest.rows):
        units.setdefault(row.unit, []).append(place)
    in_class = np.bincount(source.labels, minlength=len(source.classes))
    alone = {
        unit: [
            source.classes[label]
            for label, count in collections.Counter(
                labels[place] for place in places
            ).items()
            if count == in_class[label]
        ]
        for unit, places in units.items()
    }
    for name in sorted(itertools.chain(*alone.values())):
        logging.warning(
            "Class %r has a single clip or group: only the first half has it.",
            name,
        )
    # The largest are dealt out first: the small ones make good what they upset.
    # Single clips go class by class, so that odd ones end in turn.
    order = list(units)
    np.random.default_rng([seed, 0x4A1F]).shuffle(order)
    order.sort(
        key=lambda unit: (
            not alone[unit],
            -len(units[unit]),
            labels[units[unit][0]],
        )
    )
    first = np.zeros(len(labels), bool)
    lead = collections.Counter()  # of the first half, in clips of a class
    for unit in order:
        places = units[unit]
        surplus = sum(lead[labels[place]] for place in places) or lead.total()
        first[places] = bool(alone[unit]) or surplus <= 0
        for place in places:
            lead[labels[place]] += 1 if first[place] else -1
    if first.all():
        raise ValueError(
            "`source` must have a class with clips of two groups, or two clips "
            f"without a group, to be halved. Received: {len(labels)} clips, "
            f"{len(units)} groups or single clips, of {len(source.classes)} "
            "classes."
        )
    halves = []
    for mask in (first, ~first):
        rows = tuple(manifest.rows[i] for i in np.flatnonzero(mask))
        halves.append(source.subset(dataclasses.replace(manifest, rows=rows)))
    return tuple(halves)


def check_classes(source) -> None:
    """Refuses clips that cannot teach anything."""
    counts = source.manifest.count()
    usable = [name for name, count in counts.items() if count]
    if len(usable) < 2:
        raise ValueError(
            "Training and search need clips of at least two classes. Received: "
            f"usable clips of {usable or 'none'}, out of {len(counts)} classes."
        )
