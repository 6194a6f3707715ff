"""Tables as Markdown."""

from collections.abc import Sequence

Table = tuple[Sequence[str], list[list[str]]]  # header, rows


def format_table(table: Table) -> str:
    """Returns a table as Markdown."""
    header, rows = table
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
