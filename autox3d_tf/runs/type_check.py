"""Does a value fit an annotation? gin itself takes any value for anything."""

import collections.abc
import inspect
import types
import typing
from collections.abc import Callable
from typing import Any


class Made:
    """Stands for what calling `maker`, a class or function, will return."""

    def __init__(self, maker: Callable):
        self.maker = maker

    def __repr__(self) -> str:
        return f"@{self.maker.__name__}()"


def parameters_of(fn: Callable) -> dict[str, inspect.Parameter]:
    """Returns the parameters of a function or of a class's constructor."""
    return dict(inspect.signature(fn).parameters)


def annotations_of(fn: Callable) -> dict[str, Any]:
    """Returns the annotations by parameter; none if they do not resolve."""
    target = fn.__init__ if inspect.isclass(fn) else fn
    try:
        return typing.get_type_hints(target)
    except (NameError, TypeError, AttributeError):
        return {}


def name_of(annotation: Any) -> str:
    """Writes an annotation as it stands in the source."""
    if isinstance(annotation, type) and not typing.get_args(annotation):
        return annotation.__name__
    return str(annotation).replace("typing.", "").replace("NoneType", "None")


def fits(value: Any, annotation: Any) -> bool:
    """Returns whether `value` may be passed where `annotation` stands.

    As for a type checker an int is a float; unlike there, a bool is no
    number. What cannot be decided fits.

    >>> fits(1, float), fits(True, int), fits("7", int), fits(None, int | None)
    (True, False, False, True)
    >>> fits((1, 2), tuple[int, ...]), fits((1, 2), tuple[int, int, int])
    (True, False)
    """
    if annotation in (Any, inspect.Parameter.empty):
        return True
    if annotation is None:
        annotation = type(None)
    origin, arguments = (
        typing.get_origin(annotation),
        typing.get_args(annotation),
    )
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, option) for option in arguments)
    if origin is typing.Annotated:
        return fits(value, arguments[0])
    if origin is typing.Literal:
        return any(
            value == option and type(value) is type(option)
            for option in arguments
        )
    if isinstance(value, Made):
        return _made_fits(value.maker, origin or annotation)
    if origin is collections.abc.Callable or annotation is Callable:
        return callable(value)
    if origin is type:
        return isinstance(value, type)
    if origin is not None:
        return _container_fits(value, origin, arguments)
    return _class_fits(value, annotation)


def _class_fits(value: Any, annotation: Any) -> bool:
    if not isinstance(annotation, type):
        return True  # a TypeVar, a NewType, ...
    if isinstance(value, bool) and annotation in (int, float, complex):
        return False
    if annotation is float:
        return isinstance(value, (int, float))
    try:
        return isinstance(value, annotation)
    except TypeError:  # a protocol without run-time checks
        return True


def _container_fits(value: Any, origin: Any, arguments: tuple) -> bool:
    if not _class_fits(value, origin):
        return False
    if isinstance(value, str):
        return not arguments or fits("", arguments[0])
    if not arguments:
        return True
    if isinstance(value, collections.abc.Mapping):
        return all(
            fits(key, arguments[0]) and fits(item, arguments[-1])
            for key, item in value.items()
        )
    if origin is tuple and arguments[-1] is not Ellipsis:
        return len(value) == len(arguments) and all(map(fits, value, arguments))
    if isinstance(value, (list, tuple, set, frozenset)):
        return all(fits(item, arguments[0]) for item in value)
    return True


def _made_fits(maker: Callable, annotation: Any) -> bool:
    """Compares classes only: a function's result may be narrower than said."""
    made = maker
    if not inspect.isclass(maker):
        made = annotations_of(maker).get("return", Any)
        made = typing.get_origin(made) or made
    if (
        made is Any
        or not isinstance(made, type)
        or not isinstance(annotation, type)
    ):
        return True
    if made is int and annotation is float:
        return True
    try:
        return issubclass(made, annotation) or issubclass(annotation, made)
    except TypeError:
        return True
