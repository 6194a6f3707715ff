import dataclasses
import os

import pytest

from autox3d_tf.data import csv_rows
from autox3d_tf.data import manifest as manifest_lib

ROWS = (
    manifest_lib.ClipRow(
        path="a/1.mp4",
        label="a",
        group="kitchen",
        split="train",
        fold=0,
        frames=81,
        fps=29.97,
        width=160,
        height=120,
        duration=2.703,
        sha256="5e" * 32,
    ),
    manifest_lib.ClipRow(
        path="a/2.mp4",
        label="a",
        fold=-1,
        status="truncated",
        detail='stops, "early"',
    ),
    manifest_lib.ClipRow(path="b/1.mp4", label="b", split="val", fold=1),
)


def make(rows=ROWS):
    return manifest_lib.Manifest(".", rows, ("a", "b"))


def test_save_and_read_keeps_every_column(tmp_path):
    # Every field of ClipRow differs from its default in some row above.
    defaults = manifest_lib.ClipRow(path="x", label="x")
    for field in dataclasses.fields(manifest_lib.ClipRow):
        value = getattr(defaults, field.name)
        assert any(getattr(row, field.name) != value for row in ROWS)
    manifest = manifest_lib.Manifest(str(tmp_path), ROWS, ("a", "b"))
    manifest.save(tmp_path / "m.csv")
    assert manifest_lib.read_manifest(tmp_path / "m.csv") == manifest


def test_classes_are_numbered_by_name_not_by_their_place_in_a_list(tmp_path):
    (tmp_path / "m.csv").write_text("path,label\n1,b\n2,c\n3,a\n4,c\n")
    manifest = manifest_lib.read_manifest(tmp_path / "m.csv")
    assert manifest.classes == ("a", "b", "c")
    assert manifest.labels == (1, 2, 0, 2)


def test_line_breaks_in_names_of_files_are_kept(tmp_path):
    rows = tuple(
        manifest_lib.ClipRow(path=f"a/x{end}y{end}.mp4{end}", label="a")
        for end in ("\n", "\r", "\r\n", "\x0b", "\x1c", "\x85", "\u2028")
    )
    manifest = manifest_lib.Manifest(str(tmp_path), rows, ("a",))
    manifest.save(tmp_path / "m.csv")
    assert manifest_lib.read_manifest(tmp_path / "m.csv") == manifest


def test_saving_elsewhere_keeps_pointing_at_the_videos(tmp_path):
    manifest = manifest_lib.Manifest(str(tmp_path / "videos"), ROWS, ("a", "b"))
    manifest.save(tmp_path / "lists" / "m.csv")
    read = manifest_lib.read_manifest(tmp_path / "lists" / "m.csv")
    assert read.rows[0].path == "../videos/a/1.mp4"


def test_a_list_behind_a_link_points_at_the_videos(tmp_path):
    video = tmp_path / "videos/a/1.mp4"
    video.parent.mkdir(parents=True)
    video.touch()
    (tmp_path / "far/away/runs").mkdir(parents=True)
    (tmp_path / "runs").symlink_to(tmp_path / "far/away/runs")
    (tmp_path / "linked").symlink_to(tmp_path / "videos")
    row = manifest_lib.ClipRow(path="a/1.mp4", label="a")
    for root, place, way in (
        ("videos", "m.csv", "videos/a/1.mp4"),
        ("videos", "runs/m.csv", "../../../videos/a/1.mp4"),
        ("linked", "m.csv", "linked/a/1.mp4"),  # the link may be set anew
        ("linked", "linked/m.csv", "a/1.mp4"),
    ):
        manifest = manifest_lib.Manifest(str(tmp_path / root), (row,), ("a",))
        manifest.save(tmp_path / place)
        found = manifest_lib.read_manifest(tmp_path / place)
        assert found.rows[0].path == way
        assert os.path.samefile(found.absolute_path(found.rows[0]), video)


def test_fingerprint_ignores_order_and_root_but_no_cell():
    reference = make().fingerprint
    assert make(ROWS[::-1]).fingerprint == reference
    moved = manifest_lib.Manifest("/elsewhere", ROWS, ("a", "b"))
    assert moved.fingerprint == reference
    for changed in (
        dataclasses.replace(ROWS[0], label="b"),
        dataclasses.replace(ROWS[0], frames=82),
        dataclasses.replace(ROWS[0], status="missing"),
    ):
        assert make((changed, *ROWS[1:])).fingerprint != reference


