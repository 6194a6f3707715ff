r"""A binary configured by gin files: the only place that imports gin.

gin itself lets misspelt macros, wrong types, bindings of functions that are
never called and scopes that are never entered pass in silence. Here each of
them ends the program with one line before anything has started.

    # tools/search.py
    from autox3d_tf.runs import gin_app

    def main():
        gin_app.main("autox3d_tf.search.run:run_search")
"""

import ast
import contextlib
import importlib
import os
import pathlib
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import gin
from absl import flags, logging

from autox3d_tf.runs import binary, gin_check, type_check
from autox3d_tf.runs import gin_files as gin_files_lib
from autox3d_tf.runs import run_dir as run_dir_lib

FLAGS = flags.FLAGS
UsageError = binary.UsageError
_BARE_WORD = re.compile(r"[A-Za-z./~][\w./:~+@-]*")
_NO_PARAMETER = re.compile(
    r"Configurable '(.+?)' doesn't have a parameter named '(.+?)'\.(?=(.*))"
)
_NO_CONFIGURABLE = re.compile(r"No configurable matching '(.+?)'\.(?=(.*))")
_LITERALS = ("True", "False", "None")
_STRATEGIES = ("one", "mirrored", "multi_worker")  # of distribute.py


def main(run_fn: Callable | str, argv: list[str] | None = None) -> None:
    """Runs `run_fn()` with the arguments that gin binds to it; exits.

    It is called without arguments, so nothing in code beats a binding; only
    what --strategy makes is an argument, if it is not `one`.

    Args:
        run_fn: The function, or "package.module:function", which is imported
            after --help and --gin_file have been looked at.
        argv: With the program's name; `sys.argv` if not given.
    """
    module = sys._getframe(1).f_globals
    _define_flags()
    binary.run(lambda rest: _main(run_fn, rest), module, argv, _gin_help)


def _define_flags() -> None:
    binary.define_flags()
    if "gin_file" in FLAGS:
        return
    flags.DEFINE_multi_string(
        "gin_file",
        [],
        "A gin file; may be repeated, later ones win. Looked "
        "for in the working directory, then among the installed ones.",
    )
    flags.DEFINE_multi_string(
        "gin",
        [],
        "NAME=VALUE, to change a macro of the gin file, or "
        "function.argument=VALUE; may be repeated.",
    )
    flags.DEFINE_string(
        "run_dir", None, "Where the run writes; the same one resumes it."
    )
    flags.DEFINE_enum(
        "strategy",
        "one",
        _STRATEGIES,
        "Where a search or a training runs: on one device; mirrored on all "
        "GPUs of this machine; or multi_worker: the same command for each "
        "worker, with its own TF_CONFIG and the same --run_dir on a shared "
        "disk. Replicas share the architectures of a search's step, and the "
        "clips of a training's.",
    )
    flags.DEFINE_bool(
        "dry_run", False, "Check and print the configuration, then exit."
    )


def _main(run_fn: Callable | str, rest: list[str]) -> None:
    binary.take_no_arguments(rest)
    if FLAGS.run_dir is not None:
        binary.check_folder("--run_dir", FLAGS.run_dir)
    for name in FLAGS.gin_file:
        _find(name)  # before the import, which takes seconds
    run_fn = _import(run_fn)
    if FLAGS.strategy != "one":
        _check_takes_strategy(run_fn)
    with configured(run_fn, FLAGS.gin_file, FLAGS.gin, FLAGS.run_dir) as run:
        if FLAGS.dry_run:
            print(gin.config_str().rstrip())
            return
        run(**_strategy())
        for binding in gin_check.without_effect(
            _config(), gin.config._OPERATIVE_CONFIG
        ):
            if _is_meant(binding):
                logging.warning(
                    "%s had no effect: the code passes its own value, or did "
                    "not come to it.",
                    binding,
                )


def _is_meant(binding: str) -> bool:
    """Whether whoever gave the flags wants a binding to have an effect.

    What an installed file binds may be for some of its uses only, as where it
    is included.
    """
    if not all(map(gin_files_lib.is_installed, FLAGS.gin_file)):
        return True
    given = (override.partition("=")[0].strip() for override in FLAGS.gin)
    return any(f".{binding}".endswith(f".{name}") for name in given)


