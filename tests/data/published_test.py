"""Small trees of data sets, laid out and listed as they are published."""

import json
import shutil

import numpy as np
import pytest

from autox3d_tf.data import (
    annotations,
    list_formats,
    opening,
    pipeline,
    scan,
    synthetic,
)
from autox3d_tf.data import options as options_lib


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """Copies one of a few different videos to a path."""
    folder = tmp_path_factory.mktemp("videos")
    for number in range(9):
        clip = synthetic.draw_clip(
            synthetic.KINDS["single"]["left"],
            np.random.default_rng(number),
            frames=8,
            size=32,
        )
        synthetic.write_video(folder / f"{number}.mp4", clip, 10)

    def copy(path, number):
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / f"{number}.mp4", path)

    return copy


def statuses(manifest):
    return {row.path: row.status for row in manifest.rows}


def parts_of(manifest, path, **fields):
    """Returns the labels of each part that a run would open."""
    manifest.save(path)
    options = options_lib.DataOptions(
        source=str(path),
        crop_size=32,
        short_side_range=(32, 32),
        clip_frames=4,
        **fields,
    )
    labels = {}
    for part in ("train", "val", "test"):
        try:
            source = opening.open_source(options, part)
        except ValueError:
            continue
        labels[part] = [row.label for row in source.manifest.rows]
    return labels, options


# The first lines of Kinetics-400's lists; its label column is quoted at times.
KINETICS_TRAIN = """label,youtube_id,time_start,time_end,split,is_cc
testifying,---QUuC4vJs,84,94,train,0
"eating spaghetti",--3ouPhoy2A,20,30,train,0
playing tennis,--6bJUbfpnQ,2,12,train,0
playing tennis,--gone00000,2,12,train,0
"""
KINETICS_VAL = """label,youtube_id,time_start,time_end,split
playing tennis,-07WQ2iBlw0,1,11,validate
testifying,-0WZKTu0xK8,26,36,val
"""
KINETICS_FOLDERS = {
    "{split}/{label}": "train/playing tennis/--gone00000_000002_000012.mp4",
    "{split}/{label_}": "train/playing_tennis/--gone00000_000002_000012.mp4",
    "k400/{split}": "k400/train/--gone00000_000002_000012.mp4",
    "": "--gone00000_000002_000012.mp4",
}


@pytest.fixture
def kinetics(tmp_path, video):
    """Makes a tree whose videos lie in folders of the given layout."""

    def make(layout):
        names = {
            ("testifying", "train"): "---QUuC4vJs_000084_000094",
            ("eating spaghetti", "train"): "--3ouPhoy2A_000020_000030",
            ("playing tennis", "train"): "--6bJUbfpnQ_000002_000012",
            ("playing tennis", "val"): "-07WQ2iBlw0_000001_000011",
            ("testifying", "val"): "-0WZKTu0xK8_000026_000036",
        }
        root = tmp_path / "videos"
        for number, ((label, split), name) in enumerate(names.items()):
            folder = layout.format(
                split=split, label=label, label_=label.replace(" ", "_")
            )
            video(root / folder / f"{name}.mp4", number)
        lists = tmp_path / "lists"
        lists.mkdir()
        (lists / "train.csv").write_text(KINETICS_TRAIN)
        (lists / "val.csv").write_text(KINETICS_VAL)
        return root, lists

    return make


@pytest.mark.parametrize("layout", KINETICS_FOLDERS)
def test_kinetics(kinetics, layout, tmp_path):
    root, lists = kinetics(layout)
    (broken,) = root.rglob("--3ouPhoy2A_000020_000030.mp4")
    broken.write_bytes(broken.read_bytes()[:300])
    manifest = scan.scan(
        root, annotations=[lists / "train.csv", lists / "val.csv"]
    )
    assert len(manifest) == 6
    assert [row.status for row in manifest.rows] == [
        "ok",
        "undecodable",
        "ok",
        "missing",
        "ok",
        "ok",
    ]
    missing = manifest.rows[3]
    assert missing.path == KINETICS_FOLDERS[layout]
    assert missing.label == "playing tennis"
    assert missing.group == "--gone00000"
    labels, _ = parts_of(manifest, tmp_path / "out/manifest.csv")
    assert labels == {
        "train": ["testifying", "playing tennis"],
        "val": ["playing tennis", "testifying"],
    }
    text = scan.summarize(manifest)
    assert text.startswith("4 of 6 clips in 3 classes are usable")
    assert f"{missing.path}: there is no such file" in text


