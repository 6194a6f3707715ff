"""Architectures as data: checks, JSON, fingerprints."""

import dataclasses
import json

import pytest

from autox3d_tf import space
from autox3d_tf.base import files as files_lib


@pytest.mark.parametrize("name", sorted(space.ARCHIVE))
def test_json_round_trip(name, tmp_path):
    arch = space.get_arch(name)
    arch.save(tmp_path / "arch.json")
    loaded = space.load_arch(tmp_path / "arch.json")
    assert loaded == arch
    assert loaded.provenance == arch.provenance
    assert loaded.fingerprint == arch.fingerprint


@pytest.mark.parametrize(
    ("name", "stages"),
    [
        # (out, inner, depth) from the published tables.
        (
            "x3d_s",
            [(24, 54, 3), (48, 108, 5), (96, 216, 11), (192, 432, 7)],
        ),
        (
            "x3d_l",
            [(24, 54, 5), (48, 108, 10), (96, 216, 25), (192, 432, 15)],
        ),
        (
            "x3d_xl",
            [(32, 72, 5), (72, 162, 10), (136, 306, 25), (280, 630, 15)],
        ),
    ],
)
def test_x3d_stages(name, stages):
    arch = space.get_arch(name)
    found = [
        (blocks[0].filters, blocks[0].inner_filters, len(blocks))
        for blocks in arch.stages
    ]
    assert found == stages
    assert [b.attention for b in arch.stages[0][:3]] == ["se", "none", "se"]


def test_fingerprint_ignores_name_and_provenance_only():
    arch = space.get_arch("x3d_s")
    renamed = dataclasses.replace(arch, name="other", provenance={"seed": 1})
    assert renamed.fingerprint == arch.fingerprint
    for change in (
        {"causal": True},
        {"activation": "relu"},
        {"clip_size": (4, 160, 160)},
        {"frame_stride": 2},
    ):
        assert (
            dataclasses.replace(arch, **change).fingerprint != arch.fingerprint
        )


def test_first_blocks_project_their_shortcut():
    projecting = [
        b.name for b in space.get_arch("x3d_s").blocks() if b.projects
    ]
    assert projecting == [f"stage{i}_block1" for i in (1, 2, 3, 4)]


@pytest.mark.parametrize(("in_filters", "projects"), [(8, False), (9, True)])
def test_a_change_of_width_projects_the_shortcut(in_filters, projects):
    spec = space.BlockSpec(block_type="3x3x3", filters=8, inner_filters=16)
    block = space.PlacedBlock(
        name="b", stage=1, index=2, in_filters=in_filters, spec=spec
    )
    assert block.projects == projects


def test_round_width_never_loses_more_than_a_tenth():
    # int(20 + 4) // 8 * 8 = 24; int(11 + 4) // 8 * 8 = 8 < 0.9 * 11 -> 16
    assert space.round_width(20) == 24
    assert space.round_width(11) == 16


def test_a_stem_keeps_all_frames():
    with pytest.raises(ValueError, match=r"keep all frames .*\(2, 2, 2\)"):
        space.StemSpec(filters=8, strides=(2, 2, 2))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"block_type": "7x7"}, "`block_type` must be one of 3x3x3, 1x3x3"),
        ({"filters": 0}, "`filters` must be a positive integer"),
        ({"inner_filters": 2.5}, "inner_filters=2.5"),
        ({"strides": (2, 2, 2)}, r"keep all frames .* strides=\(2, 2, 2\)"),
        ({"strides": (1, 1, 2)}, r"equal in height and width.*\(1, 1, 2\)"),
        ({"attention": "cbam"}, "attention='cbam'"),
    ],
)
def test_a_block_refuses_nonsense(change, message):
    good = {"block_type": "3x3x3", "filters": 8, "inner_filters": 16}
    with pytest.raises(ValueError, match=message):
        space.BlockSpec(**{**good, **change})


def _edited(tmp_path, edit):
    path = tmp_path / "arch.json"
    space.get_arch("x3d_xs").save(path)
    data = json.loads(path.read_text())
    edit(data)
    path.write_text(json.dumps(data))
    return path


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda d: d.update(schema_version=9), "received schema_version=9"),
        (lambda d: d.update(colour="red"), r"unknown ArchSpec fields \['colo"),
        (lambda d: d.pop("head"), r"missing ArchSpec fields \['head'\]"),
        (lambda d: d["stem"].update(filters="24"), "filters='24'"),
        (
            lambda d: d["stages"][0][0].update(filters=32),
            "changed after it was written",
        ),
        (lambda d: d.update(provenance=5), "`provenance` must be an object"),
        (lambda d: d.update(fingerprint=5), "Expected: fingerprint=5"),
        (lambda d: d["stages"].append(3), "BlockSpec|must be|iterable"),
    ],
)
def test_a_damaged_file_is_refused_in_a_line(tmp_path, edit, message):
    with pytest.raises(ValueError, match=message) as error:
        space.load_arch(_edited(tmp_path, edit))
    assert "\n" not in str(error.value)


def test_missing_and_foreign_files_are_refused(tmp_path):
    with pytest.raises(ValueError, match="No such file"):
        space.load_arch(tmp_path / "none.json")
    (tmp_path / "text.json").write_text("hello")
    with pytest.raises(ValueError, match="not valid JSON"):
        space.load_arch(tmp_path / "text.json")
    (tmp_path / "list.json").write_text("[1, 2]")
    with pytest.raises(ValueError, match="not an architecture.*ArchSpec.save"):
        space.load_arch(tmp_path / "list.json")


def test_an_unknown_name_lists_the_known():
    with pytest.raises(ValueError, match="x3d_s.*Received: arch='x4d'"):
        space.get_arch("x4d")


def test_files_from_before_causal_networks_are_read(tmp_path):
    data = space.get_arch("x3d_ego").to_dict()
    del data["causal"]
    files_lib.write_json(tmp_path / "arch.json", data)
    assert not space.load_arch(tmp_path / "arch.json").causal
    data = space.get_space("egogestar").to_dict()
    del data["causal"]
    files_lib.write_json(tmp_path / "space.json", data)
    assert not space.load_space(tmp_path / "space.json").causal


def test_causal_spaces_decode_to_causal_networks():
    streams = space.get_space("egogestar_stream")
    arch = streams.decode([0] * len(streams.choices))
    clips = space.get_space("egogestar")
    assert arch.causal
    assert dataclasses.replace(arch, causal=False) == dataclasses.replace(
        clips.decode([0] * len(clips.choices)), name=arch.name
    )
