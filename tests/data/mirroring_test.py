import re

import pytest

from autox3d_tf.data import manifest as manifest_lib
from autox3d_tf.data import mirroring
from autox3d_tf.data import options as options_lib


@pytest.mark.parametrize(
    "label, directional",
    [
        ("left", True),
        ("Pulling something from right to left", True),
        ("turn_clockwise", True),
        ("swipe-Left", True),
        ("SwipeLeft", True),
        ("counterClockwise", True),
        ("leftHand2", True),
        ("Leftover", False),
        ("leftover", False),
        ("bright", False),
        ("up", False),  # a mirror image still goes up
        ("swipeleft", True),
        ("SWIPERIGHT", True),
        ("lefthand", True),
        ("Swipe L", True),
        ("SwipeR", True),
        ("LHand", True),
        ("l2r", True),
        ("rhs", True),
        ("circlecc", True),
        ("turn_acw", True),
        ("circleCW", True),
        ("nach rechts", True),
        ("gauche", True),
        ("mano izquierda", True),
        ("cleft", False),
        ("upright", False),
        ("copyright", False),
        ("blinks", False),
        ("east", True),
        ("feast", False),
        ("tracking all curls", False),
    ],
)
def test_words_that_name_a_direction(label, directional):
    assert bool(mirroring.directional_labels([label])) == directional


@pytest.mark.parametrize(
    "flip, labels, expected",
    [
        ("auto", ["left", "up"], [-1, -1]),
        ("auto", ["walk", "run"], [0, 1]),
        (False, ["walk"], [-1]),
        (True, ["left"], [0]),
        ("swap", ["walk", "left", "up", "right"], [0, 3, 2, 1]),
        ("swap", ["left", "up"], [-1, 1]),
        (  # of Something-Something V2
            "swap",
            [
                "Pulling something from left to right",
                "Pulling something from right to left",
                "Pushing something from left to right",
                "Pulling something onto something",
            ],
            [1, 0, -1, 3],
        ),
        (  # of Jester
            "swap",
            ["Turning Hand Clockwise", "Turning Hand Counter-clockwise"],
            [1, 0],
        ),
        ("swap", ["turn_anticlockwise", "turn_clockwise"], [1, 0]),
        ("swap", ["SwipeLeft2", "SwipeRight2", "SwipeLeft1"], [1, 0, -1]),
        ("swap", ["swipeleft", "swiperight", "SWIPE L"], [1, 0, -1]),
        ("swap", ["l2r", "r2l", "lhs", "rhs"], [1, 0, 3, 2]),
        ("swap", ["circlecc", "circlecw", "turn acw"], [1, 0, -1]),
        ("swap", ["links herum", "rechts herum", "tick"], [1, 0, 2]),
        # Alone it is no direction, beside its mirror image it is.
        ("auto", ["upright", "lying"], [0, 1]),
        ("swap", ["upright", "upleft"], [1, 0]),
    ],
)
def test_flip(flip, labels, expected):
    options = options_lib.DataOptions(source="x", flip=flip)
    assert mirroring.resolve_flip(options, labels).tolist() == expected


@pytest.mark.parametrize(
    "flip, said",
    [
        ("auto", "--gin=DataOptions.flip=False if a label means"),
        (True, "--gin=DataOptions.flip=False if a label means"),
        ("swap", "2 classes get .* other direction .swipe l and swipe r.;"),
        (False, None),
    ],
)
def test_the_log_says_that_clips_are_mirrored(flip, said, caplog):
    labels = ["swipe l", "wave", "swipe r"] if flip == "swap" else ["wave"]
    options = options_lib.DataOptions(source="x", flip=flip)
    with caplog.at_level("INFO", logger="absl"):
        mirroring.resolve_flip(options, labels)
    found = re.search("Half of the training clips are mirr.*", caplog.text)
    assert bool(found) == bool(said)
    assert not said or re.search(said, found[0])


def test_real_gestures_are_not_mirrored(shared_dir):
    manifest = manifest_lib.read_manifest(
        shared_dir / "data/egogestar/manifest.csv"
    )
    options = options_lib.DataOptions(source="x")
    assert mirroring.directional_labels(manifest.classes) == [
        "circlecc", "left", "right"
    ]  # fmt: skip
    assert set(mirroring.resolve_flip(options, manifest.classes)) == {-1}
