"""Checks of arguments: what was expected, and what came."""

import dataclasses
import math
import typing
from collections.abc import Callable
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
    """Raises ValueError unless `value` is a non-empty string."""
    if not isinstance(value, str) or not value:
        raise ValueError(
            f"`{name}` must be a non-empty string. Received: {name}={value!r}."
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
        raise ValueError(
            f"`{name}` must be a list. Received: {name}={value!r}."
        )


def check_triple(name: str, value: Any) -> None:
    """Raises ValueError unless `value` is three positive ints."""
    if not isinstance(value, tuple) or len(value) != 3:
        raise ValueError(
            f"`{name}` must be a (time, height, width) tuple. "
            f"Received: {name}={value!r}."
        )
    for entry in value:
        check_positive_int(name, entry)


def check_not_empty(options: Any, name: str) -> None:
    """Raises ValueError if a field of options, such as a tuple, is empty."""
    value = getattr(options, name)
    if not value:
        raise ValueError(
            f"`{name}` must name at least one. Received: {name}={value!r}."
        )


def check_field(
    options: Any, name: str, is_valid: Callable[[Any], bool], wanted: str
) -> None:
    """Raises ValueError unless a field of options is valid.

    Args:
        options: Has an attribute `name`.
        name: Of the field.
        is_valid: Judges its value. A TypeError is a no: numbers are compared
            with what may be None or a text.
        wanted: What it must be, such as "at least 0".
    """
    value = getattr(options, name)
    try:
        valid = is_valid(value)
    except TypeError:
        valid = False
    if not valid:
        raise ValueError(
            f"`{name}` must be {wanted}. Received: {name}={value!r}."
        )


def check_numbers(options: Any) -> None:
    """Raises ValueError unless a dataclass's numbers are finite, counts whole.

    A field that takes an int and no float is a count.
    """
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if not isinstance(value, float):
            continue
        kinds = typing.get_args(field.type) or (field.type,)
        if int in kinds and float not in kinds:
            check_field(options, field.name, lambda _: False, "a whole number")
        check_field(options, field.name, math.isfinite, "finite")


def check_saves(options: Any) -> None:
    """Checks how often options ask for checkpoints: `save_secs`, `save_steps`.

    Raises:
        ValueError: That is not possible.
    """
    check_field(options, "save_secs", lambda v: v > 0, "positive")
    check_field(
        options,
        "save_steps",
        lambda v: v is None or v >= 1,
        "at least 1, or None for `save_secs`",
    )
