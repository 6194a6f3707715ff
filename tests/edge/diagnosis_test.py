"""What the doctor found, as tables and as data, by hand."""

import numpy as np
import pytest

from autox3d_edge import diagnosis, layer_noise, recipes


def treatment(name, recipe=None, **changes):
    fields = {
        "accuracy": 0.875,
        "agreement": 0.75,
        "loss": 0.0625,
        "mean_error": 0.0125,
        "test_accuracy": 0.5,
        "size": 12_340,
        "activation_bytes": 56_780,
        "milliseconds": 9.25,
        **changes,
    }
    return diagnosis.Treatment(name=name, model=b"", recipe=recipe, **fields)


def found(treatments, chosen=None, **changes):
    noise = [
        layer_noise.LayerNoise(
            layer=f"layer{number}",
            operator="ADD",
            snr=40.0 - number,
            lost=20.0 - number,
            bias=np.zeros(1),
        )
        for number in range(12)
    ]
    parts = (
        diagnosis.PartNoise(part="stem", keras=99.5, int8=31.5, gain=0.001),
        diagnosis.PartNoise(part="head", keras=None, int8=20.5, gain=0.002),
    )
    fields = {"bound": 0.25, "judged_clips": 4, **changes}
    return diagnosis.Diagnosis(
        noise=tuple(noise),
        parts=parts,
        treatments=tuple(treatments),
        chosen=chosen,
        **fields,
    )


def test_each_number_stands_under_its_name():
    int8 = treatment("int8", recipes.Recipe())
    rows = int8, treatment("fp32", test_accuracy=None)
    lines = found(rows, chosen=int8).format().split("\n")
    lines = [" ".join(line.split()) for line in lines]
    at = lines.index("judged as fp32 loss error test KB ms act. KB")
    assert lines[at + 1 : at + 3] == [
        "int8* 0.875 0.750 0.0625 0.0125 0.500 12.3 9.25 56.8",
        "fp32 0.875 0.750 0.0625 0.0125 - 12.3 9.25 56.8",
    ]
    # The part that gains most comes first.
    at = lines.index("part Keras dB int8 dB gain")
    assert lines[at + 1 : at + 3] == [
        "head - 20.5 0.00200",
        "stem 99.5 31.5 0.00100",
    ]


def test_a_bound_below_a_single_clip_is_said():
    text = found([treatment("int8")], bound=0.5).format()
    assert "Nothing is within a loss of 0.5 on 4 clips." in text
    assert "may be lost" not in text
    text = found([treatment("int8")], bound=0.49).format()
    assert (
        "None of 4 clips may be lost: a single one is a loss of 0.5, " in text
    )


def test_what_the_judged_clips_are_of_is_said():
    for changes, end in (
        ({}, "on 4 clips.\n"),
        (
            {"judged_part": "val"},
            "another video, none of them calibrated on.\n",
        ),
        (
            {"judged_part": "train", "judged_calibrated_on": 1},
            "on 4 clips of part 'train', each of another video, 1 of them "
            "calibrated on.\n",
        ),
    ):
        result = found([treatment("int8")], **changes)
        assert end in result.format()
        used = changes.get("judged_calibrated_on", 0)
        assert result.to_dict()["judged_calibrated_on"] == used


def test_culprits_are_the_ten_that_add_most():
    culprits = found([treatment("int8")]).to_dict()["culprits"]
    # Noise over signal is 10^(-dB / 10), less what the inputs had of it.
    added = {n: 10 ** (n / 10 - 4) - 10 ** (n / 5 - 6) for n in range(12)}
    worst = sorted(added, key=added.get, reverse=True)[:10]
    assert [c["layer"] for c in culprits] == [f"layer{n}" for n in worst]
    for number, culprit in zip(worst, culprits, strict=True):
        assert (culprit["snr"], culprit["lost"]) == (40 - number, 20 - number)
        assert culprit["added"] == pytest.approx(added[number])


@pytest.mark.parametrize(
    ("name", "recipe", "precision", "remedies"),
    [
        ("fp16", None, "fp16", 0),
        ("int8", recipes.Recipe(), "int8", 0),
        ("int8, ...", recipes.Recipe(equalize=True), "int8", 1),
        ("int8, ...", recipes.Recipe(kept={"stem": "fp32"}), "mixed", 0),
        (diagnosis.FINE_TUNED, recipes.Recipe(), "qat", 0),
    ],
)
def test_a_treatment_says_what_its_file_is(name, recipe, precision, remedies):
    row = treatment(name, recipe)
    assert (row.precision, row.num_remedies) == (precision, remedies)
