"""Runs a file that takes one frame at a time: numpy and an interpreter."""

import numpy as np

from autox3d_edge import interpreters
from autox3d_edge import manifest as manifest_lib

DRIFT_FRAMES = 2000


class StreamRunner(interpreters.Runner):
    """One frame in, scores out; what is carried over stays in here.

    Args:
        model: The flatbuffer.
        stream: Its states, from the file's manifest.
        num_threads, runtime: As in `interpreters.load`.
    """

    def __init__(
        self,
        model: bytes,
        stream: manifest_lib.Stream,
        num_threads: int = 1,
        runtime: str | None = None,
    ):
        interpreter = interpreters.load(model, num_threads, runtime)
        self._inputs, self._outputs = (
            {detail["name"]: detail for detail in details}
            for details in (
                interpreter.get_input_details(),
                interpreter.get_output_details(),
            )
        )
        self._stream = stream
        states = stream.states
        fed = {manifest_lib.FRAME, *(state.input for state in states)}
        taken = {manifest_lib.SCORES, *(state.output for state in states)}
        for there, wanted, fits in (  # an input that nobody feeds is anything
            (self._inputs, fed, fed == self._inputs.keys()),
            (self._outputs, taken, taken <= self._outputs.keys()),
        ):
            if not fits:
                raise ValueError(
                    "The manifest must name the tensors of the model, which "
                    f"are {', '.join(there)}. Received: "
                    f"{', '.join(sorted(wanted))}."
                )
        super().__init__(
            interpreter,
            self._inputs[manifest_lib.FRAME],
            self._outputs[manifest_lib.SCORES],
        )
        self._moves = [
            interpreters.mover(
                interpreter,
                self._outputs[state.output]["index"],
                self._inputs[state.input]["index"],
            )
            for state in stream.states
        ]
        self.reset()

    def reset(self) -> None:
        """Forgets all frames."""
        for state in self._stream.states:
            detail = self._inputs[state.input]
            values = np.full(detail["shape"], state.initial, detail["dtype"])
            self._interpreter.set_tensor(detail["index"], values)

    def invoke(self) -> None:
        """Runs the network on the frame that was set, and moves on."""
        super().invoke()
        for move in self._moves:
            move()

    def state(self, name: str) -> np.ndarray:
        """Returns what an input will be at the next frame."""
        return self._interpreter.get_tensor(self._inputs[name]["index"])

    def output(self, name: str) -> np.ndarray:
        """Returns an output of the last frame, as it is."""
        return self._interpreter.get_tensor(self._outputs[name]["index"])

    def push(self, frame: np.ndarray) -> np.ndarray:
        """Returns the scores after one more frame `(1, height, width, 3)`."""
        self.set_clip(frame)
        self.invoke()
        return self.scores()

    def __call__(self, clip: np.ndarray) -> np.ndarray:
        """Returns the scores after the frames of a clip and no others."""
        self.reset()
        for frame in clip:
            scores = self.push(frame[None])
        return scores


def make_runner(
    model: bytes,
    stream: manifest_lib.Stream | None,
    num_threads: int = 1,
    runtime: str | None = None,
):
    """Returns a `StreamRunner`, or a `ClipRunner` if `stream` is None."""
    if stream is None:
        return interpreters.ClipRunner(model, num_threads, runtime)
    return StreamRunner(model, stream, num_threads, runtime)


def drift(
    exact: StreamRunner, run: StreamRunner, video: np.ndarray
) -> dict[str, float]:
    """Compares two streams of a looping video, near its start and at the end.

    Args:
        exact: What is compared with.
        run: What is compared.
        video: uint8 `(n, height, width, 3)`, shown again and again until there
            were `DRIFT_FRAMES`.

    Returns:
        `frames`, how many; and over the same frames of the video, first from
        frame 50 on and then at the very end, the mean largest error of a score
        and the share of frames with the same label.
    """
    video = video[: (DRIFT_FRAMES - 50) // 2]
    errors, same = [], []
    for number in range(DRIFT_FRAMES):
        frame = video[number % len(video)][None]
        expected, found = exact.push(frame), run.push(frame)
        errors.append(np.abs(expected - found).max())
        same.append(expected.argmax() == found.argmax())
    start, end = slice(50, 50 + len(video)), slice(-len(video), None)
    return {
        "frames": DRIFT_FRAMES,
        "start_error": float(np.mean(errors[start])),
        "start_same": float(np.mean(same[start])),
        "end_error": float(np.mean(errors[end])),
        "end_same": float(np.mean(same[end])),
    }
