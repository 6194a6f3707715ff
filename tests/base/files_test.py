"""Files are whole or as they were."""

import json
import re

import pytest

from autox3d_tf.base import files


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "folder" / "a.json"
    files.write_json(path, {"a": (1, 2)})
    with pytest.raises(ValueError, match="must be made of JSON values"):
        files.write_json(path, {"a": object()})
    with pytest.raises(KeyError), files.whole(path) as partial:
        partial.write_text("half")
        raise KeyError
    assert json.loads(path.read_text()) == {"a": [1, 2]}
    assert [entry.name for entry in path.parent.iterdir()] == ["a.json"]


def test_who_reads_while_a_file_is_replaced_reads_the_old_one(tmp_path):
    path = files.write_text(tmp_path / "a.txt", "old")
    with open(path) as reader:
        files.write_text(path, "new")
        assert reader.read() == "old"
    assert path.read_text() == "new"


def test_the_content_is_on_the_disk_before_the_name(tmp_path, monkeypatch):
    done = []
    for name in ("fsync", "replace"):
        true = getattr(files.os, name)

        def noted(*args, name=name, true=true):
            done.append(name)
            return true(*args)

        monkeypatch.setattr(files.os, name, noted)
    path = files.write_text(tmp_path / "a.txt", "new")
    assert (done, path.read_text()) == (["fsync", "replace"], "new")


def test_sets_are_written_in_one_order():
    names = {f"name{i}" for i in range(10)}
    assert files.to_json({"a": names}) == {"a": sorted(names)}


def test_a_byte_order_mark_is_no_damage(tmp_path):
    (tmp_path / "a.json").write_text('\ufeff{"a": 1}', encoding="utf-8")
    assert files.read_json(tmp_path / "a.json", "a result") == {"a": 1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "Cannot read a result from {path}: No such file"),
        ("{", "{path} is not a result: not valid JSON"),
        ("[" * 100_000, "{path} is not a result: not valid JSON"),
        ("[]", "{path} was not written by a comparison"),
        ('{"format": "ours"}', "{path} must have schema_version=2. Received"),
    ],
)
def test_a_record_of_something_else_is_one_line(tmp_path, text, message):
    path = tmp_path / "a.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ValueError, match=re.escape(message.format(path=path))):
        files.read_record(path, "a result", "a comparison", "ours", 2)
