"""A run's directory: what made it, and where its files lie.

    run.json         what the run is (its config); another one is refused
    config.gin       the operative gin config, if gin started the run
    provenance.json  seed, versions, machine, command, hashes of the inputs
    checkpoints/     see checkpoints.py
    summaries/       for TensorBoard
    run.lock         held by the process at work there; see claim.py

Files are written whole or not at all, even if the process is killed.
"""

import hashlib
import importlib.metadata
import json
import os
import pathlib
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from absl import logging

from autox3d_tf.base import files as files_lib

_RUN_FILE = "run.json"
_PROVENANCE = "provenance.json"
_OWN_NAMES = ("config.gin", _PROVENANCE, "checkpoints", "summaries")
_MAKERS = ("git_commit", "python", "platform", "versions")
_PACKAGES = (
    "autox3d_tf",
    "tensorflow",
    "keras",
    "numpy",
    "gin-config",
    "av",
)

# Set by gin_app: returns the text of config.gin. Without gin there is none.
config_text: Callable[[], str] | None = None


class RunDir:
    """The directory of one run, created or entered again.

    Args:
        path: The directory. It is made, with its parents.
        config: What the run is: whatever must not change when it resumes
            (kind, seed, options, fingerprints). A mapping or dataclass of
            JSON-like values. Leave out what may change, such as how many
            checkpoints to keep.
        writes: Whether this process makes the directory. The workers of a run
            beside its chief find it made.

    Raises:
        ValueError: If another run, or none of ours, lives there.

    >>> import tempfile
    >>> run = RunDir(tempfile.mkdtemp() + "/a", {"kind": "demo", "seed": 0})
    >>> run.checkpoints.name, run.resumed
    ('checkpoints', False)
    """

    def __init__(
        self, path: str | os.PathLike, config: Any = None, writes: bool = True
    ):
        self.path, self.writes = pathlib.Path(path), writes
        self.config = files_lib.to_json({} if config is None else config)
        self.checkpoints = self.path / "checkpoints"
        self.summaries = self.path / "summaries"
        self._earlier: list[dict[str, Any]] = []
        self.resumed = self._check_same_run()
        if not writes:
            if not self.resumed:
                raise ValueError(
                    f"{self.path} must be a directory that all workers see. "
                    "Received: one without the chief's files. Give all of "
                    "them the same --run_dir, on a shared disk."
                )
            return
        if not self.resumed:  # first: what lies beside it is this run's
            self.write_json(_RUN_FILE, self.config)
        for folder in (self.checkpoints, self.summaries):
            folder.mkdir(parents=True, exist_ok=True)

    def _check_same_run(self) -> bool:
        """Returns whether the run has been here before."""
        if self.path.exists() and not self.path.is_dir():
            raise ValueError(
                f"`path` must be a directory. Received: path={self.path}, "
                "which is a file. Give another --run_dir."
            )
        if not (self.path / _RUN_FILE).exists():
            taken = [n for n in _OWN_NAMES if (self.path / n).exists()]
            if taken:
                raise ValueError(
                    f"`path` must be a new directory or one of this run. "
                    f"Received: path={self.path}, which has {taken[0]} but no "
                    f"{_RUN_FILE}. Give another --run_dir."
                )
            return False
        ours = self.config if isinstance(self.config, dict) else {}
        check_kind(self.path, ours.get("kind"))
        there = read_config(self.path)
        changes = differences(there, as_there(self.config, there))
        if changes:
            raise ValueError(
                f"{self.path} belongs to another run ({'; '.join(changes)}). "
                "Give another --run_dir, or the options it was started with."
            )
        self.config = there  # for the same fingerprint, of checkpoints too
        return True

    @property
    def fingerprint(self) -> str:
        """Hex digest of the config: equal for equal runs."""
        return fingerprint_of(self.config)

    def file(self, name: str) -> pathlib.Path:
        """Returns the path of a file of the run."""
        return self.path / name

    def write_json(self, name: str, value: Any) -> pathlib.Path:
        """Writes `value` whole or not at all; returns the path."""
        return files_lib.write_json(self.path / name, value)

    def write_provenance(self, **inputs: Any) -> pathlib.Path:
        """Writes provenance.json and config.gin: what is at work here.

        So a process does it that is alone here, not one that may yet be
        refused. See `provenance` for the arguments.
        """
        if config_text is not None:
            files_lib.write_text(self.path / "config.gin", config_text())
        made = provenance(**inputs)
        if self.resumed and (self.path / _PROVENANCE).is_file():
            self._note_earlier(made)
        made["earlier"] = self._earlier
        return self.write_json(_PROVENANCE, made)

    def provenance(self, **inputs: Any) -> dict[str, Any]:
        """Says what makes an artefact, and what was at work here before.

        `earlier` has the processes that differ in more than their time, the
        first one first. See the function `provenance` for the arguments.
        """
        return {**provenance(**inputs), "earlier": self._earlier}

    def _note_earlier(self, made) -> None:
        last = files_lib.read_json(self.path / _PROVENANCE, "a provenance")
        self._earlier = last.pop("earlier", [])
        last.pop("inputs", None)  # the same, or it would be another run
        if any(last.get(name) != made[name] for name in (*_MAKERS, "command")):
            self._earlier.append(last)
        changes = differences(
            *({name: one.get(name) for name in _MAKERS} for one in (last, made))
        )
        if changes:
            logging.warning(
                "%s goes on with other code or versions than before (%s): it "
                "may end otherwise than without an interruption.",
                self.path,
                "; ".join(changes),
            )


