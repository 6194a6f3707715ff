"""When two networks say the same."""

import numpy as np
import pytest

from autox3d_edge import parity


@pytest.mark.parametrize(
    ("error", "agreement", "precision", "relative", "same"),
    [
        (9e-4, 0.0, "fp32", 99.0, True),
        (2e-3, 1.0, "fp32", 0.0, False),
        (2e-3, 0.0, "fp16", 99.0, True),
        (0.05, 1.0, "fp16", 0.0, False),
        (0.05, 0.0, "int8", 99.0, True),  # a step or two of uint8 scores
        (0.60, 0.4, "int8", 0.5, True),  # poor, but nearer than the mean
        (0.30, 0.4, "int8", 1.5, False),
        (0.30, 0.85, "int8", 1.5, False),
        (0.30, 1.0, "int8", 1.5, True),  # one label for all clips
        (0.60, 1.0, "int8", None, True),  # of one clip
        (0.60, 0.0, "int8", None, False),
    ],
)
def test_what_may_be_the_same_network(
    error, agreement, precision, relative, same
):
    assert parity.agrees(error, agreement, precision, relative) == same


def test_errors_by_hand():
    clips = np.uint8([[[[0]]], [[[1]]]])
    first = np.float32([[0.9, 0.1], [0.1, 0.9]])
    other = np.float32([[0.8, 0.2], [0.6, 0.4]])
    report = parity.compare(
        {
            "keras": lambda clip: first[clip.item()],
            "tflite": lambda clip: other[clip.item()],
        },
        clips,
    )
    found = report["tflite"]
    assert found["max_error"] == pytest.approx(0.5)
    assert found["mean_error"] == pytest.approx(0.3)
    # (0.01 + 0.25) / 2, in variances of 0.4 ** 2.
    assert found["relative_error"] == pytest.approx(0.13 / 0.16)
    assert found["top1_agreement"] == 0.5


def test_classes_that_differ_are_no_variance():
    first = np.float32([[0.9, 0.1], [0.7, 0.3]])
    report = parity.compare(
        {
            "keras": lambda clip: first[clip.item()],
            "tflite": lambda clip: first[1 - clip.item()],
        },
        np.uint8([[0], [1]]),
    )
    # Errors of 0.2 ** 2, in variances of 0.1 ** 2.
    assert report["tflite"]["relative_error"] == pytest.approx(4.0)


def test_what_never_changes_has_no_relative_error():
    same = lambda clip: np.float32([0.5, 0.5])  # noqa: E731
    report = parity.compare({"keras": same, "tflite": same}, np.zeros((2, 1)))
    assert report["tflite"]["relative_error"] is None


def test_who_contradicts_by_hand():
    """What is lowered is float, whatever the file is."""
    found = {"max_error": 3e-3, "top1_agreement": 1.0, "relative_error": 0.0}
    report = {"clips": 4, "reference": "keras"}
    report |= {"lowered": found, "tflite": found}
    for precision, wrong in (
        ("fp32", ["lowered", "tflite"]),
        ("fp16", ["lowered"]),
        ("int8", ["lowered"]),
    ):
        said = dict(parity.contradictions(report, precision))
        assert list(said) == wrong
        assert said["lowered"] == "is up to 0.003 off keras, may be 1e-03"
    # The label of no number is that of class 0, as all may be.
    bad = {"tflite": {**found, "max_error": float("nan")}}
    for precision in ("fp32", "int8"):
        said = list(parity.contradictions({**report, **bad}, precision))
        assert said[-1] == ("tflite", "is not finite")
    poor = {"max_error": 0.6, "top1_agreement": 0.25, "relative_error": 1.5}
    said = list(parity.contradictions({**report, "tflite": poor}, "int8"))
    assert said[-1] == (
        "tflite",
        "has the label of keras on 25% of 4 clips and scores up to 0.6 off",
    )


def test_a_clip_is_looked_at_once():
    calls = []
    score = parity.remember(lambda clip: calls.append(clip) or len(calls))
    clips = np.arange(8, dtype=np.uint8).reshape(2, 4)
    assert [score(c) for c in (*clips, *clips, clips[1].copy())] == [
        1, 2, 1, 2, 2,
    ]  # fmt: skip
