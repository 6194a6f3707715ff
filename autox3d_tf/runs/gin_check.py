"""Finds what gin lets pass: ghosts, wrong types, missing arguments.

All is decided before the run. Starting at the run function, the references
and macros in its bindings are followed by gin's rules for scopes; what is not
reached can have no effect, and is an error. This module sees gin's data only:
`config` is {(scope, selector): {parameter: value}}, a macro is a configurable
`gin.macro` in the scope of its name.
"""

import collections
import collections.abc
import difflib
import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from autox3d_tf.runs import type_check

MACRO, _CONSTANT = "gin.macro", "gin.constant"
Config = Mapping[tuple[str, str], Mapping[str, Any]]


class ConfigError(ValueError):
    """The configuration is wrong; the message is one line."""


def check(
    config: Config,
    run_fn: Callable,
    selector: str,
    given: Collection[str] = (),
) -> None:
    """Raises ConfigError on the first fault of a configuration.

    Args:
        config: gin's bindings.
        run_fn: The function that will be called.
        selector: Its name in `config`.
        given: Macros that whoever runs it has set, and wants to have an effect.
    """
    _check_macros(config)
    reached = reach(config, run_fn, selector)
    _check_ghosts(config, reached, given)
    for call in reached:
        if call.selector not in (MACRO, _CONSTANT):
            _check_arguments(config, call)


class Call:
    """A configurable in a scope, with the bindings that hold for it."""

    def __init__(self, config, scope, selector, fn, evaluated):
        self.scope, self.selector, self.fn = scope, selector, fn
        self.evaluated = evaluated  # called by gin: nobody adds arguments
        self.keys: dict[str, tuple[str, str]] = {}
        self.bindings: dict[str, Any] = {}
        self.all_keys = set()
        for i in range(len(scope) + 1):
            key = ("/".join(scope[:i]), selector)
            for parameter, value in config.get(key, {}).items():
                self.keys[parameter], self.bindings[parameter] = key, value
                self.all_keys.add((*key, parameter))


def reach(config: Config, run_fn: Callable, selector: str) -> list[Call]:
    """Returns all calls that can follow from calling `run_fn`."""
    todo = collections.deque([Call(config, (), selector, run_fn, True)])
    seen, calls = set(), []
    while todo:
        call = todo.popleft()
        key = (call.scope, call.selector, call.evaluated)
        if key in seen:
            continue
        seen.add(key)
        calls.append(call)
        for reference in references(list(call.bindings.values())):
            scope = tuple(reference.scopes) or call.scope
            configurable = reference.configurable
            todo.append(
                Call(
                    config,
                    scope,
                    configurable.selector,
                    configurable.wrapped,
                    reference.evaluate,
                )
            )
    return calls


def references(value: Any) -> Iterator[Any]:
    """Yields gin's references anywhere in a value."""
    if _is_reference(value):
        yield value
    elif isinstance(value, collections.abc.Mapping):
        for pair in value.items():
            yield from references(pair)
    elif isinstance(value, (list, tuple, set, frozenset)):
        for item in value:
            yield from references(item)


def _is_reference(value: Any) -> bool:
    return hasattr(value, "configurable") and hasattr(value, "scoped_selector")


def macros(config: Config) -> dict[str, Any]:
    """Returns the macros that are defined, with their values."""
    return {
        scope: bound["value"]
        for (scope, selector), bound in config.items()
        if selector == MACRO and "value" in bound
    }


def used_macros(config: Config) -> set[str | None]:
    """Returns the names of macros that bindings refer to."""
    values = [list(bound.values()) for bound in config.values()]
    return {_macro_name(reference) for reference in references(values)}


