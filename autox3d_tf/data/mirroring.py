"""Which clips may be mirrored, and what they are called then."""

import itertools
import re

import numpy as np
from absl import logging

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
