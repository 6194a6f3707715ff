"""The TFLite interpreters of this machine, behind one small class.

Needs numpy and one of: ai-edge-litert, tflite-runtime, tensorflow.
"""

import importlib
import importlib.util
import types
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from autox3d_edge import graph_check
from autox3d_tf.base import checks

# Fastest first. Name -> module with `Interpreter`, its distribution.
KNOWN = {
    "ai-edge-litert": ("ai_edge_litert.interpreter", "ai-edge-litert"),
    "tflite-runtime": ("tflite_runtime.interpreter", "tflite-runtime"),
    "tf.lite": ("tensorflow.lite.python.interpreter", "tensorflow"),
}
MOST_THREADS = 256  # of very many, interpreters crash


def available() -> list[str]:
    """Returns the names of the interpreters that are installed."""
    return [
        name
        for name, (module, _) in KNOWN.items()
        if importlib.util.find_spec(module.split(".")[0]) is not None
    ]


def load_module(name: str | None = None) -> tuple[str, types.ModuleType]:
    """Returns a runtime's name and its module with `Interpreter`.

    Args:
        name: The runtime; the first that can be imported by default.

    Raises:
        ValueError: The runtime is unknown.
        ImportError: It, or any, is not installed or does not work.
    """
    if name is not None:
        checks.check_choice("runtime", name, KNOWN)
    for known in [name] if name else available():
        module, package = KNOWN[known]
        try:
            return known, importlib.import_module(module)
        except ImportError as error:
            if name:
                others = [other for other in available() if other != name]
                raise ImportError(
                    f"Runtime {name} cannot be used: {error}. Install it: pip "
                    f"install {package}. Others that are here: "
                    f"{', '.join(others) or 'none'}."
                ) from error
            warnings.warn(f"{known} cannot be used: {error}", stacklevel=2)
    raise ImportError(
        "No TFLite interpreter is installed: pip install ai-edge-litert"
    )


def load_class(name: str | None = None) -> Callable:
    """Returns the `Interpreter` class of a runtime, as in `load_module`."""
    return load_module(name)[1].Interpreter


def describe(name: str | None = None) -> str:
    """Returns name and version of the runtime that `load_module` takes."""
    from importlib import metadata  # slow to import, seldom needed

    name = load_module(name)[0]
    _, package = KNOWN[name]
    try:
        version = metadata.version(package)
    except metadata.PackageNotFoundError:  # a nightly, a Debian one
        version = "of unknown version"
    return f"{name} {version}"


