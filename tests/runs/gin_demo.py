"""A run function as gin sees it, for gin_app_test."""

import atexit
import dataclasses
from collections.abc import Callable
from typing import Literal

from autox3d_tf.runs import run_dir as run_dir_lib


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    rate: float = 0.1
    sizes: tuple[int, ...] = (1, 2)
    mode: Literal["dense", "segments"] = "dense"
    limit: int | None = None

    def __post_init__(self):
        if self.rate <= 0:
            raise ValueError(
                f"`rate` must be positive. Received: rate={self.rate}."
            )


@dataclasses.dataclass(frozen=True)
class Space:
    name: str


def get_space(name: str) -> Space:
    return Space(name)


def scale(factor: float = 1.0) -> float:
    return factor


class Lost(ValueError):
    exits_at_once = True


class Stopped(SystemExit):
    message = "Stopped by SIGTERM after step 3 of 9."


def fail(kind):
    if kind == "lost":
        atexit.register(print, "cleaned up")
    raise {
        "bad value": ValueError("`x` must be 1.\nReceived: x=2."),
        "no file": FileNotFoundError("there is no such file"),
        "bug": TypeError("a bug of ours"),
        "stopped": Stopped(143),
        "lost": Lost("a worker is gone"),
    }[kind]


def run_demo(
    *,
    space: Space,
    options: Options = Options(),
    scale_fn: Callable[[], float] | None = None,
    run_dir: str = "",
    seed: int = 0,
    failure: str | None = None,
    strategy: object = None,
):
    if failure:
        fail(failure)
    assert strategy is None
    run_dir_lib.RunDir(run_dir, {"seed": seed}).write_provenance()
    if scale_fn:
        scale_fn(factor=3.0)  # in code: beats a binding
    print(f"ran {space.name} {options} seed={seed}")


def run_bare(*, count: int = 3):
    print(f"counted {count}")