def test_select_keeps_class_numbers():
    selected = make().select(splits=("val",))
    assert [row.path for row in selected.rows] == ["b/1.mp4"]
    assert selected.labels == (1,)  # b stays the second class
    assert make().select(folds=(0, 1)).count() == {"a": 1, "b": 1}
    assert len(make()) == 3
    assert len(make().select()) == 2  # the truncated one is left out


def test_a_clip_of_no_fold_is_in_none_of_those_named():
    rows = tuple(
        manifest_lib.ClipRow(path=f"{fold}.mp4", label="a", frames=9, fold=fold)
        for fold in (None, -1, 0, 1)
    )
    manifest = manifest_lib.Manifest("/none", rows, ("a",))
    for folds in ((0,), (0, 1), (-1,)):
        found = [row.fold for row in manifest.select(folds=folds).rows]
        assert found == list(folds)


def test_select_drops_excluded_classes():
    selected = make().select(exclude_labels=("a",))
    assert selected.classes == ("b",)
    assert selected.labels == (0,)


@pytest.mark.parametrize(
    "condition, message",
    [
        ({"splits": ("tset",)}, "must be one of .*'train', 'val'.*tset"),
        ({"folds": (7,)}, r"\[-1, 0, 1\].*fold=7"),
        ({"exclude_labels": ("c",)}, r"\['a', 'b'\].*exclude_labels='c'"),
    ],
)
def test_select_refuses_unknown_names(condition, message):
    with pytest.raises(ValueError, match=message):
        make().select(**condition)


@pytest.mark.parametrize(
    "text, message",
    [
        ("file,label\na.mp4,a\n", r"path and label.*\['file', 'label'\]"),
        ("path,label,fold\na.mp4,a,one\n", "`fold` must be a number.*'one'"),
        ("path,label\n,a\n", "must not be empty.*m.csv:2"),
        ("path,label\na.mp4,a\na.mp4,b\n", "each clip once.*'a.mp4' 2 times"),
        ("path,label,status\na.mp4,a,fine\n", "`status` must be one of"),
        ("path,label,fold\na.mp4,a,0.5\n", "`fold` must be a number.*'0.5'"),
        ("path,label,fps\na.mp4,a,nan\n", "`fps` must be a number.*'nan'"),
        ("path,label,fps\na.mp4,a,-30\n", "`fps` must be a number.*'-30'"),
        (
            f"path,label\nb.mp4,{'x' * 200_000}\n",
            r"m.csv must be .* a row after line 1 .*\(field larger than",
        ),
        (f"{'x' * 200_000}\n", r"a row after line 0 .*\(field larger than"),
        (
            'path,label\na.mp4,a\nb.mp4,"b\nc.mp4,b\nd.mp4,b\n',
            r"a row after line 2 .*\(unexpected end of data\)",
        ),
        (
            'path,label\na.mp4,"a\nb.mp4,a\nc.mp4,c"\n',
            r"`label` must be one line. .*'a\\nb.mp4,a\\nc.mp4,c', .*m.csv:4",
        ),
        (
            "Label,path,label\n0,a.mp4,a\n",
            "m.csv must name each column once. Received: 'label' 2 times",
        ),
        (
            "path,label,fold\na.mp4,a,,,\nb.mp4,a, b,2\n",
            "m.csv, line 3: must have 3 cells. .* 4, the last '2'. Quote",
        ),
        (f"{'x' * 9999}\n", r"the columns \['x{70,80}\. Other lists"),
    ],
)
def test_reading_names_what_is_wrong(tmp_path, text, message):
    (tmp_path / "m.csv").write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        manifest_lib.read_manifest(tmp_path / "m.csv")
    assert "\n" not in str(caught.value)


def test_a_clip_listed_under_two_spellings_is_one_row(tmp_path, caplog):
    (tmp_path / "m.csv").write_text(
        "path,label\na/x.mp4,a\n./a//x.mp4,a\na/../a/x.mp4,a\n./b.mp4,b\n"
    )
    found = manifest_lib.read_manifest(tmp_path / "m.csv")
    assert [row.path for row in found.rows] == ["a/x.mp4", "b.mp4"]
    assert "m.csv: 2 rows repeat others and are left out." in caplog.text
    found.save(tmp_path / "again.csv")
    assert manifest_lib.read_manifest(tmp_path / "again.csv") == found


def test_a_clip_listed_under_two_spellings_and_labels_is_refused(tmp_path):
    (tmp_path / "m.csv").write_text("path,label\na/x.mp4,a\n./a/x.mp4,b\n")
    with pytest.raises(ValueError, match="'a/x.mp4' 2 times .*other cells"):
        manifest_lib.read_manifest(tmp_path / "m.csv")