def test_kinetics_as_json(kinetics):
    # As released beside the csv: the segment in seconds, fractions included.
    root, lists = kinetics("{split}/{label}")
    train = scan.scan(root, annotations=[lists / "train.csv"])
    entries, val = {}, lists / "validate.json"
    for row in train.rows:
        _, start, end = row.path.removesuffix(".mp4").rsplit("_", 2)
        entries[row.group] = {
            "annotations": {
                "label": row.label,
                "segment": [float(start), float(end)],
            },
            "duration": 10.0,
            "subset": "train",
            "url": f"https://www.youtube.com/watch?v={row.group}",
        }
    (lists / "train.json").write_text(json.dumps(entries))
    again = scan.scan(root, annotations=[lists / "train.json"])
    assert again == train
    val.write_text(
        json.dumps(
            {
                "-07WQ2iBlw0": {
                    "annotations": {
                        "label": "playing tennis",
                        "segment": [1.0, 11.0],
                    },
                    "subset": "validate",
                }
            }
        )
    )
    (row,) = scan.scan(root, annotations=[val]).rows
    assert (row.split, row.status) == ("val", "ok")


@pytest.mark.parametrize(
    "entries, message",
    [
        ({"a": {"annotations": {"segment": [1, 2]}}}, "x.json, a: `label` is"),
        ({"a": {"annotations": {"label": "x"}}}, "None, None in .*x.json, a"),
        (
            {"a": {"annotations": {"label": 5, "segment": [1, 2]}}},
            "x.json, a: `label` must be a line of text. Received: label=5",
        ),
        (
            {"a": {"annotations": {"label": "x", "segment": 5}}},
            "5, None in .*a",
        ),
        (
            {"a": {"annotations": {"label": "x", "segment": [0, 1e999]}}},
            "0, inf in .*x.json, a",
        ),
        ({"a": {"subset": "test"}}, "as the lists of Kinetics with labels"),
        ([], "as the lists of Kinetics with labels"),
    ],
)
def test_kinetics_json_that_is_none(tmp_path, entries, message):
    path = tmp_path / "x.json"
    path.write_text(json.dumps(entries))
    with pytest.raises(ValueError, match=message):
        annotations.read_annotations("kinetics", [path])


def test_kinetics_format_named_and_lists_in_a_folder(kinetics):
    root, lists = kinetics("{split}/{label}")
    manifest = scan.scan(root, format="kinetics", annotations=[lists])
    assert len(manifest.select(splits=("train",))) == 3
    with pytest.raises(
        ValueError, match="must be named to read the lists in .*: kinet"
    ):
        scan.scan(root, annotations=[lists])


def test_kinetics_with_quoted_names_and_empty_rows(tmp_path):
    (tmp_path / "x.csv").write_text(
        '"label","youtube_id","time_start","time_end","split"\n'
        '"run","a","1","11","train"\n,,,,\n'
    )
    assert annotations.detect(tmp_path / "x.csv") == "kinetics"
    (clip,) = annotations.read_annotations("kinetics", [tmp_path / "x.csv"])
    assert (clip.name, clip.label) == ("a_000001_000011", "run")


def test_one_list_as_the_source(kinetics):
    root, lists = kinetics("{split}/{label_}")
    manifest = scan.scan(lists / "val.csv", root=root)
    assert [row.status for row in manifest.rows] == ["ok", "ok"]


