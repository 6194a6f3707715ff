"""A search as one self-contained HTML page."""

import base64
import html
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from autox3d_tf import cost
from autox3d_tf.base import files as files_lib
from autox3d_tf.runs import json_lines
from autox3d_tf.runs import run_dir as run_dir_lib
from autox3d_tf.search import figures, files, markdown, options
from autox3d_tf.search import history as history_lib
from autox3d_tf.space import arch as arch_lib
from autox3d_tf.space import search_space

FILE = "report.html"
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem;
       margin: 2rem auto; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; margin: 1rem 0; }
td, th { padding: .2rem .7rem; border-bottom: 1px solid #ddd;
         text-align: right; }
td:first-child, th:first-child { text-align: left; }
img { max-width: 100%; }
code { font-size: .9em; }
"""


def write_report(
    run_dir: str | os.PathLike,
    tables: Sequence[tuple[str, markdown.Table]] = (),
) -> pathlib.Path:
    """Writes report.html into the directory of a search; returns its path.

    Args:
        run_dir: Of a search. One that is still going is drawn so far.
        tables: To add at the end, with their headings.

    Raises:
        ValueError: If there is nothing to draw.
    """
    run_dir = pathlib.Path(run_dir)
    entries = json_lines.read(run_dir / history_lib.FILE)
    record_path = run_dir / files.RECORD
    if not entries and not record_path.is_file():
        raise ValueError(
            f"{run_dir} holds no history of a search "
            f"({history_lib.FILE} is missing or empty)."
        )
    space = search_space.load_space(run_dir / "space.json")
    sections = []
    if entries:  # a supernet that was taken leaves none
        budgets = run_dir_lib.read_config(run_dir)["budgets"]
        targets = {one["metric"]: one["target"] for one in budgets}
        choices = _image(figures.draw_choices(space, entries))
        sections = [
            ("How it went", _image(figures.draw_curves(entries, targets))),
            ("Probabilities of the choices", choices),
        ]
    if record_path.is_file():
        record = files.read_record(run_dir)
        arch = arch_lib.load_arch(run_dir / "arch.json")
        children = _image(figures.draw_children(record))
        top = top_table(space, record)
        sections = [
            ("What was found", _found(record)),
            ("The network", _image(figures.draw_network(arch, record))),
            *sections,
            ("Judged inside the supernet", children),
            ("The first of those within budget", _table(*top)),
        ]
        if record.get("finalists"):
            sections.insert(1, ("Finalists", _finalists_table(space, record)))
    else:
        sections.insert(0, ("Still searching", _progress(entries)))
    sections += [(heading, _table(*table)) for heading, table in tables]
    body = "\n".join(f"<h2>{title}</h2>\n{text}" for title, text in sections)
    title = f"Search of {html.escape(space.name)}"
    page = (
        f"<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
        f"<title>{title}</title><style>{_STYLE}</style></head>\n"
        f"<body><h1>{title}</h1>\n{body}\n</body></html>\n"
    )
    return files_lib.write_text(run_dir / FILE, page)


def _found(record):
    counts, judged_on = record["counts"], record["judged_on"]
    clips = judged_on.get("distinct", judged_on["clips"])
    rows = [
        ("entropy at the end", f"{record['entropy']:.2f} nats"),
        ("log probability", f"{record['log_prob']:.2f}"),
        (
            "inherited accuracy",
            f"{100 * record['inherited_accuracy']:.1f} % of {clips} clips of "
            f"{record['judged_on']['of']}",
        ),
        ("architectures sampled", f"{counts['architectures']:,}"),
        ("clips, for the weights", f"{counts['clips_trained']:,}"),
        ("clips, for the architecture", f"{counts['clips_judged']:,}"),
        ("seed", record["config"]["seed"]),
        ("architecture", record["arch"][:12]),
        ("space", record["space_fingerprint"][:12]),
    ]
    if record["method"] not in options.JUDGED:
        rows.insert(2, ("rank among all", files.rank_text(record)))
    for metric, value in record["costs"].items():
        text = " of at most ".join(
            cost.format_amount(metric, value[name])
            for name in ("cost", "target")
        )
        rows.insert(0, (metric, text))
    return _table(("", ""), rows)


def _progress(entries):
    last = entries[-1]
    return _table(
        ("", ""),
        [("step", last["step"]), ("entropy", f"{last['entropy']:.2f} nats")],
    )


def top_table(
    space: search_space.SearchSpace, record: Mapping[str, Any]
) -> markdown.Table:
    """Returns the networks that a search lists, in its order."""
    rows = [
        [
            str(place),
            *_shape_cells(space, one["indices"]),
            f"{one['log_prob']:.2f}",
            *map(cost.format_amount, record["metrics"], one["costs"]),
            f"{100 * one['judged']['accuracy']:.1f}",
        ]
        for place, one in enumerate(record["top"], 1)
    ]
    header = ("", "filters", "blocks", "log probability", *record["metrics"])
    return (*header, "inherited accuracy, %"), rows


def _finalists_table(space, record):
    """Trained on on a half of the clips, judged on the other."""
    rows = [
        (
            place,
            *_shape_cells(space, one["indices"]),
            f"{one['log_likelihood']:.3f}",
            f"{100 * one['accuracy']:.1f}",
            "chosen" if one["indices"] == record["indices"] else "",
        )
        for place, one in enumerate(record["finalists"], 1)
    ]
    header = "", "filters", "blocks", "log-likelihood", "accuracy, %", ""
    return _table(header, rows)


def _shape_cells(space, indices) -> tuple[str, str]:
    """Filters and blocks of the stages."""
    arch = space.decode(indices)
    return (
        "-".join(str(stage[0].filters) for stage in arch.stages),
        "-".join(str(len(stage)) for stage in arch.stages),
    )


def _table(header, rows):
    def line(cells, tag):
        inner = "".join(
            f"<{tag}>{html.escape(str(cell))}</{tag}>" for cell in cells
        )
        return f"<tr>{inner}</tr>"

    lines = [line(header, "th")] if any(header) else []
    lines += [line(row, "td") for row in rows]
    return "<table>\n" + "\n".join(lines) + "\n</table>"


def _image(figure) -> str:
    data = base64.b64encode(figures.as_png(figure)).decode()
    return f"<img alt='' src='data:image/png;base64,{data}'>"
