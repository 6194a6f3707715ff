"""What a search leaves behind, and how its record is read back.

    arch.json       the architecture, within budget, with its provenance
    space.json      the space it was found in
    inherited.npz   weights it inherits from the supernet, by name
    search.json     what was found and at what cost, runners-up, provenance

record.py writes them. This needs no TensorFlow: pages are drawn at once.
"""

import os
import pathlib
from collections.abc import Mapping
from typing import Any

from autox3d_tf.base import files as files_lib

FORMAT, SCHEMA_VERSION = "autox3d_tf.search", 2
RECORD = "search.json"
RANK_LIMIT = 1_000  # how far ranks and ties are counted


def read_record(run_dir: str | os.PathLike) -> dict[str, Any]:
    """Reads search.json. Raises ValueError naming what is wrong."""
    path = pathlib.Path(run_dir, RECORD)
    return files_lib.read_record(
        path, "the record of a search", "a search", FORMAT, SCHEMA_VERSION
    )


def is_finished(
    run_dir: str | os.PathLike, reported: dict[str, Any] | None = None
) -> bool:
    """Whether a search has ended here.

    Args:
        run_dir: Of the search.
        reported: And has said so much of its end.
    """
    if not pathlib.Path(run_dir, RECORD).is_file():
        return False
    return reported is None or reported == read_record(run_dir).get("reported")


def rank_text(record: Mapping[str, Any]) -> str:
    """The rank among all of the network that a record says was chosen.

    >>> rank_text({"rank": None, "rank_above": 1000})
    'more than 1,000'
    >>> rank_text({"rank": 1, "rank_ties": 1000})
    '1, tied with 1,000 others or more'
    """
    if record["rank"] is not None:
        text, ties = f"{record['rank']:,}", record.get("rank_ties")
        if ties:  # such as all, where the logits took no step
            text += f", tied with {ties:,} other{'s' if ties > 1 else ''}"
            text += " or more" if ties >= RANK_LIMIT else ""
        return text
    above = record.get("rank_above")  # None for a baseline
    return "not known" if above is None else f"more than {above:,}"