def test_of_two_videos_with_one_name_the_one_of_the_label_is_taken(
    tmp_path, video
):
    name = "-07WQ2iBlw0_000001_000011.mp4"
    video(tmp_path / "v/replacement" / name, 1)
    video(tmp_path / "v/val/playing_tennis" / name, 2)
    video(tmp_path / "v/val/testifying" / name, 3)
    (tmp_path / "val.csv").write_text("\n".join(KINETICS_VAL.split("\n")[:2]))
    manifest = scan.list_clips(
        tmp_path / "v", annotations=[tmp_path / "val.csv"]
    )
    (row,) = manifest.rows
    assert row.path == f"val/playing_tennis/{name}"


def test_clip_listed_twice_is_one_row_unless_its_label_differs(tmp_path, video):
    video(tmp_path / "v/-07WQ2iBlw0_000001_000011.mp4", 1)
    head, line, _ = KINETICS_VAL.split("\n", 2)
    other = line.replace("playing tennis", "playing squash")
    (tmp_path / "val.csv").write_text("\n".join([head, line, line, other]))
    manifest = scan.scan(tmp_path / "v", annotations=[tmp_path / "val.csv"])
    assert [(row.label, row.status) for row in manifest.rows] == [
        ("playing tennis", "ok"),
        ("playing squash", "missing"),
    ]
    manifest.save(tmp_path / "m.csv")  # rows have different paths
    assert len(scan.scan(tmp_path / "m.csv")) == 2


LABELS = {
    "Holding something": "0",
    "Pulling something from left to right": "1",
    "Pulling something from right to left": "2",
}


@pytest.fixture
def something(tmp_path, video):
    """Something-Something V2: videos by number, labels/*.json."""
    videos = tmp_path / "20bn-something-something-v2"
    for number in (3, 8, 78687, 41775):
        video(videos / f"{number}.webm", number % 9)
    (videos / "74225.webm").touch()
    lists = tmp_path / "labels"
    lists.mkdir()

    def clip(number, label, template):
        return {
            "id": str(number),
            "label": label,
            "template": template,
            "placeholders": ["a cup"],
        }

    left = "Pulling [something] from left to right"
    right = "Pulling [something] from right to left"
    contents = {
        "train": [
            clip(78687, "holding a cup", "Holding [something]"),
            clip(3, "pulling a cup from left to right", left),
            clip(74225, "pulling a cup from right to left", right),
            clip(999, "holding a cup", "Holding [something]"),
        ],
        "validation": [
            clip(41775, "pulling a cup from right to left", right),
        ],
        "labels": LABELS,
        "test": [{"id": "8"}],
    }
    for name, content in contents.items():
        (lists / f"{name}.json").write_text(json.dumps(content))
    (lists / "test-answers.csv").write_text("8;Holding something\n")
    return videos, lists


def test_something_something(something, tmp_path):
    videos, lists = something
    manifest = scan.scan(videos, format="ssv2", annotations=[lists])
    assert statuses(manifest) == {
        "78687.webm": "ok",
        "3.webm": "ok",
        "74225.webm": "empty",
        "999.webm": "missing",
        "41775.webm": "ok",
    }
    labels, options = parts_of(manifest, tmp_path / "m.csv")
    assert labels == {
        "train": ["Holding something", "Pulling something from left to right"],
        "val": ["Pulling something from right to left"],
    }
    # The official protocol: 2 clips x 3 crops of each video.
    source = opening.open_source(options, "val")
    (batch,) = pipeline.make_eval_dataset(
        source, options, batch_size=8, temporal_views=2, spatial_crops=3
    )
    assert batch[0].shape == (6, 4, 32, 32, 3)
    assert batch[3].numpy().tolist() == [0, 1, 2, 3, 4, 5]
    assert np.abs(batch[0][0] - batch[0][3]).max() > 0.1


