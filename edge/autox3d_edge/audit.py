"""Refuses model files that would be slow, silently float, or would not load.

Every finding names the tensor or operator, so that it can be acted on.
"""

import collections
import dataclasses
import math
import os
from collections.abc import Iterable, Mapping

import numpy as np
from absl import logging

from autox3d_edge import (
    flatbuffer,
    graph_check,
    input_zero_point,
    interpreters,
    mixed,
    op_support,
    parity,
    streaming,
)
from autox3d_edge import manifest as manifest_lib
from autox3d_tf.base import checks

FORBIDDEN = ("CONV_3D", "CONV_3D_TRANSPOSE")
MAX_DIMENSIONS = 4
# Types of tensors: of an int8 network, and what each other part adds to them.
_INT8_TYPES = ("INT8", "INT32", "UINT8")
_KEPT_TYPES = {
    "int16x8": (*_INT8_TYPES, "INT16", "INT64"),
    "fp32": (*_INT8_TYPES, "FLOAT32"),
}
INT8_PRECISIONS = ("int8", "mixed", "qat")
# Of whole networks: types of what is computed, and of constants.
_TYPES = {
    "fp32": (("FLOAT32", "INT32"), ("FLOAT32", "INT32")),
    "fp16": (("FLOAT32", "INT32"), ("FLOAT16", "FLOAT32", "INT32")),
    "dynamic": (("FLOAT32", "INT32"), ("INT8", "FLOAT32", "INT32")),
    "int16x8": (("INT16", "INT32"), ("INT8", "INT16", "INT32", "INT64")),
    **dict.fromkeys(INT8_PRECISIONS, (_INT8_TYPES, _INT8_TYPES)),
}
# Kernels of so many values the converter makes narrower.
_NARROW_FROM = {"fp16": 1, "dynamic": 1024}
_WITH_KERNEL = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
DEFAULT_RUNTIME = "tflite-runtime 2.14"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finding:
    """One reason to refuse a model.

    Attributes:
        rule: Short name of the rule.
        where: Tensor or operator.
        message: What is wrong with it.
    """

    rule: str
    where: str
    message: str

    def __str__(self):
        return f"{self.rule}: {self.where}: {self.message}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Audit:
    """What the audit saw.

    Attributes:
        findings: Reasons to refuse; empty if there are none.
        operators: How often each operator occurs.
        versions: Version of each operator.
        loaded_in: Runtimes in which it was loaded and run.
        fall_back: By accelerator, operators that would run on the CPU, and
            how many; on paper, from documented operator lists.
    """

    findings: tuple[Finding, ...]
    operators: dict[str, int]
    versions: dict[str, int]
    loaded_in: tuple[str, ...]
    fall_back: dict[str, dict[str, int]]

    @property
    def oldest_runtime(self) -> str | None:
        """Release of tflite-runtime that first has all operators, on paper.

        None if none has them up to `op_support.NEWEST`.
        """
        return op_support.oldest_runtime(self.versions)

    @property
    def passed(self) -> bool:
        """Whether there is nothing to complain about."""
        return not self.findings

    def with_findings(self, findings: Iterable[Finding]) -> "Audit":
        """Returns the same with more reasons to refuse."""
        return dataclasses.replace(self, findings=(*self.findings, *findings))

    def check(self) -> None:
        """Raises ValueError with the findings, if any."""
        if self.findings:
            shown = "; ".join(map(str, self.findings[:5]))
            raise ValueError(
                f"The model fails its audit with {len(self.findings)} "
                f"findings: {shown}."
            )

    def to_dict(self):
        """Returns JSON types."""
        return {
            "passed": self.passed,
            "findings": [str(finding) for finding in self.findings],
            "operators": self.operators,
            "versions": self.versions,
            "oldest_runtime_on_paper": self.oldest_runtime,
            "loaded_in": list(self.loaded_in),
            "fall_back_on_paper": self.fall_back,
        }


def audit_file(
    path: str | os.PathLike, runtime: str = DEFAULT_RUNTIME
) -> Audit:
    """Audits an exported file by the precision its manifest states."""
    model, manifest = manifest_lib.read_model(path)
    kept = manifest.provenance.get("kept")
    return audit_model(
        model, manifest.precision, runtime, kept, manifest.stream
    )