@contextlib.contextmanager
def configured(
    run_fn: Callable,
    gin_files: Sequence[str] = (),
    overrides: Sequence[str] = (),
    run_dir: str | None = None,
) -> Iterator[Callable[[], Any]]:
    """Parses and checks a configuration; forgets it afterwards.

    For binaries, and for notebooks and tests:

        with gin_app.configured(
            run.run_search, ["gin/search/tiny_synthetic.gin"], ["SEED=1"], "out"
        ) as run_search:
            run_search()

    Args:
        run_fn: The function that will be called.
        gin_files: What --gin_file takes.
        overrides: What --gin takes.
        run_dir: What --run_dir takes.

    Yields:
        `run_fn` with its bindings, to be called without arguments.

    Raises:
        UsageError: With one line that says what is wrong.
    """
    try:
        _configure(run_fn, gin_files, overrides, run_dir)
        run_dir_lib.config_text = gin.operative_config_str
        yield gin.get_configurable(run_fn)
    finally:
        run_dir_lib.config_text = None
        gin.clear_config()


def _configure(run_fn, gin_files, overrides, run_dir):
    try:
        for place in gin_files_lib.search_path():
            gin.add_config_file_search_path(str(place))
        for path in map(_find, gin_files):
            check_twice(path)
            with _quiet_lookups():
                gin.parse_config_file(str(path))
        _register(run_fn)
        _apply_overrides(overrides)
        if run_dir is not None:
            _set_run_dir(run_fn, run_dir)
        given = {override.partition("=")[0].strip() for override in overrides}
        gin_check.check(_config(), run_fn, _selector(run_fn), given)
        gin.finalize()
    except gin_check.ConfigError as error:
        raise UsageError(str(error)) from None
    except (
        ValueError,
        SyntaxError,
        NameError,
        AttributeError,
        OSError,
        ImportError,
        TypeError,
        RuntimeError,
    ) as error:
        if binary.debugging():
            raise
        raise UsageError(_parse_error(error)) from None