def test_something_something_answers_of_the_test(something):
    videos, lists = something
    files = [lists / "train.json", lists / "test-answers.csv"]
    manifest = scan.scan(videos, annotations=files)
    (row,) = manifest.select(splits=("test",)).rows
    assert (row.path, row.label) == ("8.webm", "Holding something")
    with pytest.raises(ValueError, match="the test list has no labels"):
        scan.scan(videos, annotations=[lists / "test.json"])


@pytest.mark.parametrize(
    "template, message",
    [
        (None, r"train.json, entry 2 \(8\): `template` is empty"),
        (5, r"2 \(8\): `template` must be a line of text. .*template=5"),
    ],
)
def test_something_something_without_a_template(tmp_path, template, message):
    entries = [
        {"id": "3", "template": "Holding [something]"},
        {"id": 8, "template": template},
    ]
    (tmp_path / "train.json").write_text(json.dumps(entries))
    with pytest.raises(ValueError, match=message):
        annotations.read_annotations("ssv2", [tmp_path / "train.json"])


def test_something_something_label_that_is_not_listed(something):
    videos, lists = something
    del LABELS["Holding something"]
    try:
        (lists / "labels.json").write_text(json.dumps(LABELS))
    finally:
        LABELS["Holding something"] = "0"
    with pytest.raises(ValueError, match="'Holding something' of clip 78687"):
        scan.scan(videos, annotations=[lists / "train.json"])


@pytest.fixture
def ucf101(tmp_path, video):
    videos = tmp_path / "UCF-101"
    lines = [
        "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi",
        "HandstandPushups/v_HandStandPushups_g09_c02.avi",
        "ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi",
        "HandstandPushups/v_HandStandPushups_g01_c01.avi",
    ]
    for number, line in enumerate(lines):
        if number != 1:
            video(videos / line, number)
    lists = tmp_path / "ucfTrainTestlist"
    lists.mkdir()
    (lists / "classInd.txt").write_bytes(
        b"1 ApplyEyeMakeup\r\n2 HandstandPushups\r\n"
    )
    (lists / "trainlist01.txt").write_bytes(
        f"{lines[0]} 1\r\n{lines[1]} 2\r\n".encode()
    )
    (lists / "testlist01.txt").write_bytes(
        f"{lines[2]}\r\n{lines[3]}\r\n".encode()
    )
    (lists / "trainlist02.txt").write_text(f"{lines[3]} 2\n")
    (lists / "testlist02.txt").write_text(f"{lines[0]}\n")
    return videos, lists


def test_ucf101(ucf101, tmp_path):
    videos, lists = ucf101
    manifest = scan.scan(videos, format="ucf101", annotations=[lists])
    rows = {(row.label, row.split): row for row in manifest.rows}
    assert {key: row.status for key, row in rows.items()} == {
        ("ApplyEyeMakeup", "train"): "ok",
        ("HandstandPushups", "train"): "missing",
        ("ApplyEyeMakeup", "test"): "ok",
        ("HandstandPushups", "test"): "ok",
    }
    missing = rows["HandstandPushups", "train"]
    assert missing.path == "HandstandPushups/v_HandStandPushups_g09_c02.avi"
    assert missing.group == "v_HandStandPushups_g09"
    labels, _ = parts_of(manifest, tmp_path / "m.csv")
    assert labels == {
        "train": ["ApplyEyeMakeup"],
        "test": ["ApplyEyeMakeup", "HandstandPushups"],
    }
    second = scan.list_clips(
        videos,
        format="ucf101",
        annotations=[lists],
        reading=annotations.ReadOptions(split_number=2),
    )
    assert [(row.label, row.split) for row in second.rows] == [
        ("ApplyEyeMakeup", "test"),
        ("HandstandPushups", "train"),
    ]
    files = [lists / "trainlist01.txt", lists / "testlist01.txt"]
    assert len(scan.list_clips(videos, annotations=files)) == 4


def test_ucf101_class_that_is_not_listed(ucf101):
    videos, lists = ucf101
    (lists / "classInd.txt").write_text("1 ApplyEyeMakeup\n")
    with pytest.raises(ValueError, match="line 2: 'HandstandPushups' is no"):
        scan.scan(videos, annotations=[lists / "trainlist01.txt"])


