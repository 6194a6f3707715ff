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
    with pytest.raises(ValueError, match=message):
        initial.assign_initial(model, tmp_path / "weights.npz")
    for name, value in models.weight_values(model).items():
        np.testing.assert_array_equal(value, before[name])
