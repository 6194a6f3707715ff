"""Networks with one operation changed."""

import dataclasses

import pytest

from autox3d_edge import benchmark, manifest, variants
from autox3d_tf import space
from tests.edge import networks


def test_each_has_one_change():
    arch = space.get_arch("x3d_s")
    found = variants.variants_of(arch)
    assert list(found) == [
        "swish", "hard_swish", "relu", "separable", "1x3x3", "no_se"
    ]  # fmt: skip
    assert found["swish"] == arch
    assert found["relu"] == dataclasses.replace(arch, activation="relu")
    blocks = [list(found[name].blocks()) for name in ("swish", "separable")]
    for own, other in zip(*blocks, strict=True):
        assert own.spec.block_type == "3x3x3"
        changed = dataclasses.replace(own.spec, block_type="separable")
        assert other.spec == changed
    assert {b.spec.attention for b in found["no_se"].blocks()} == {"none"}


def test_changes_of_what_is_not_there_are_left_out():
    arch = space.get_arch("x3d_s")
    plain = variants.variants_of(arch)["1x3x3"]
    plain = variants.variants_of(plain)["no_se"]
    relu = dataclasses.replace(plain, activation="relu")
    assert list(variants.variants_of(relu)) == ["relu", "swish", "hard_swish"]


def test_files_can_be_timed(tmp_path):
    arch = networks.small_arch(clip_size=(4, 16, 16))
    paths = variants.write_variants(
        arch, tmp_path, precisions=["int8"], num_classes=3
    )
    names = [f"{arch.name}_{name}_int8.tflite"
             for name in variants.variants_of(arch)]  # fmt: skip
    assert [path.name for path in paths] == names
    made = manifest.read_manifest(paths[1]).arch
    assert space.ArchSpec.from_dict(made).activation == "hard_swish"
    saved = space.load_arch(tmp_path / f"{arch.name}_relu.json")
    assert saved == variants.variants_of(arch)["relu"]
    timings = benchmark.benchmark_files(
        {path.name: path for path in paths}, threads=[1], repeats=1
    )
    assert [timing.ratio > 0 for timing in timings] == [True] * len(paths)


def test_an_unknown_precision_is_told_before_anything_is_made(tmp_path):
    arch = networks.small_arch()
    with pytest.raises(ValueError, match="`precisions` must be one of fp32"):
        variants.write_variants(arch, tmp_path / "out", precisions=["int4"])
    assert not (tmp_path / "out").exists()