def audit_model(
    model: bytes,
    precision: str = "int8",
    runtime: str = DEFAULT_RUNTIME,
    kept: Mapping[str, str] | None = None,
    stream: manifest_lib.Stream | None = None,
) -> Audit:
    """Looks for everything that makes a model unfit for the device.

    Args:
        model: The flatbuffer.
        precision: What it claims to be: "fp32", "fp16", "dynamic", "int16x8"
            or one of `INT8_PRECISIONS`. It may hold no tensor of another type.
        runtime: The oldest runtime that must load it, a key of
            `op_support.RUNTIMES`.
        kept: Parts that may be other than int8, and their precision; see
            `mixed.assemble`.
        stream: What it carries from frame to frame, if it takes frames.
    """
    check_runtime(runtime)
    checks.check_choice("precision", precision, _TYPES)
    kept = {} if kept is None else kept
    mixed.check_kept(kept)
    graph = flatbuffer.read_graph(model)
    findings = [
        *_operator_findings(graph),
        *_version_findings(graph, runtime),
        *_dimension_findings(graph),
        *_scale_findings(graph, stream),
    ]
    states = stream.states if stream else ()
    findings += _state_findings(graph, states)
    findings += _loose_ends(graph, stream)
    findings += _type_findings(graph, precision, kept)
    if precision in INT8_PRECISIONS:
        findings += _border_findings(graph, states)
    loaded_in = []
    if not findings:  # An interpreter may crash on what is forbidden.
        loaded_in, problems = _run(model, precision, stream)
        findings += problems
    return Audit(
        findings=tuple(findings),
        operators=dict(collections.Counter(op.code for op in graph.operators)),
        versions=_versions(graph),
        loaded_in=tuple(loaded_in),
        fall_back=op_support.fall_back(graph),
    )


def _versions(graph) -> dict[str, int]:
    """The version that a runtime must have of each operator."""
    needed = collections.Counter()
    for operator in graph.operators:
        needed |= {operator.code: operator.version}
    return dict(needed)


def check_runtime(runtime: str) -> None:
    """Raises ValueError unless the versions of its operators are known."""
    checks.check_choice("runtime", runtime, op_support.RUNTIMES)


def _output_name(graph, operator) -> str:
    return graph.tensors[operator.outputs[0]].name


def _operator_findings(graph):
    if graph.subgraphs != 1:
        yield Finding(
            rule="control-flow",
            where="graph",
            message=f"has {graph.subgraphs} subgraphs, must have 1",
        )
    for operator in graph.operators:
        where = _output_name(graph, operator)
        if operator.custom:
            kind = "Flex" if operator.code.startswith("Flex") else "custom"
            yield Finding(
                rule="builtin-only",
                where=where,
                message=f"is made by the {kind} operator {operator.code}",
            )
        elif operator.code in FORBIDDEN:
            yield Finding(
                rule="no-3d",
                where=where,
                message=f"is made by {operator.code}, which has no int8 form",
            )


def _version_findings(graph, runtime):
    newest = op_support.RUNTIMES[runtime]
    for operator in graph.operators:
        if operator.custom or operator.code in FORBIDDEN:
            continue  # Reported already.
        known = newest.get(operator.code, 0)
        if operator.version > known:
            yield Finding(
                rule="op-version",
                where=_output_name(graph, operator),
                message=f"needs {operator.code} version {operator.version}; "
                f"{runtime} has up to {known}",
            )


def _dimension_findings(graph):
    for tensor in graph.tensors:
        if len(tensor.shape) > MAX_DIMENSIONS:
            yield Finding(
                rule="4-d",
                where=tensor.name,
                message=f"has shape {tensor.shape}",
            )
        if tensor.dynamic:
            yield Finding(
                rule="static",
                where=tensor.name,
                message="has a shape that is known only when it runs",
            )


def _scale_findings(graph, stream):
    way_out = "calibrate on more or more varied clips, or "
    if stream:  # there are no mixed ones
        way_out += "take precision 'fp16', which computes in float"
    else:
        way_out += (
            "keep this part in fp32: precision 'mixed' with "
            "ExportOptions.kept = {'PART': 'fp32'}"
        )
    for name, message in graph_check.scale_problems(graph):
        yield Finding(rule="scale", where=name, message=f"{message}: {way_out}")


def _type_findings(graph, precision, kept):
    """Tensors of other types than the precision's, or their part's."""
    ends = {*graph.inputs, *graph.outputs} if precision == "int16x8" else ()
    kernels = {
        operator.inputs[1]
        for operator in graph.operators
        if operator.code in _WITH_KERNEL
    }
    for tensor in graph.tensors:
        part = mixed.part_of(tensor.name, kept)
        allowed = _TYPES[precision][tensor.constant]
        where = f"{precision} model"
        if part is not None:
            allowed, where = _KEPT_TYPES[kept[part]], f"{kept[part]} part"
        border = part is not None and tensor.name == part + mixed.FLOAT_BORDER
        if tensor.index in ends:
            border = tensor.dtype == "FLOAT32"
        if tensor.dtype not in allowed and not border:
            yield Finding(
                rule="no-float" if "FLOAT" in tensor.dtype else "type",
                where=tensor.name,
                message=f"is {tensor.dtype} in an {where}",
            )
        elif tensor.index in kernels and _is_wide(tensor, precision):
            yield Finding(
                rule="no-float",
                where=tensor.name,
                message=f"is a FLOAT32 kernel in a {precision} model",
            )


