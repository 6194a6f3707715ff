import json
import logging

import numpy as np
import pytest

from autox3d_tf import models, space
from autox3d_tf.training import initial
from tests.training import tiny


def saved(tmp_path, num_classes=3, arch=None, name="weights.npz"):
    model = models.build_model(arch or tiny.arch(), num_classes, seed=7)
    values = models.weight_values(model)
    models.save_weights(tmp_path / name, values)
    return values


def test_find_arch_takes_names_files_directories_and_specs(tmp_path):
    arch = tiny.arch()
    arch.save(tmp_path / "arch.json")
    assert initial.find_arch("x3d_ego") == space.get_arch("x3d_ego")
    for given in (arch, str(tmp_path), tmp_path / "arch.json"):
        assert initial.find_arch(given) == arch
    with pytest.raises(ValueError, match="x3d_ego.* Received: arch='x3d_eg'"):
        initial.find_arch("x3d_eg")
    with pytest.raises(ValueError, match="Cannot read an architecture from"):
        initial.find_arch(tmp_path / "other.json")


def test_a_directory_called_like_a_network_does_not_hide_it(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x3d_s").mkdir()
    tiny.arch().save(tmp_path / "x3d_s/arch.json")
    assert initial.find_arch("x3d_s") == space.get_arch("x3d_s")
    assert initial.find_arch("./x3d_s/arch.json") == tiny.arch()


@pytest.mark.parametrize("name", initial.WEIGHT_FILES)
def test_weights_of_a_run_directory(tmp_path, name):
    saved(tmp_path, name=name)
    assert initial.weights_path(tmp_path) == tmp_path / name


def test_weights_that_are_left_aside_are_mentioned(tmp_path, caplog):
    def said(arch):
        caplog.clear()
        with caplog.at_level(logging.INFO, logger="absl"):
            initial.mention_weights(arch)
        return caplog.text

    tiny.arch().save(tmp_path / "arch.json")
    assert not said(tmp_path)
    saved(tmp_path, name="inherited.npz")
    assert f"--gin=INIT_FROM={tmp_path}, " in said(str(tmp_path))
    for arch in (tmp_path / "arch.json", tiny.arch(), "x3d_ego"):
        assert not said(arch)


def test_nothing_to_begin_with(tmp_path):
    with pytest.raises(ValueError, match="must be a file of weights or a run"):
        initial.weights_path(tmp_path)


def test_all_weights_are_set(tmp_path):
    expected = saved(tmp_path)
    model = models.build_model(tiny.arch(), 3, seed=0)
    initial.assign_initial(model, tmp_path / "weights.npz")
    for name, value in models.weight_values(model).items():
        np.testing.assert_array_equal(value, expected[name])


def test_other_classes_need_a_new_head(tmp_path):
    expected = saved(tmp_path, num_classes=5)
    model = models.build_model(tiny.arch(), 3, seed=0)
    own = models.weight_values(model)
    with pytest.raises(ValueError, match="5 classes, the data 3.*replace_head"):
        initial.assign_initial(model, tmp_path / "weights.npz")
    initial.assign_initial(model, tmp_path / "weights.npz", True)
    for name, value in models.weight_values(model).items():
        fresh = name in ("head/logits_kernel", "head/logits_bias")
        wanted = own if fresh else expected
        np.testing.assert_array_equal(value, wanted[name])


def named(tmp_path, labels, name="weights.npz"):
    """Weights of a run that says their classes; and a network to begin."""
    expected = saved(tmp_path, len(labels), name=name)
    record = tmp_path / initial.WEIGHT_FILES[name]
    record.write_text(json.dumps({"labels": labels}))
    return expected, models.build_model(tiny.arch(), len(labels), seed=0)


@pytest.mark.parametrize("name", initial.WEIGHT_FILES)
def test_as_many_other_classes_need_a_new_head(tmp_path, name):
    expected, model = named(tmp_path, ["left", "right", "up"], name)
    path, labels = tmp_path / name, ["up", "left", "down"]
    own = models.weight_values(model)
    message = "only one of them has 'down', 'right'. .*replace_head=True"
    for refuse in (
        lambda: initial.check_classes(path, labels),
        lambda: initial.assign_initial(model, path, labels=labels),
    ):
        with pytest.raises(ValueError, match=message):
            refuse()
    initial.assign_initial(model, path, True, labels)
    found = models.weight_values(model)
    for weight in ("head/logits_kernel", "stem/spatial_kernel"):
        wanted = own if weight.startswith("head") else expected
        np.testing.assert_array_equal(found[weight], wanted[weight])


@pytest.mark.parametrize("replace_head", [False, True])
def test_outputs_follow_the_order_of_the_classes(tmp_path, replace_head):
    expected, model = named(tmp_path, ["left", "right", "up"])
    expected["head/logits_bias"] = np.float32([1, 2, 3])
    models.save_weights(tmp_path / "weights.npz", expected)
    labels = ["up", "left", "right"]
    initial.check_classes(tmp_path / "weights.npz", labels)
    initial.assign_initial(
        model, tmp_path / "weights.npz", replace_head, labels
    )
    for name, value in models.weight_values(model).items():
        wanted = expected[name]
        if name.startswith("head/logits"):
            wanted = wanted[..., [2, 0, 1]]
        np.testing.assert_array_equal(value, wanted)


def test_classes_without_names_are_taken_for_those_of_the_data(
    tmp_path, caplog
):
    expected = saved(tmp_path, name="other.npz")
    model = models.build_model(tiny.arch(), 3, seed=0)
    with caplog.at_level(logging.INFO, logger="absl"):
        initial.assign_initial(
            model, tmp_path / "other.npz", True, ["up", "left", "right"]
        )
    assert "does not name its 3 classes" in caplog.text
    name = "head/logits_kernel"
    np.testing.assert_array_equal(
        models.weight_values(model)[name], expected[name]
    )


@pytest.mark.parametrize(
    "other, message",
    [
        ({"depths": (1, 2)}, "it has also .* such as stage2_block2/"),
        ({"stage_filters": (4, 8)}, "has shape .*, not "),
    ],
)
def test_weights_of_another_network_are_refused(tmp_path, other, message):
    saved(tmp_path, arch=tiny.arch(**other))
    model = models.build_model(tiny.arch(), 3)
    before = models.weight_values(model)
    with pytest.raises(ValueError, match=message + ".* other weights."):
        initial.assign_initial(model, tmp_path / "weights.npz")
    for name, value in models.weight_values(model).items():
        np.testing.assert_array_equal(value, before[name])
