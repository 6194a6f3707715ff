import collections.abc
import dataclasses
import os
from typing import Any, Literal, Optional, Union

import pytest

from autox3d_tf.runs import type_check


class Base:
    pass


class Child(Base):
    def __init__(self, size: int = 1):
        self.size = size


def make_child() -> Child:
    return Child()


def make_tuple() -> tuple[int, int]:
    return 1, 2


def make_int() -> int:
    return 1


def make_something():
    return 1


@pytest.mark.parametrize(
    "value, annotation, expected",
    [
        (1, int, True),
        ("1", int, False),
        (1.0, int, False),
        (True, int, False),
        (1, float, True),
        (True, float, False),
        (1, bool, False),
        (None, int, False),
        (None, None, True),
        (None, Optional[int], True),  # noqa: UP045
        ("a", Union[int, str], True),  # noqa: UP007
        (1.5, int | str, False),
        ((1, 2), tuple, True),
        ([1, 2], tuple[int, ...], False),
        ((1, 2.5), tuple[int, ...], False),
        ((1, 2, 3), tuple[int, int, int], True),
        ((1, 2), tuple[int, int, int], False),
        (((1, 2), (3, 4)), tuple[tuple[int, int], ...], True),
        (((1, 2), (3,)), tuple[tuple[int, int], ...], False),
        ([1], list[int], True),
        (["1"], list[int], False),
        ((1,), collections.abc.Sequence[int], True),
        ("ab", collections.abc.Sequence[int], False),
        ({"a": 1}, dict[str, float], True),
        ({"a": "b"}, dict[str, float], False),
        ({1: 1.0}, dict[str, float], False),
        ("a", Literal["a", "b"], True),
        ("c", Literal["a", "b"], False),
        (1, Literal[True], False),
        ("a/b", str | os.PathLike, True),
        ("a/b", os.PathLike, False),
        (len, collections.abc.Callable[[Any], int], True),
        (3, collections.abc.Callable, False),
        (Child, type[Base], True),
        (Child(), Base, True),
        (Base(), Child, False),
        (object(), Any, True),
        (type_check.Made(Child), Base, True),
        (type_check.Made(Child), Base | None, True),
        (type_check.Made(Child), int, False),
        (type_check.Made(make_child), Base, True),
        (type_check.Made(make_child), str, False),
        (type_check.Made(make_tuple), tuple[int, int], True),
        (type_check.Made(make_tuple), list[int], False),
        (type_check.Made(make_something), str, True),  # it does not say
        (type_check.Made(make_int), float, True),
        (type_check.Made(make_int), str, False),
        ((type_check.Made(Child), None), tuple[Base | None, ...], True),
        ((type_check.Made(Child),), tuple[int, ...], False),
    ],
)
def test_fits(value, annotation, expected):
    assert type_check.fits(value, annotation) is expected


def test_annotations_of_a_class_are_its_constructors():
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Options:
        rate: float = 0.1

    assert type_check.annotations_of(Options)["rate"] is float
    assert type_check.annotations_of(Child)["size"] is int


def test_unresolvable_annotations_are_left_alone():
    def fn(x: "NoSuchName"):  # noqa: F821
        return x

    assert type_check.annotations_of(fn) == {}


@pytest.mark.parametrize(
    "annotation, expected",
    [
        (int, "int"),
        (int | None, "int | None"),
        (Optional[int], "Optional[int]"),  # noqa: UP045
        (tuple[int, ...], "tuple[int, ...]"),
    ],
)
def test_names_read_like_source(annotation, expected):
    assert type_check.name_of(annotation) == expected