@contextlib.contextmanager
def _quiet_lookups():
    """gin logs an error for each place where an include is not found."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.FATAL)
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)


def _parse_error(error: BaseException) -> str:
    text = binary.one_line(error)
    missing = _NO_CONFIGURABLE.match(text)
    if missing:
        text = (
            f"Unknown: {missing[1]!r}, which no gin file has imported or "
            f"referred to.{_same_name(missing[1])}{missing[2]}"
        )
    unknown = _NO_PARAMETER.match(text)
    if unknown:
        fn = gin.config._REGISTRY.get_match(unknown[1]).wrapped
        known = type_check.parameters_of(fn)
        text = unknown[0] + gin_check.suggest(unknown[2], known) + unknown[3]
    text = re.sub(r" In bindings string line.*", "", text)
    text = re.sub(r" In file \"(.*?)\", line (\d+).*", r" (\1, line \2)", text)
    if isinstance(error, ModuleNotFoundError):  # commands do not look here
        text += ". The folder of a module of your own must be in PYTHONPATH."
    return text


def _same_name(selector: str) -> str:
    """Says what a name stands for whose front part is known in a file only.

    There it may be an alias: `from autox3d_tf.search import options as o`.
    """
    name = selector.rpartition(".")[2]
    registry = gin.config._REGISTRY
    known = map(registry.minimal_selector, registry.matching_selectors(name))
    known = ", ".join(sorted(known))
    return f" Known: {known}." if known else ""


def _register(run_fn: Callable) -> None:
    """Makes `run_fn` known to gin if no gin file has named it."""
    try:
        gin.get_configurable(run_fn)
    except ValueError:
        gin.external_configurable(run_fn, module=run_fn.__module__)


def _config() -> gin_check.Config:
    """Returns all bindings; gin 0.5 has no public name for them."""
    return gin.config._CONFIG


def _selector(run_fn: Callable) -> str:
    return gin.config._inverse_lookup(run_fn).selector


class _Names(gin.config_parser.ParserDelegate):
    """Reads a gin file without looking anything up."""

    def configurable_reference(self, scoped_name, evaluate):
        return scoped_name, evaluate

    def macro(self, scoped_name):
        return scoped_name


def check_twice(path: pathlib.Path) -> None:
    """Raises if one gin file binds a name twice: only the last would hold."""
    seen = {}
    with open(path, encoding="utf-8") as file:
        statements = list(gin.config_parser.ConfigParser(file, _Names()))
    for statement in statements:
        if not isinstance(statement, gin.config_parser.BindingStatement):
            continue
        key = (statement.scope, statement.selector, statement.arg_name)
        line = statement.location.line_num
        if key in seen:
            name = "/".join(filter(None, key[:2]))
            name += f".{key[2]}" if key[2] else ""
            raise gin_check.ConfigError(
                f"{path} binds {name} twice, in lines {seen[key]} and {line}."
            )
        seen[key] = line


def _apply_overrides(overrides: Sequence[str]) -> None:
    """Parses what --gin takes; forgets macros whose place a value has taken.

    As SEED, which then need not be set, for --gin=Options.seed=1.
    """
    replaced = gin_check.used_macros(_config())
    for override in overrides:
        replaced.discard(_apply_override(override))
    for name in replaced - gin_check.used_macros(_config()):
        _config().pop((name, gin_check.MACRO), None)


def _apply_override(override: str) -> str:
    """Parses one NAME=VALUE; a macro that no gin file defines is refused.

    A value that is a plain word, or a path that is there, needs no quotes.

    Returns:
        NAME.
    """
    name, equals, value = (p.strip() for p in override.partition("="))
    if not equals or not name:
        raise gin_check.ConfigError(
            f"--gin must be NAME=VALUE. Received: --gin={override}"
        )
    if "." not in name and name not in gin_check.macros(_config()):
        raise gin_check.ConfigError(
            f"--gin={override}: no gin file defines {name}."
            + gin_check.suggest(name, gin_check.macros(_config()))
        )
    if value.startswith("~/"):  # the shell expands it in front only
        value = os.path.expanduser(value)
    is_word = _BARE_WORD.fullmatch(value) and value not in _LITERALS
    if is_word or (not _is_literal(value) and os.path.exists(value)):
        value = repr(value)
    try:
        gin.parse_config(f"{name} = {value}")
    except (SyntaxError, ValueError, TypeError) as error:
        said = _parse_error(error)
        is_reference = value.startswith(("@", "%"))
        if "." not in name and not is_reference:  # so it is the value
            said = (
                f"{value or 'nothing'!r} is no number, word, tuple, or path "
                "that is there. Text with spaces or signs needs quotes inside, "
                f"\"--gin={name}='...'\", tuples parentheses."
            )
        raise gin_check.ConfigError(f"--gin={override}: {said}") from None
    return name


def _is_literal(value: str) -> bool:
    try:
        ast.literal_eval(value)
    except (SyntaxError, ValueError):
        return False
    return True


def _set_run_dir(run_fn: Callable, path: str) -> None:
    if "RUN_DIR" in gin_check.macros(_config()):
        gin.bind_parameter("RUN_DIR/gin.macro.value", path)
    elif "run_dir" in type_check.parameters_of(run_fn):
        gin.bind_parameter(_selector(run_fn) + ".run_dir", path)
    else:
        raise gin_check.ConfigError(
            f"{run_fn.__name__} writes no run directory. Received: "
            f"--run_dir={path}"
        )


def _check_takes_strategy(run_fn: Callable) -> None:
    if "strategy" not in type_check.parameters_of(run_fn):
        raise UsageError(
            f"{run_fn.__name__} runs on one device. Received: "
            f"--strategy={FLAGS.strategy}"
        )


def _strategy() -> dict[str, Any]:
    """Returns the argument that --strategy stands for."""
    if FLAGS.strategy == "one":
        return {}
    distribute = importlib.import_module("autox3d_tf.runs.distribute")
    return {"strategy": distribute.make_strategy(FLAGS.strategy)}


def _import(run_fn: Callable | str) -> Callable:
    if not isinstance(run_fn, str):
        return run_fn
    module, _, name = run_fn.partition(":")
    return getattr(importlib.import_module(module), name)


def _find(name: str) -> pathlib.Path:
    try:
        return gin_files_lib.find(name)
    except FileNotFoundError as error:
        raise UsageError(str(error)) from None


def _gin_help() -> str:
    lines = [f"  {name}" for name in gin_files_lib.installed()]
    return "\n".join(["Installed gin files:", *lines]) if lines else ""
