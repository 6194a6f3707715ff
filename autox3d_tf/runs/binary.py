"""An absl binary: flags, --help, and errors in one line.

Exit codes: 0 done, 1 the run failed, 2 the command was wrong, 130 and 143
stopped by SIGINT or SIGTERM after saving.
"""

import os
import re
import sys
import textwrap
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from absl import app, flags, logging

from autox3d_tf.runs import cpu

FLAGS = flags.FLAGS
_HELP = ("--help", "-help", "-h", "-?", "--helpshort", "--helpfull")
_OWN_PACKAGES = ("autox3d_tf", "autox3d_edge", "autox3d_tools")
_GIN_TRACE = re.compile(
    r"^\s+(In call to configurable|No values supplied by Gin|"
    r"Gin had values bound|Caller supplied values)"
)


class UsageError(Exception):
    """The command line or a gin file is wrong: one line, exit code 2."""


def define_flags(threads: bool = True) -> None:
    """Defines the flags that each binary has; may be called again.

    Args:
        threads: Whether it runs TensorFlow.
    """
    if "debug" not in FLAGS:
        flags.DEFINE_bool("debug", False, "Show the traceback of an error.")
    if threads and "threads" not in FLAGS:
        flags.DEFINE_integer(
            "threads", None, "CPU threads of TensorFlow; all if not given.", 1
        )


class _ClipSizeParser(flags.ArgumentParser):
    """Reads 13x160x160, or 13,160,160, as three positive ints."""

    syntactic_help = "FRAMESxHEIGHTxWIDTH"

    def parse(self, argument):
        number = "([1-9][0-9]*)"
        found = re.fullmatch("[x,]".join([number] * 3), argument)
        if found is None:
            raise ValueError("must be FRAMESxHEIGHTxWIDTH, as 13x160x160")
        return tuple(map(int, found.groups()))


def define_clip_size(default_text: str) -> None:
    """Defines --clip_size, whose value is `(frames, height, width)` or None.

    Args:
        default_text: Says what is taken without it.
    """
    text = f"FRAMESxHEIGHTxWIDTH of a clip. {default_text}"
    flags.DEFINE(_ClipSizeParser(), "clip_size", None, text)


def run(
    main_fn: Callable[[list[str]], int | None],
    module: Mapping[str, Any],
    argv: list[str] | None = None,
    more_help: Callable[[], str] | None = None,
) -> None:
    """Parses flags, calls `main_fn(positional arguments)`, exits.

    Args:
        main_fn: Its result is the exit code; None is 0.
        module: Globals of the binary, for the docstring and flags in --help.
        argv: With the program's name; `sys.argv` if not given.
        more_help: Returns further text for --help.
    """

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # before it is imported
    cpu.tune()
    if hasattr(sys.stdout, "reconfigure"):  # names of files may be any bytes
        sys.stdout.reconfigure(errors="backslashreplace")

    def parse(arguments):
        if any(argument in _HELP for argument in arguments[1:]):
            print(help_text(module, more_help))
            sys.exit(0)
        try:
            return FLAGS(arguments)
        except flags.Error as error:
            text = one_line(error).replace(" ?", "?")  # absl's "out ?"
            end = "" if text.endswith((".", "?")) else "."
            fail(f"{text}{end} Try --help.", 2)

    def guarded(arguments):
        try:
            _set_threads()
            code = main_fn(arguments[1:])
            sys.stdout.flush()
            return code
        except BaseException as error:
            return _report(error)

    app.run(guarded, argv=argv, flags_parser=parse)


def run_plain(
    main_fn: Callable[[list[str]], int | None],
    argv: list[str] | None = None,
    *,
    define: Callable[[], None] | None = None,
    threads: bool = False,
) -> None:
    """Runs a binary of plain absl flags, without gin, which devices lack.

    Args:
        main_fn: Gets the positional arguments, returns an exit code or None.
            Raise `UsageError` if they are wrong.
        argv: With the program's name; `sys.argv` if not given.
        define: Defines the binary's own flags. Not done on import, since one
            process may import several binaries.
        threads: Whether it runs TensorFlow, on --threads.
    """
    module = sys._getframe(1).f_globals
    define_flags(threads)
    if define is not None:
        define()
    run(main_fn, module, argv)