def suggest(name: str, known) -> str:
    """Returns " Did you mean X?", or what there is, or nothing."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, 1)
    if close:
        return f" Did you mean {close[0]}?"
    return f" There are: {', '.join(known)}." if known else ""


def _macro_name(reference: Any) -> str | None:
    if reference.configurable.selector != MACRO:
        return None
    return "/".join(reference.scopes)


def _is_required(value: Any) -> bool:
    return (
        _is_reference(value)
        and value.configurable.selector == _CONSTANT
        and "/".join(value.scopes) == "gin.REQUIRED"
    )


def _check_macros(config: Config) -> None:
    """Each macro used is defined, and set."""
    defined = macros(config)
    for name, value in defined.items():
        if _is_required(value):
            flag = "--run_dir=..." if name == "RUN_DIR" else f"--gin={name}=..."
            raise ConfigError(f"{name} must be set. Give {flag}")
    for key, bound in config.items():
        for parameter, value in bound.items():
            if _is_required(value):
                name = _written(*key, parameter)
                raise ConfigError(f"{name} must be set. Give --gin={name}=...")
            for reference in references(value):
                name = _macro_name(reference)
                if name is not None and name not in defined:
                    raise ConfigError(
                        f"%{name} is used in {_written(*key, parameter)} but "
                        f"never defined.{suggest(name, defined)}"
                    )


def _check_ghosts(
    config: Config, reached: list[Call], given: Collection[str]
) -> None:
    """Each binding can reach the run function.

    Or could, where a scope has not its own value for it: a recipe may be
    included for such a scope only, and its macros be for those who run it.
    """
    used = set().union(*(call.all_keys for call in reached))
    shadowed = used_macros(
        {
            (scope, selector): {
                parameter: value
                for parameter, value in bound.items()
                if (scope, selector, parameter) in used
            }
            for (scope, selector), bound in config.items()
        }
    )
    selectors = {call.selector for call in reached}
    # Macros last: they are unused where another ghost was to use them.
    items = sorted(config.items(), key=lambda item: item[0][1] == MACRO)
    for (scope, selector), bound in items:
        for parameter in bound:
            if (scope, selector, parameter) in used:
                continue
            name = _written(scope, selector, parameter)
            if selector == MACRO and scope in shadowed:
                if scope in given:
                    raise ConfigError(
                        f"{name} has no effect: where it would be used a "
                        "scope has a value of its own."
                    )
                continue
            if selector == MACRO:
                raise ConfigError(
                    f"{name} is defined but never used: remove "
                    "it, or use it as %" + name + "."
                )
            if scope and selector in selectors:
                raise ConfigError(
                    f"{name} has no effect: the scope {scope!r} is never "
                    f"entered. Refer to it as @{scope}/{_short(selector)}."
                )
            hint = ""
            if selector.rpartition(".")[2].startswith("run_"):
                hint = " Is the gin file for another command?"
            raise ConfigError(
                f"{name} has no effect: nothing refers to @{_short(selector)}."
                + hint
            )


def _check_arguments(config: Config, call: Call) -> None:
    """Types fit, and what gin calls has all it needs."""
    annotations = type_check.annotations_of(call.fn)
    try:
        parameters = type_check.parameters_of(call.fn)
    except (TypeError, ValueError):  # no signature: built in
        return
    for name, value in call.bindings.items():
        annotation = annotations.get(name, Any)
        known = _resolve(config, value)
        default = parameters[name].default if name in parameters else None
        if known is default or type_check.fits(known, annotation):
            continue
        where = _written(*call.keys[name], name)
        through = _macro_name(value) if _is_reference(value) else None
        hint = ""
        if type_check.fits((known,), annotation):
            hint = f" A single one is written ({known!r},), with a comma."
        elif type(known) in (int, float) and type_check.fits("", annotation):
            quoted = f"\"--gin={through or where}='...'\""  # such as 2024_11
            hint = f" Text like a number needs quotes: {quoted}."
        raise ConfigError(
            f"{where} must be {type_check.name_of(annotation)}. Received: "
            f"{through or name}={known!r}.{hint}"
        )
    if not call.evaluated:
        return
    for name, parameter in parameters.items():
        wanted = (
            parameter.default is inspect.Parameter.empty
            and parameter.kind
            not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        )
        if wanted and name not in call.bindings:
            where = _written("/".join(call.scope), call.selector, name)
            raise ConfigError(
                f"{where} must be set. Give a --gin_file that binds it (--help "
                f"lists what there is), or --gin={where}=..."
            )


def _resolve(config: Config, value: Any) -> Any:
    """Follows macros; a call that gin will make becomes `Made`."""
    if _is_reference(value):
        name = _macro_name(value)
        if name is not None:
            return _resolve(config, macros(config)[name])
        if value.configurable.selector == _CONSTANT:
            return value.scoped_configurable_fn()
        fn = value.configurable.wrapped
        return type_check.Made(fn) if value.evaluate else fn
    if isinstance(value, dict):
        return {
            _resolve(config, k): _resolve(config, v) for k, v in value.items()
        }
    if type(value) in (list, tuple, set):
        return type(value)(_resolve(config, item) for item in value)
    return value


def without_effect(config: Config, operative: Config) -> list[str]:
    """Names bindings that were reached but that no call has used."""
    used = set()
    for (scope, selector), bound in operative.items():
        parts = scope.split("/") if scope else []
        for i in range(len(parts) + 1):
            prefix = "/".join(parts[:i])
            used |= {(prefix, selector, parameter) for parameter in bound}
    return [
        _written(scope, selector, parameter)
        for (scope, selector), bound in config.items()
        for parameter in bound
        if (scope, selector, parameter) not in used
    ]


def _short(selector: str) -> str:
    return ".".join(selector.split(".")[-2:])


def _written(scope: str, selector: str, parameter: str) -> str:
    """Writes a binding as it stands in a gin file."""
    if selector == MACRO:
        return scope
    prefix = scope + "/" if scope else ""
    return f"{prefix}{_short(selector)}.{parameter}"