@pytest.mark.parametrize(
    "text, split",
    [
        ("train", "train"),
        ("Training", "train"),
        ("k400train", "train"),
        ("kinetics_train", "train"),
        ("trainlist01", "train"),
        ("TrainSet", "train"),
        ("kineticsTrainval", "train"),
        ("val", "val"),
        ("valid", "val"),
        ("validate", "val"),
        ("something-something-v2-validation", "val"),
        ("eval", "val"),
        ("test", "test"),
        ("testing", "test"),
        ("testlist01", "test"),
        ("test-answers", "test"),
        ("kinetics-600_holdout", "test"),
        ("latest", ""),
        ("contest_interval", ""),
        ("constraints", ""),
        ("trainers", ""),
        ("list", ""),
    ],
)
def test_splits_are_whole_words(text, split):
    assert list_formats.split_of(text) == split


@pytest.mark.parametrize(
    "format, text, message",
    [
        ("ucf101", "A/a.avi 1\n\n\nb.avi 1\n", "line 4: `folder` is empty"),
        ("hmdb51", "a.avi 1\n\n \nb.avi\n", "line 4: must be a video"),
        ("numbered", "\na\u2028.mp4 0\r\n\r\nb x\n", "line 4: must be a path"),
    ],
)
def test_blank_lines_count_in_errors(tmp_path, format, text, message):
    (tmp_path / "list.txt").write_bytes(text.encode())
    with pytest.raises(ValueError, match=message):
        annotations.read_annotations(format, [tmp_path / "list.txt"])


def test_hmdb51(tmp_path, video):
    brush = "April_09_brush_hair_u_nm_np1_ba_goo_{}.avi"
    clap = "#20_Rhythm_clap_u_nm_np1_fr_goo_{}.avi"
    videos, lists = tmp_path / "hmdb51_org", tmp_path / "splits"
    lists.mkdir()
    for number in range(3):
        video(videos / "brush_hair" / brush.format(number), number)
    video(videos / "clap" / clap.format(0), 4)
    video(videos / "clap" / clap.format(1), 4)  # the same again
    (lists / "brush_hair_test_split1.txt").write_text(
        "".join(f"{brush.format(n)} {mark} \n" for n, mark in enumerate("120"))
    )
    (lists / "clap_test_split1.txt").write_text(
        f"{clap.format(0)} 1 \n{clap.format(1)} 1 \n{clap.format(2)} 2 \n"
    )
    (lists / "clap_test_split2.txt").write_text(f"{clap.format(0)} 2\n")
    manifest = scan.scan(videos, format="hmdb51", annotations=[lists])
    assert [(r.label, r.split, r.status) for r in manifest.rows] == [
        ("brush_hair", "train", "ok"),
        ("brush_hair", "test", "ok"),
        ("brush_hair", "unused", "ok"),
        ("clap", "train", "ok"),
        ("clap", "train", "duplicate"),
        ("clap", "test", "missing"),
    ]
    assert manifest.rows[-1].path == f"clap/{clap.format(2)}"
    assert {row.group for row in manifest.rows} == {"April_09", "#20_Rhythm"}
    labels, _ = parts_of(manifest, tmp_path / "m.csv")
    assert labels == {"train": ["brush_hair", "clap"], "test": ["brush_hair"]}
    (lists / "clap_test_split1.txt").write_text("x.avi 3\n")
    with pytest.raises(ValueError, match="line 1: must be a video and 0, 1"):
        scan.scan(videos, format="hmdb51", annotations=[lists])


