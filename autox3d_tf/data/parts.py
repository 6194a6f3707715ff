"""Which clips train, which validate, and which may be mirrored."""

import collections
import hashlib
import itertools
import re

import numpy as np
from absl import logging

from autox3d_tf.data import manifest as manifest_lib

# What a mirror turns these into where they begin or end a word.
_AFFIXES = {
    "left": "right",
    "links": "rechts",
    "gauche": "droite",
    "izquierd": "derech",  # -a, -o
    "clockwise": "counterclockwise",
    "cw": "ccw",
}
# And these where they are the whole of it.
_WHOLE = {
    "l": "r",
    "lh": "rh",
    "lhs": "rhs",
    "lr": "rl",
    "ltr": "rtl",
    "east": "west",
}
_MIRRORED = _AFFIXES | _WHOLE
_MIRRORED |= {there: here for here, there in _MIRRORED.items()}
_ENDS, _ALL = (
    "|".join(itertools.chain(*pairs.items())) for pairs in (_AFFIXES, _WHOLE)
)
_DIRECTION = re.compile(f"^(?:{_ENDS})|(?:{_ENDS})$|^(?:{_ALL})$")
# Words that name a direction beside their mirror image only, as upright does
# beside upleft.
_ORDINARY = {
    "alright", "aright", "birthright", "blinks", "bright", "cleft", "copyleft",
    "copyright", "downright", "forthright", "fright", "leftist", "leftover",
    "leftovers", "outright", "playwright", "rightful", "rightfully",
    "righteous", "rightist", "rightly", "upright", "wright",
}  # fmt: skip


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
        raise ValueError(
            f"`part` must be a split of the data, or all. Received: "
            f"part={part!r}, splits {sorted(own_splits)}. Name {part}_splits "
            f"or {part}_folds."
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
    return manifest_lib.Manifest(manifest.root, rows, manifest.classes)


def hold_out(source, fraction: float):
    """Returns two sources: most clips, and a share of them, chosen by hash."""
    return tuple(map(source.subset, _split(source.manifest, fraction)))


def held_out_paths(manifest, fraction: float) -> set[str]:
    """Returns the paths of a share of each class, chosen by hash.

    Clips of one group stay together; a class keeps at least one clip (or
    group) for training, and gives at least one if it has two, unless its
    groups are all that another class has left.
    """
    members, labels_of = collections.defaultdict(list), {}
    for row in manifest.rows:
        unit = row.group or row.identity
        members[unit].append(row.path)
        labels_of.setdefault(unit, set()).add(row.label)
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
        units.setdefault(row.group or row.path, []).append(place)
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
        half = manifest_lib.Manifest(manifest.root, rows, manifest.classes)
        halves.append(source.subset(half))
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


def directional_labels(classes) -> list[str]:
    """Returns the labels that a mirror image would make wrong.

    >>> directional_labels(["from left to right", "leftover", "turnleft"])
    ['from left to right', 'turnleft']
    """
    words = [_words(name) for name in classes]
    images = _mirror_images(words)
    return [
        name
        for name, own in zip(classes, words, strict=True)
        if images.keys() & set(own)
    ]


def mirrored_classes(classes) -> np.ndarray:
    """Returns the class number of each class's mirror image, int32.

    A class that names no direction stays itself; -1 stands for one that does
    and whose counterpart is not among the classes.

    >>> mirrored_classes(["turn left", "turn right", "up", "east"]).tolist()
    [1, 0, 2, -1]
    """
    words = [_words(name) for name in classes]
    images = _mirror_images(words)
    number = {key: place for place, key in enumerate(words)}
    mirrored = np.arange(len(words), dtype=np.int32)
    for place, own in enumerate(words):
        if images.keys() & set(own):
            turned = tuple(images.get(word, word) for word in own)
            mirrored[place] = number.get(turned, -1)
    return mirrored


def _mirror_images(labels) -> dict[str, str]:
    """Returns what the words of all labels that name a direction become."""
    turned = {
        word: _DIRECTION.sub(lambda found: _MIRRORED[found[0]], word)
        for word in itertools.chain(*labels)
    }
    return {
        word: image
        for word, image in turned.items()
        if image != word and (word not in _ORDINARY or image in turned)
    }


def _words(label: str) -> tuple[str, ...]:
    """Returns words in lower case; counterclockwise is said in two ways only.

    >>> _words("SwipeLeft2_anti-clockwise")
    ('swipe', 'left', '2', 'counterclockwise')
    >>> _words("LHand circlecc")
    ('l', 'hand', 'circleccw')
    """
    text = re.sub(
        "(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", label
    ).lower()
    text = re.sub(r"(?:anti|counter)[\W_]*clockwise", "counterclockwise", text)
    text = re.sub(r"(?:cc|acw)(?![^\W\d_])", "ccw", text)
    return tuple(re.findall(r"[^\W\d_]+|\d+", text))


def resolve_flip(options, classes) -> np.ndarray:
    """Returns what a mirrored clip of each class is called, int32.

    A class number, or -1 for a class that is never mirrored. The log says
    which classes are not, and why.
    """
    same = np.arange(len(classes), dtype=np.int32)
    none = np.full(len(classes), -1, np.int32)
    found = directional_labels(classes)
    if options.flip == "swap":
        swapped = mirrored_classes(classes)
        alone = [classes[place] for place in np.flatnonzero(swapped < 0)]
        pairs = [
            f"{classes[here]} and {classes[there]}"
            for here, there in enumerate(swapped)
            if here < there
        ]
        logging.info(
            "Half of the training clips are mirrored left to right. Those of "
            "%d classes get the label of the other direction (%s); never "
            "mirrored: %s.",
            2 * len(pairs),
            "; ".join(pairs[:5]) or "none",
            ", ".join(alone) or "none",
        )
        return swapped
    if options.flip == "auto" and found:
        logging.info(
            "No horizontal flip: labels name a direction (%s).",
            ", ".join(found[:5]),
        )
        return none
    if not options.flip:
        return none
    if found:
        logging.warning(
            "flip=True although labels name a direction (%s).",
            ", ".join(found[:5]),
        )
    logging.info(
        "Half of the training clips are mirrored left to right; --gin="
        "DataOptions.flip=False if a label means a direction."
    )
    return same
