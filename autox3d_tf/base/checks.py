"""Checks of arguments: what was expected, and what came."""

from typing import Any


def check_choice(name: str, value: Any, known) -> None:
    """Raises ValueError unless `value` is one of `known`."""
    if value not in tuple(known):  # what no key can be is refused too
        raise ValueError(
            f"`{name}` must be one of {', '.join(map(str, known))}. "
            f"Received: {name}={value!r}."
        )


def check_positive_int(name: str, value: Any) -> None:
    """Raises ValueError unless `value` is an int of at least 1."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(
            f"`{name}` must be a positive integer. Received: {name}={value!r}."
        )


def check_text(name: str, value: Any) -> None:
    """Raises ValueError unless `value` is text, and not empty."""
    if not isinstance(value, str) or not value:
        raise ValueError(
            f"`{name}` must be a text, not empty. Received: {name}={value!r}."
        )


def check_bool(name: str, value: Any) -> None:
    """Raises ValueError unless `value` is True or False."""
    if not isinstance(value, bool):
        raise ValueError(
            f"`{name}` must be true or false. Received: {name}={value!r}."
        )


def check_list(name: str, value: Any) -> None:
    """Raises ValueError unless `value` is a list or a tuple."""
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"`{name}` must be a list. Received: {value!r}.")


def check_triple(name: str, value: Any) -> None:
    """Raises ValueError unless `value` is three positive ints."""
    if not isinstance(value, tuple) or len(value) != 3:
        raise ValueError(
            f"`{name}` must be a (time, height, width) tuple. "
            f"Received: {name}={value!r}."
        )
    for entry in value:
        check_positive_int(name, entry)


def check_field(options: Any, name: str, valid: bool, wanted: str) -> None:
    """Raises ValueError unless a field of options is `valid`.

    Args:
        options: Has an attribute `name`.
        name: Of the field.
        valid: What was found.
        wanted: What it must be, such as "at least 0".
    """
    if not valid:
        raise ValueError(
            f"`{name}` must be {wanted}. "
            f"Received: {name}={getattr(options, name)!r}."
        )