@pytest.mark.parametrize("separator", [" ", ",", ", "])
def test_paths_and_numbers(tmp_path, video, separator):
    video(tmp_path / "a clip.mp4", 1)
    video(tmp_path / "train/b.mp4", 2)
    lines = ["a clip.mp4 0", "train/b.mp4 11", "train/c.mp4 2"]
    (tmp_path / "train.csv").write_text(
        "\n".join(separator.join(line.rsplit(" ", 1)) for line in lines)
    )
    manifest = scan.scan(tmp_path / "train.csv", format="csv")
    assert [
        (row.path, row.label, row.split, row.status) for row in manifest.rows
    ] == [
        ("a clip.mp4", "00", "train", "ok"),
        ("train/b.mp4", "11", "train", "ok"),
        ("train/c.mp4", "02", "train", "missing"),
    ]
    assert manifest.classes == ("00", "02", "11")  # the order of the numbers


def test_paths_of_windows_and_numbers(tmp_path, video):
    video(tmp_path / "a/1.mp4", 1)
    (tmp_path / "train.txt").write_text("a\\1.mp4 0\n")
    (row,) = scan.list_clips(tmp_path / "train.txt").rows
    assert row.path == "a/1.mp4"


@pytest.mark.parametrize("suffix", [".txt", ".json"])
def test_numbers_with_names(tmp_path, video, suffix):
    video(tmp_path / "a.mp4", 1)
    (tmp_path / "val.txt").write_text("a.mp4 1\n")
    names = tmp_path / f"names{suffix}"
    names.write_text(
        "run\nwalk away\n" if suffix == ".txt" else '{"walk away": 1, "run": 0}'
    )
    reading = annotations.ReadOptions(labels=str(names))
    manifest = scan.scan(tmp_path / "val.txt", reading=reading)
    assert (manifest.rows[0].label, manifest.rows[0].split) == (
        "walk away",
        "val",
    )
    (tmp_path / "val.txt").write_text("a.mp4 2\n")
    message = "2 names, from number 0 to 1, and clips of class 2"
    with pytest.raises(ValueError, match=message):
        scan.scan(tmp_path / "val.txt", reading=reading)


def numbered(tmp_path, names):
    """Returns the labels of clips of class 1 and 3, by a file of names."""
    (tmp_path / "list.txt").write_text("a.mp4 1\nb.mp4 3\n")
    (tmp_path / "names.json").write_text(names)
    found = annotations.read_annotations(
        "numbered",
        [tmp_path / "list.txt"],
        annotations.ReadOptions(labels=str(tmp_path / "names.json")),
    )
    return [clip.label for clip in found]


def test_a_folder_of_numbered_lists_is_scanned_as_such(tmp_path):
    lists = tmp_path / "lists"
    lists.mkdir()
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).touch()
    (lists / "train.txt").write_text("a.mp4 1\n")
    (lists / "val.txt").write_text("b.mp4 0\n")
    found = scan.list_clips(
        tmp_path, None, "numbered", [lists], annotations.ReadOptions()
    )
    assert [(row.path, row.split) for row in found.rows] == [
        ("a.mp4", "train"),
        ("b.mp4", "val"),
    ]


def test_names_are_found_by_their_numbers(tmp_path):
    assert numbered(tmp_path, '{"walk": "3", "jump": 1}') == ["jump", "walk"]


@pytest.mark.parametrize(
    "names, message",
    [
        ('{"jump": 1, "run": 2}', "2 names, from number 1 to 2, .* class 3"),
        ("{}", "0 names, .* class 1, 3"),
        ('{"jump": 1, "run": 1, "walk": 3}', "each number once"),
        (
            '{"1": "jump", "3": "walk"}',
            r'names.json must be {"name of a class"',
        ),
        ('["jump", "run"]', 'must be {"name of a class": its number'),
        ("5", 'must be {"name of a class": its number'),
    ],
)
def test_names_that_do_not_fit_are_refused(tmp_path, names, message):
    with pytest.raises(ValueError, match=message) as caught:
        numbered(tmp_path, names)
    assert "\n" not in str(caught.value)


