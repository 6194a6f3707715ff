"""Files that are whole or not there, and JSON that says what it is."""

import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any


@contextlib.contextmanager
def whole(path: str | os.PathLike) -> Iterator[pathlib.Path]:
    """Yields where to write; the file then takes its place at once.

    If writing fails or is killed, or the power goes, what was at `path` stays
    as it was.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield partial
        with open(partial, "rb") as file:
            os.fsync(file.fileno())  # the name must not be there before it
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: str | os.PathLike, text: str) -> pathlib.Path:
    """Writes `text`, whole or not at all, even if killed; returns the path."""
    with whole(path) as partial:
        partial.write_text(text, encoding="utf-8")
    return pathlib.Path(path)


def write_json(path: str | os.PathLike, value: Any) -> pathlib.Path:
    """Writes `value` as JSON, whole or not at all; returns the path."""
    return write_text(path, json.dumps(to_json(value), indent=1) + "\n")


def to_json(value: Any) -> Any:
    """Turns dataclasses, tuples, paths and numpy numbers into JSON values."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        return {f.name: to_json(getattr(value, f.name)) for f in fields}
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted(to_json(item) for item in value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "tolist"):  # numpy arrays and numbers
        return value.tolist()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise ValueError(
        "`value` must be made of JSON values, dataclasses, paths or arrays. "
        f"Received: value={value!r} of {type(value).__name__}."
    )


def file_sha256(path: str | os.PathLike) -> str:
    """Returns the hex sha256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_json(path: str | os.PathLike, what: str) -> Any:
    """Reads a JSON file; ValueError in a line if missing or damaged.

    A byte order mark, which some editors write, may be before it.
    """
    try:
        return json.loads(pathlib.Path(path).read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ValueError(
            f"Cannot read {what} from {path}: {error.strerror}."
        ) from error
    except (ValueError, RecursionError) as error:  # as of 100,000 "["
        raise ValueError(
            f"{path} is not {what}: not valid JSON ({error})."
        ) from error


def read_record(
    path: str | os.PathLike, what: str, maker: str, format: str, version: int
) -> dict[str, Any]:
    """Reads JSON that says what wrote it, and how.

    Args:
        path: The file.
        what: What it should be, for messages, such as "a result".
        maker: What should have written it, such as "a training".
        format: The `format` that it should have.
        version: Its `schema_version`.

    Raises:
        ValueError: It is missing, damaged, or of something else.
    """
    record = read_json(path, what)
    if not isinstance(record, dict) or record.get("format") != format:
        raise ValueError(f"{path} was not written by {maker}.")
    if record.get("schema_version") != version:
        raise ValueError(
            f"{path} must have schema_version={version}. Received: "
            f"schema_version={record.get('schema_version')!r}. See 'Schema "
            "changes' in CHANGELOG.md."
        )
    return record


def check_writable(path: str | os.PathLike) -> None:
    """Finds out before long work whether its result can be kept.

    Raises:
        ValueError: The file cannot be written.
    """
    if os.path.isdir(path):
        raise ValueError(f"Cannot write {path}: it is a folder.")
    folder = pathlib.Path(path).parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ValueError(f"Cannot write {path}: {error.strerror}.") from error


def check_fields(cls: type, data: Mapping[str, Any]) -> None:
    """Refuses unknown and missing fields of a dataclass, by name."""
    fields = {f.name: f for f in dataclasses.fields(cls)}
    unknown = sorted(set(data) - set(fields))
    missing = sorted(
        name
        for name, field in fields.items()
        if name not in data
        and field.default is dataclasses.MISSING
        and field.default_factory is dataclasses.MISSING
    )
    for what, names in (("unknown", unknown), ("missing", missing)):
        if names:
            raise ValueError(f"{what} {cls.__name__} fields {names}.")


def read_fields(cls: type, data: Mapping[str, Any]):
    """Builds a flat dataclass from a JSON object; lists become tuples."""
    if not isinstance(data, Mapping):
        raise ValueError(f"{cls.__name__} must be an object, not {data!r}.")
    check_fields(cls, data)
    lists_to_tuples = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in data.items()
    }
    return cls(**lists_to_tuples)