def take_no_arguments(arguments: Sequence[str]) -> None:
    """Refuses what is no flag, where a binary takes flags only."""
    if arguments:
        raise UsageError(
            f"Unexpected argument {arguments[0]!r}. Flags begin with "
            "--, values follow =. Try --help."
        )


def check_folder(name: str, path: str) -> None:
    """Refuses a file in the place of a folder to write."""
    if os.path.exists(path) and not os.path.isdir(path):
        raise UsageError(f"{name} must be a folder. Received: the file {path}.")


def fail(message: str, code: int, at_once: bool = False) -> None:
    """Writes one line to stderr and exits, `at_once` without cleaning up."""
    logging.flush()
    print(f"error: {message}", file=sys.stderr, flush=True)
    if at_once:
        sys.stdout.flush()
        os._exit(code)
    sys.exit(code)


def _report(error: BaseException) -> None:
    """Writes an error in one line; lets through what only a bug can cause."""
    if isinstance(error, SystemExit):
        if hasattr(error, "message"):  # loop.Interrupted
            print(error.message, file=sys.stderr, flush=True)
        raise error
    if isinstance(error, KeyboardInterrupt):
        fail("interrupted", 130)
    if isinstance(error, BrokenPipeError):  # of `| head`, which has read enough
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())  # or Python complains, too
        sys.exit(1)
    if not is_expected(error):
        raise error
    if debugging():
        traceback.print_exception(error)
    if isinstance(error, UsageError):
        fail(str(error), 2)
    hint = "" if debugging() else " (--debug shows where)"
    fail(one_line(error) + hint, 1, getattr(error, "exits_at_once", False))


def debugging() -> bool:
    """Returns whether --debug was given."""
    return "debug" in FLAGS and FLAGS.is_parsed() and FLAGS.debug


def is_expected(error: BaseException) -> bool:
    """Returns whether an error is for the user rather than a bug of ours."""
    if isinstance(error, (ValueError, OSError, ImportError, MemoryError)):
        return True
    modules = [base.__module__.split(".")[0] for base in type(error).__mro__]
    return any(name in _OWN_PACKAGES for name in modules) or (
        "tensorflow" in modules
    )


def one_line(error: BaseException) -> str:
    """Writes the message of an error on one line, without traces."""
    text = str(error) or type(error).__name__
    inner = re.search(r"(?:^|\s)\w*Error: (.+)", text)
    if type(error).__module__.startswith("tensorflow") and inner:
        text = inner[1]  # raised by a Python function inside tf.data
    kept = []
    for line in text.splitlines():
        if line.startswith("Traceback") or _GIN_TRACE.match(line):
            break
        kept.append(line.strip())
    return " ".join(part for part in kept if part) or type(error).__name__


def _set_threads() -> None:
    if "threads" not in FLAGS or FLAGS.threads is None:
        return
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(FLAGS.threads)
    tf.config.threading.set_inter_op_parallelism_threads(FLAGS.threads)


def help_text(
    module: Mapping[str, Any], more_help: Callable[[], str] | None = None
) -> str:
    """Returns the docstring and the flags, for people."""
    doc = (module.get("__doc__") or "").strip()
    own = [__name__, "autox3d_tf.runs.gin_app", module.get("__name__", "")]
    if module.get("__name__") == "__main__":
        own.append(sys.argv[0])
    by_module = FLAGS.flags_by_module_dict()
    shown = {
        flag.name: flag for name in own for flag in by_module.get(name, ())
    }
    lines = [doc, "", "Flags:"] if doc else ["Flags:"]
    for name in sorted(shown):
        lines += _flag_help(shown[name])
    if more_help is not None:
        lines += ["", more_help()]
    return "\n".join(lines).rstrip()


def _flag_help(flag: flags.Flag) -> list[str]:
    usage = f"  --{flag.name}" + ("" if flag.boolean else "=...")
    # absl adds how to repeat a flag; our texts say so themselves.
    text = re.split(r";\s+repeat this option", flag.help or "")[0]
    if flag.default not in (None, False, [], ""):
        text += f" Default: {flag.default_as_str}."
    return [
        usage,
        *textwrap.wrap(
            text, 76, initial_indent=" " * 6, subsequent_indent=" " * 6
        ),
    ]