def test_no_validation_is_held_out_of_a_given_train_split(tmp_path, ucf101):
    # Held-out clips would be in the train split, and in the test split too.
    videos, lists = ucf101
    manifest = scan.scan(videos, format="ucf101", annotations=[lists])
    manifest.save(tmp_path / "m.csv")
    options = options_lib.DataOptions(source=str(tmp_path / "m.csv"))
    with pytest.raises(ValueError, match=r"part='val', splits \['test', 'tr"):
        opening.open_source(options, "val")


BAD_LISTS = {
    "no labels": (
        "kinetics",
        "youtube_id,time_start,time_end,split\na,1,2,test\n",
        "It lacks label; lists without",
    ),
    "no seconds": (
        "kinetics",
        "label,youtube_id,time_start,time_end\nx,a,one,2\n",
        r"'one', '2' in .*x\.csv, line 2",
    ),
    "a short row": (
        "kinetics",
        "time_start,time_end,split,label,youtube_id\n1,2,train,x\n",
        "line 2: `youtube_id` is empty",
    ),
    "an open quote": (
        "kinetics",
        'label,youtube_id,time_start,time_end\nx,a,1,2\n"y,b,1,2\nx,c,1,2\n',
        r"after line 2 that cannot be read \(unexpected end of data\)",
    ),
    "two open quotes": (
        "kinetics",
        'label,youtube_id,time_start,time_end\n"y,b,1,2\ny",c,1,2\n',
        r"line 3: `label` must be a line of text.*'y,b,1,2\\ny'",
    ),
    "empty label": (
        "kinetics",
        "label,youtube_id,time_start,time_end\n,a,1,2\n",
        "line 2: `label` is empty",
    ),
    "no clip": (
        "kinetics",
        "label,youtube_id,time_start,time_end\n",
        r"must list clips. Received: .*x\.csv, which has none",
    ),
    "no video": (
        "kinetics",
        "label,youtube_id,time_start,time_end\nx,a,1,2\n",
        r"which has none of 1, such as a_000001_000002\.mp4",
    ),
    "three columns": (
        "auto",
        "a.mp4 300 0\nb.mp4 90 1\n",
        "x.csv must list .*: three columns, the first line 'a.mp4 300' and 0",
    ),
    "no number": ("csv", "b.mp4 1\na.mp4 one\n", "line 2: must be a path and"),
    "not a list": ("auto", "dear,sir\n", "must be a CSV file with the columns"),
}


@pytest.mark.parametrize("case", BAD_LISTS)
def test_bad_lists_are_explained_in_one_line(tmp_path, case):
    format, text, message = BAD_LISTS[case]
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        scan.scan(tmp_path / "x.csv", format=format)
    assert "\n" not in str(caught.value)


def test_a_list_in_another_encoding_is_refused(tmp_path):
    text = "label,youtube_id,time_start,time_end\ncaf\xe9,a,1,2\n"
    (tmp_path / "x.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match="x.csv is no CSV file in UTF-8"):
        scan.scan(tmp_path / "x.csv", format="kinetics")


def test_json_that_is_none(tmp_path):
    for text, message in [
        ("[{", "is not a list of clips: not valid JSON"),
        ('{"a": 1}', "must be a list of"),
    ]:
        (tmp_path / "train.json").write_text(text)
        with pytest.raises(ValueError, match=message):
            scan.scan(tmp_path / "train.json")


def test_arguments_that_do_not_go_together(tmp_path):
    (tmp_path / "x.csv").write_text("path,label\na.mp4,x\n")
    with pytest.raises(ValueError, match="format='ucf'"):
        scan.scan(tmp_path, format="ucf")
    with pytest.raises(ValueError, match="given for the format kinetics"):
        scan.scan(tmp_path, format="kinetics")
    with pytest.raises(ValueError, match="folder of the videos where"):
        scan.scan(tmp_path / "x.csv", annotations=[tmp_path / "x.csv"])
    with pytest.raises(ValueError, match="no list of clips .*gone"):
        scan.scan(tmp_path, annotations=[tmp_path / "gone.csv"])
    with pytest.raises(ValueError, match="files named like"):
        scan.scan(tmp_path, format="hmdb51", annotations=[tmp_path])