def _is_wide(tensor, precision) -> bool:
    """Whether a kernel was left in float that should be narrower."""
    return (
        precision in _NARROW_FROM
        and tensor.constant
        and tensor.dtype == "FLOAT32"
        and math.prod(tensor.shape) >= _NARROW_FROM[precision]
    )


def _state_findings(graph, states):
    """States whose output cannot be the next input as it is."""
    ends = [
        {graph.tensors[i].name: graph.tensors[i] for i in numbers}
        for numbers in (graph.inputs, graph.outputs)
    ]
    for state in states:
        wanted, made = (
            end.get(name)
            for end, name in zip(ends, (state.input, state.output), strict=True)
        )
        if wanted is None or made is None:
            yield Finding(
                rule="state",
                where=state.input,
                message="is not both an input and an output of the model",
            )
            continue
        described = [
            (t.dtype, t.shape, t.scale, t.zero_point) for t in (wanted, made)
        ]
        if described[0] != described[1]:
            yield Finding(
                rule="state",
                where=state.input,
                message=f"goes in as {described[0]} and comes out as "
                f"{described[1]}",
            )
        if wanted.dtype.lower() not in manifest_lib.STATE_TYPES:
            yield Finding(
                rule="state",
                where=state.input,
                message=f"is {wanted.dtype}, must be one of "
                f"{tuple(map(str.upper, manifest_lib.STATE_TYPES))}",
            )


def _loose_ends(graph, stream):
    """Inputs that nobody would feed, and outputs that nobody would take."""
    states = stream.states if stream else ()
    for what, numbers, main in (
        ("input", graph.inputs, manifest_lib.FRAME),
        ("output", graph.outputs, manifest_lib.SCORES),
    ):
        names = [graph.tensors[number].name for number in numbers]
        known = {main} if stream else set(names[:1])
        known |= {getattr(state, what) for state in states}
        for name in names:
            if name not in known:
                yield Finding(
                    rule="state",
                    where=name,
                    message=f"is an {what} that no state of the stream names",
                )


def _border_findings(graph, states):
    carried = {name for s in states for name in (s.input, s.output)}
    for what, numbers, scale, zero_points in (
        ("input", graph.inputs, 1.0, input_zero_point.ZERO_POINTS),
        ("output", graph.outputs, 1 / 256, (0,)),
    ):
        for number in numbers:
            tensor = graph.tensors[number]
            if tensor.name in carried:
                continue
            found = (tensor.dtype, tensor.scale, tensor.zero_point)
            if found not in [("UINT8", (scale,), (z,)) for z in zero_points]:
                yield Finding(
                    rule="border",
                    where=tensor.name,
                    message=f"is the {what} and must be UINT8 of scale {scale}"
                    f" and zero point {zero_points[0]}, but is "
                    f"{tensor.dtype} of scale {tensor.scale} and zero point "
                    f"{tensor.zero_point}",
                )


def _run(model, precision, stream):
    """Returns the runtimes that run the model, and findings of the others.

    All must find the scores of the first. A runtime that does not work on this
    machine says nothing about the model; if none does, that is a finding.
    """
    ran, findings, broken, expected = [], [], [], None
    for name in interpreters.available():
        try:
            scores = _scores(model, name, stream)
            problem = _score_problem(scores, expected, precision)
        except ImportError as error:
            logging.warning("%s is left out: %s", name, error)
            broken.append(Finding(rule="runs", where=name, message=str(error)))
            continue
        except (RuntimeError, ValueError) as error:
            reason = str(error).strip().splitlines()
            problem = reason[0] if reason else type(error).__name__
        if problem:
            findings.append(Finding(rule="runs", where=name, message=problem))
        else:
            expected = scores if expected is None else expected
            ran.append(interpreters.describe(name))
    return ran, findings if ran else findings + broken


def _scores(model, name, stream) -> np.ndarray:
    """Scores of a clip of noise, the same each time."""
    run = streaming.make_runner(model, stream, runtime=name)
    rng = np.random.default_rng(0)
    return run(rng.integers(0, 256, run.clip_shape, np.uint8))


def _score_problem(scores, expected, precision) -> str | None:
    if not np.isfinite(scores).all():
        return "scores are not finite"
    if expected is None:
        return None
    error = float(np.abs(scores - expected).max())
    same = scores.argmax() == expected.argmax()
    if not parity.agrees(error, float(same), precision):
        return f"has scores up to {error:.2g} off another runtime's"
    return None