def test_two_dots_behind_a_link_lead_where_it_does(tmp_path):
    (tmp_path / "far/a").mkdir(parents=True)
    (tmp_path / "far/x.mp4").touch()
    (tmp_path / "link").symlink_to(tmp_path / "far/a")
    (tmp_path / "m.csv").write_text("path,label\nx.mp4,a\nlink/../x.mp4,a\n")
    found = manifest_lib.read_manifest(tmp_path / "m.csv")
    assert [row.path for row in found.rows] == ["x.mp4", "far/x.mp4"]


def test_numbers_as_tables_with_gaps_write_them_are_read(tmp_path):
    (tmp_path / "m.csv").write_text("path,label,fold\na.mp4,a,2.0\nb,a,\n")
    found = manifest_lib.read_manifest(tmp_path / "m.csv")
    assert [row.fold for row in found.rows] == [2, None]


def test_spaces_belong_to_a_path_and_to_no_other_cell(tmp_path):
    (tmp_path / "m.csv").write_text("path,label,fold\n a/b.mp4,wave , 2\n")
    (row,) = manifest_lib.read_manifest(tmp_path / "m.csv").rows
    assert (row.path, row.label, row.fold) == (" a/b.mp4", "wave", 2)


@pytest.mark.parametrize(
    "text",
    [
        "Path,Label,Fold\na.mp4,b c,1\n",
        'path, "label", fold\na.mp4, "b c", 1\n',
        "\ufeffpath;label;fold\r\na.mp4;b c;1\r\n",
        '"path"\t"label"\t"fold"\na.mp4\tb c\t1\n',
    ],
)
def test_lists_are_read_as_spreadsheets_and_people_write_them(tmp_path, text):
    (tmp_path / "m.csv").write_text(text)
    (row,) = manifest_lib.read_manifest(tmp_path / "m.csv").rows
    assert (row.path, row.label, row.fold) == ("a.mp4", "b c", 1)


def test_paths_of_windows_are_those_of_the_videos_that_are_there(tmp_path):
    (tmp_path / "a").mkdir()
    for name in ("a/1.mp4", "a/2.mp4", "a\\2.mp4"):
        (tmp_path / name).touch()
    (tmp_path / "m.csv").write_text(
        "path,label\na\\1.mp4,a\na\\2.mp4,a\na\\3.mp4,a\n"
    )
    rows = manifest_lib.read_manifest(tmp_path / "m.csv").rows
    assert [row.path for row in rows] == ["a/1.mp4", "a\\2.mp4", "a\\3.mp4"]


def test_empty_cells_and_rows_behind_the_others_are_nothing(tmp_path):
    (tmp_path / "m.csv").write_text("path,label\na.mp4,a,, \n,,\n \n")
    (row,) = manifest_lib.read_manifest(tmp_path / "m.csv").rows
    assert (row.path, row.label) == ("a.mp4", "a")


def test_another_encoding_is_named(tmp_path):
    (tmp_path / "m.csv").write_bytes(
        "path,label\ncafé.mp4,é\n".encode("cp1252")
    )
    with pytest.raises(
        ValueError, match="m.csv is no CSV file in UTF-8 .*byte"
    ):
        manifest_lib.read_manifest(tmp_path / "m.csv")


def test_rows_must_have_known_labels():
    with pytest.raises(ValueError, match=r"labelled \['b'\]"):
        manifest_lib.Manifest(".", ROWS, ("a",))


def test_reads_the_list_of_real_clips(shared_dir):
    manifest = manifest_lib.read_manifest(
        shared_dir / "data/egogestar/manifest.csv"
    )
    # Counts are those its README states.
    gestures = manifest.select(exclude_labels=("unclassified",))
    assert len(gestures) == 179
    assert len(gestures.classes) == 10
    assert len(gestures.select(folds=(3,))) == 42
    assert manifest.select(folds=(-1,)).count()["unclassified"] == 20


def test_a_list_is_read_again_only_once_it_has_changed(tmp_path, monkeypatch):
    path, reads, read = tmp_path / "list.csv", [], csv_rows.read

    def counted(path, *arguments):
        reads.append(path)
        return read(path, *arguments)

    monkeypatch.setattr(csv_rows, "read", counted)
    path.write_text("path,label\na.mp4,a\n")
    first = manifest_lib.read_manifest(path)
    assert manifest_lib.read_manifest(str(path)) is first
    assert manifest_lib.read_manifest(path, root="x").root == "x"
    assert len(reads) == 2
    path.write_text("path,label\nbcd.mp4,b\n")
    assert manifest_lib.read_manifest(path).classes == ("b",)
    assert len(reads) == 3