def check_threads(name: str, value: Any) -> None:
    """Raises ValueError unless `value` is a number of threads to run on."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not whole or not 1 <= value <= MOST_THREADS:
        raise ValueError(
            f"`{name}` must be an integer from 1 to {MOST_THREADS}. "
            f"Received: {name}={value!r}."
        )


def load(
    model: bytes,
    num_threads: int = 1,
    runtime: str | None = None,
    **arguments,
):
    """Returns an interpreter of a model, its tensors allocated.

    Args:
        model: The flatbuffer.
        num_threads: Threads of the interpreter.
        runtime: A name of `KNOWN`; the first that is installed by default.
        **arguments: More of `Interpreter`.

    Raises:
        ValueError: The graph would end the process; see `graph_check.check`.
            Or the interpreter refuses it.
        ImportError: The runtime is not installed, or does not work here.
    """
    check_threads("num_threads", num_threads)
    make = load_class(runtime)
    graph_check.check(model)
    try:
        with warnings.catch_warnings():  # tf.lite announces its end
            warnings.simplefilter("ignore")
            interpreter = make(
                model_content=model, num_threads=num_threads, **arguments
            )
        interpreter.allocate_tensors()
    except SystemError as error:  # built for another numpy
        raise ImportError(
            f"{describe(runtime)} does not work with numpy {np.__version__}. "
            "tflite-runtime needs pip install 'numpy<2'."
        ) from error
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"`model` must be one that {describe(runtime)} can load. "
            f"Received: {reason} Copy or export it again."
        ) from error
    return interpreter


def to_float(values: np.ndarray, detail) -> np.ndarray:
    """Values of a tensor as float32, by its scale and zero point if any."""
    scale, zero_point = detail["quantization"]
    if scale:
        values = (values.astype(np.float32) - zero_point) * scale
    return values.astype(np.float32, copy=False)


def prepare(
    model: bytes,
    num_threads: int = 1,
    runtime: str | None = None,
    states: Mapping[str, str] | None = None,
) -> Callable[[], None]:
    """Returns a function that runs a model on random input, to be timed.

    Args:
        model: The flatbuffer; any shapes and types of inputs.
        num_threads, runtime: As in `ClipRunner`.
        states: Output -> input that a stream moves it to for the next frame;
            those that the model lacks are another piece's.

    Raises:
        ValueError: `states` moves an output to what is no input.
    """
    interpreter = load(model, num_threads, runtime)
    rng = np.random.default_rng(0)
    inputs = {}
    for detail in interpreter.get_input_details():
        values = rng.integers(1, 128, detail["shape"])  # some divide by them
        interpreter.set_tensor(detail["index"], values.astype(detail["dtype"]))
        inputs[detail["name"]] = detail["index"]
    moves = []
    for detail in interpreter.get_output_details():
        state = (states or {}).get(detail["name"])
        if state is None:
            continue
        if state not in inputs:
            raise ValueError(
                f"`states` must name inputs, {', '.join(inputs)}. "
                f"Received: {state!r}."
            )
        moves.append(mover(interpreter, detail["index"], inputs[state]))

    def run():
        interpreter.invoke()
        for move in moves:
            move()

    return run


def mover(interpreter, result: int, source: int) -> Callable[[], None]:
    """Returns a function that copies an output to an input of its size.

    From view to view of the interpreter's memory: these are gone when it
    returns, as no interpreter runs while there is one.

    Args:
        interpreter: From `load`.
        result, source: Numbers of the output and of the input.
    """
    made, fed = interpreter.tensor(result), interpreter.tensor(source)

    def move():
        fed()[...] = made()

    return move


class Runner:
    """Takes pixels, gives scores; what is between them is for subclasses.

    Args:
        interpreter: From `load`.
        source: Details of the input for pixels.
        result: Details of the output with the scores.

    Raises:
        ValueError: The output has no score for each class of one clip.
    """

    def __init__(self, interpreter, source: dict, result: dict):
        shape = tuple(int(size) for size in result["shape"])
        if len(shape) != 2 or shape[0] != 1:
            raise ValueError(
                "`model` must give scores (1, classes). Received: an output "
                f"of shape {shape}. Export it with autox3d-export."
            )
        self._interpreter = interpreter
        self._source, self._result = source, result

    @property
    def clip_shape(self) -> tuple[int, int, int, int]:
        """`(frames, height, width, 3)`, what `set_clip` takes."""
        return tuple(int(size) for size in self._source["shape"])

    @property
    def num_classes(self) -> int:
        """Length of the scores."""
        return int(self._result["shape"][-1])

    def set_clip(self, clip: np.ndarray) -> None:
        """Copies a uint8 clip into the input tensor."""
        if clip.dtype != np.uint8 or clip.shape != self.clip_shape:
            raise ValueError(
                f"`clip` must be uint8 {self.clip_shape}. "
                f"Received: {clip.dtype} {clip.shape}."
            )
        self._interpreter.set_tensor(
            self._source["index"],
            clip.astype(self._source["dtype"], copy=False),
        )

    def invoke(self) -> None:
        """Runs the network on the clip that was set."""
        self._interpreter.invoke()

    def scores(self) -> np.ndarray:
        """Returns the float32 scores `(classes,)` of the last run."""
        values = self._interpreter.get_tensor(self._result["index"])[0]
        return to_float(values, self._result)


class ClipRunner(Runner):
    """One clip in, one vector of scores out, whatever the file's types.

    Args:
        model: The flatbuffer.
        num_threads: Threads of the interpreter.
        runtime: A name of `KNOWN`; the first that is installed by default.
        keep_tensors: Run operator by operator, slowly, so that `tensor` can
            read the values inside.
    """

    def __init__(
        self,
        model: bytes,
        num_threads: int = 1,
        runtime: str | None = None,
        keep_tensors: bool = False,
    ):
        arguments = _keep_tensors(runtime) if keep_tensors else {}
        interpreter = load(model, num_threads, runtime, **arguments)
        source = interpreter.get_input_details()[0]
        result = interpreter.get_output_details()[0]
        super().__init__(interpreter, source, result)
        self._details = None

    def tensor(self, number: int) -> np.ndarray:
        """Returns any tensor of the last run, as float."""
        if self._details is None:
            details = self._interpreter.get_tensor_details()
            self._details = {detail["index"]: detail for detail in details}
        values = self._interpreter.get_tensor(number)
        quantization = self._details[number]["quantization_parameters"]
        if len(quantization["scales"]) == 1:
            values = values.astype(np.float64)
            values -= quantization["zero_points"][0]
            values *= quantization["scales"][0]
        return values

    def __call__(self, clip: np.ndarray) -> np.ndarray:
        """Returns the float32 scores of a uint8 clip."""
        self.set_clip(clip)
        self.invoke()
        return self.scores()


def _keep_tensors(runtime: str | None) -> dict:
    """Arguments of `Interpreter` for reading the tensors inside."""
    _, module = load_module(runtime)
    return {
        "experimental_preserve_all_tensors": True,
        "experimental_op_resolver_type": (
            module.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        ),
    }