def is_run(path: str | os.PathLike) -> bool:
    """Whether a run has begun in a directory."""
    return pathlib.Path(path, _RUN_FILE).is_file()


def check_kind(path: str | os.PathLike, kind: str | None) -> None:
    """Refuses the directory of a run of another kind, before it gets files."""
    if not is_run(path):
        return
    there = read_config(path)
    there = there.get("kind") if isinstance(there, dict) else None
    if there != kind:
        raise ValueError(
            f"{path} belongs to a run of another kind, {there!r} there and "
            f"{kind!r} here. Give another --run_dir."
        )


def read_config(path: str | os.PathLike) -> dict[str, Any]:
    """Reads what the run of a directory is."""
    file = pathlib.Path(path, _RUN_FILE)
    if not is_run(path):
        raise ValueError(f"{path} is no run's directory: no {_RUN_FILE}.")
    return files_lib.read_json(file, "the config of a run")


def fingerprint_of(config: Any) -> str:
    """Hex digest of a run's config."""
    text = json.dumps(config, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def provenance(**inputs: Any) -> dict[str, Any]:
    """Says what makes an artefact: put it into everything a run writes.

    Args:
        **inputs: What went in, by name. A `pathlib.Path` of a file is
            recorded with its sha256; all else as it is, so pass `seed=` and
            fingerprints here.
    """
    return {
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "command": sys.argv,
        "git_commit": git_commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "versions": _versions(),
        "inputs": {name: _input(value) for name, value in inputs.items()},
    }


def _input(value: Any) -> Any:
    if isinstance(value, pathlib.Path) and value.is_file():
        return {"path": str(value), "sha256": files_lib.file_sha256(value)}
    return files_lib.to_json(value)


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def git_commit() -> str | None:
    """Returns the commit of this source tree, "-dirty" added if changed."""
    here = pathlib.Path(__file__).resolve().parents[2]
    if not (here / ".git").exists():
        return None
    git = ["git", "-C", str(here)]
    try:
        commit = subprocess.run(
            [*git, "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        ).stdout.strip()
        changed = subprocess.run(
            [*git, "status", "--porcelain", "--untracked-files=no"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
    return commit + ("-dirty" if changed else "")


def as_there(config: dict, there: dict) -> dict:
    """Returns a config with what changes no result as another has it."""
    start, known = (run.get("init_from") or {} for run in (config, there))
    if start and start.get("sha256") == known.get("sha256"):
        config = {**config, "init_from": known}  # wherever the file lies now
    ours, theirs = (run.get("data") or {} for run in (config, there))
    if not ours or not theirs:
        return config
    same = {name: theirs.get(name) for name in ("memory_mib", "cache_dir")}
    paths = [data.get("source", "") for data in (ours, theirs)]
    spelled_otherwise = len(set(map(os.path.realpath, paths))) == 1
    if spelled_otherwise or _moved(config, there, *paths):
        same["source"] = theirs.get("source")
    return {**config, "data": {**ours, **same}}


def _moved(config: dict, there: dict, path: str, known: str) -> bool:
    """Whether the same clips, in a place of the same name, are elsewhere."""
    names = ("manifest", "order")
    same = all(config.get(n) and config[n] == there.get(n) for n in names)
    # A manifest does not tell the size of records: those of another size are
    # known by another name only.
    named_alike = os.path.basename(path) == os.path.basename(known)
    is_there = "://" in known or os.path.exists(known)
    return same and named_alike and not is_there


def differences(there: Any, here: Any, name: str = "") -> list[str]:
    """Names the leaves in which two JSON values differ.

    What is null is as what is not there: options that came later are null
    where nobody asks for them.
    """
    if isinstance(there, dict) and isinstance(here, dict):
        found = []
        for key in sorted(there.keys() | here.keys()):
            inner = f"{name}.{key}" if name else key
            found += differences(there.get(key), here.get(key), inner)
        return found
    if there == here:
        return []
    there, here = ("nothing" if v is None else v for v in (there, here))
    return [f"{name or 'config'}={there!r} there, {here!r} here"]
