r"""Times an X3D lowered here against the same network in other runtimes.

  autox3d-benchmark-peers --arch=x3d_s
  autox3d-benchmark-peers --arch=x3d_s --clip_size=13x160x160 --repeats=20

One clip, one thread, all in turn within one run: LiteRT with our float32 and
int8 files; OpenVINO and onnxruntime with an ONNX file made here from the same
weights; PyTorch eager. All that are float32 must give the same logits before
anything is timed. The last column is the share of the rate at which this
machine multiplies large float32 matrices on one thread (numpy's BLAS). The
sizes of our two files are printed before. A peer
that is not installed is left out, with the reason: pip install -e '.[peers]'
in this repository.

  autox3d-benchmark-peers --arch=x3d_s --also=searched/arch.json

also times other networks lowered here, such as a searched one, in the same
turns; their share of the sgemm rate is of their own multiply-adds.
"""

import os
import time

from absl import flags

from autox3d_tf.base import text as text_lib
from autox3d_tf.runs import binary

FLAGS = flags.FLAGS
OURS, OURS_INT8 = "LiteRT fp32, ours", "LiteRT int8, ours"
_TOLERANCE = 1e-3  # of the largest logit
_SGEMM = 1024


def openvino_run(model: bytes, clip):
    """Returns a function that gives the logits with OpenVINO, one thread."""
    import openvino

    settings = {
        "INFERENCE_NUM_THREADS": 1,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
    }
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(model), "CPU", settings)
    request = compiled.create_infer_request()
    return lambda: request.infer([clip])[compiled.output(0)]


def onnxruntime_run(model: bytes, clip):
    """The same with onnxruntime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model, options, providers=["CPUExecutionProvider"]
    )
    return lambda: session.run(None, {"clip": clip})[0]


def torch_runs(model, clip):
    """The same with PyTorch eager, by memory format."""
    import torch

    from autox3d_tf.models import torch_x3d

    torch.set_num_threads(1)
    runs = {}
    for name, module in torch_x3d.peers_of(model).items():
        module.eval()
        inputs = torch.from_numpy(clip)
        inputs = inputs.contiguous(memory_format=getattr(torch, name))

        def run(module=module, inputs=inputs):
            with torch.inference_mode():
                return module(inputs).numpy()

        runs[f"PyTorch eager, {name}"] = run
    return runs


def our_runs(arch, weights, clip, names=(OURS, OURS_INT8)):
    """LiteRT with our files, the float one first, and the bytes of each."""
    from autox3d_edge import float_lowering, interpreters, quantize

    runs, sizes = {}, {}
    for name, precision in zip(names, ("fp32", "int8"), strict=True):
        lower = float_lowering.choose(precision)
        lowered = lower(arch, weights, softmax=False)
        content = quantize.convert(lowered, precision, [clip])
        runner = interpreters.ClipRunner(content)
        runner.set_clip(clip)

        def run(runner=runner):
            runner.invoke()
            return runner.scores()

        runs[name], sizes[name] = run, len(content)
    return runs, sizes


def peers(arch, model, weights, clip):
    """Name -> run of each peer that is installed, and why others are not."""
    import numpy as np

    from autox3d_tf.data import sampling

    def onnx():
        from autox3d_tf.models import onnx_x3d

        return onnx_x3d.build_onnx(arch, weights)

    values = sampling.normalize(clip.astype(np.float32))
    planes = np.ascontiguousarray(values.transpose(3, 0, 1, 2)[None])
    makers = {
        "OpenVINO fp32": lambda: openvino_run(onnx(), planes),
        "onnxruntime fp32": lambda: onnxruntime_run(onnx(), planes),
        "PyTorch eager": lambda: torch_runs(model, planes),
    }
    runs, missing = {}, {}
    for name, make in makers.items():
        try:
            made = make()
        except ImportError as error:
            missing[name] = f"{error}: pip install -e '.[peers]'"
            continue
        runs.update(made if isinstance(made, dict) else {name: made})
    return runs, missing


def load_others(paths, clip_size):
    """Path -> ArchSpec of other networks, which must take the same clips."""
    from autox3d_tf import space

    others = {path: space.get_arch(path) for path in paths}
    for path, arch in others.items():
        if arch.clip_size != clip_size:
            raise ValueError(
                "--also must name networks for clips of "
                f"{text_lib.times(clip_size)}. Received: {path} for "
                f"{text_lib.times(arch.clip_size)}. Give --clip_size or "
                "another --arch."
            )
    return others


def also_runs(others, num_classes, clip):
    """Name -> run of other networks lowered here, and their multiply-adds."""
    from autox3d_tf import cost, models

    runs, macs = {}, {}
    for path, arch in others.items():
        model = models.build_model(arch, num_classes, seed=0)
        names = [f"{path}, {precision}" for precision in ("fp32", "int8")]
        found, _ = our_runs(arch, models.weight_values(model), clip, names)
        runs |= found
        total = cost.cost_of(arch, num_classes=num_classes).macs
        macs |= dict.fromkeys(names, total)
    return runs, macs


def sgemm_rate(repeats: int = 10) -> float:
    """Multiply-adds a second of numpy's float32 matrix product."""
    import numpy as np

    a = np.random.default_rng(0).random((_SGEMM, _SGEMM), np.float32)
    a @ a
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        a @ a
        times.append(time.perf_counter() - start)
    return _SGEMM**3 / float(np.median(times))


def check_same_logits(runs) -> float:
    """Returns the largest difference; refuses networks that are not equal."""
    expected = runs[OURS]()
    worst = 0.0
    for name, run in runs.items():
        if "int8" in name:
            continue
        error = float(abs(run() - expected).max() / abs(expected).max())
        worst = max(worst, error)
        if not error < _TOLERANCE:
            raise ValueError(
                f"{name} gives other logits, by {error:.1e} of the largest: "
                "nothing to compare."
            )
    return worst


def _run(arguments):
    binary.take_no_arguments(arguments)
    import numpy as np

    from autox3d_edge import benchmark
    from autox3d_tf import cost, models, space

    arch = space.get_arch(FLAGS.arch)
    if FLAGS.clip_size:
        import dataclasses

        arch = dataclasses.replace(arch, clip_size=FLAGS.clip_size)
    also = load_others(FLAGS.also, arch.clip_size)
    model = models.build_model(arch, FLAGS.num_classes, seed=0)
    weights = models.weight_values(model)
    clip = np.random.default_rng(0).integers(
        0, 256, (*arch.clip_size, 3), np.uint8
    )
    runs, sizes = our_runs(arch, weights, clip)
    others, missing = peers(arch, model, weights, clip)
    runs |= others
    for name, reason in missing.items():
        print(f"left out: {name} ({reason})")
    error = check_same_logits(runs)
    also, other_macs = also_runs(also, FLAGS.num_classes, clip)
    runs |= also
    rate = sgemm_rate()
    timings = benchmark.time_in_turns(runs, FLAGS.repeats)
    macs = cost.cost_of(arch, num_classes=FLAGS.num_classes).macs
    device = benchmark.device_description()
    size = text_lib.times(arch.clip_size)
    print(
        f"{arch.name}, {size}, {macs / 1e9:.3f} G multiply-adds, "
        f"1 thread, {device['processor']}, {device['runtime']}; "
        f"sgemm {rate / 1e9:.1f} G multiply-adds/s; logits differ by at most "
        f"{error:.1e} of the largest"
    )
    print(
        f"bytes: fp32 {sizes[OURS]:,}, int8 {sizes[OURS_INT8]:,}, "
        f"{sizes[OURS_INT8] / sizes[OURS]:.4f} of it"
    )
    ours = timings[0].median
    print(f"{'':38}ms median   middle half  ours/it  share of sgemm")
    for timing in timings:
        amount = other_macs.get(timing.name, macs)
        share = amount / (1e-3 * timing.median) / rate
        spread = f"{timing.low:.3g}-{timing.high:.3g}"
        print(
            f"{timing.name:38}{timing.median:9.3g} {spread:>13}"
            f"{ours / timing.median:9.2f} {share:15.2f}"
        )


def _define_flags():
    flags.DEFINE_string("arch", "x3d_s", "An X3D: name or arch.json.")
    flags.DEFINE_list("also", [], "arch.json files of the same clip size.")
    binary.define_clip_size("By default the X3D's own.")
    flags.DEFINE_integer("num_classes", 400, "Outputs.", 2)
    flags.DEFINE_integer("repeats", 15, "Timed runs of each.", 3)


def main():
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")  # before numpy is imported
    binary.run_plain(_run, define=_define_flags)


if __name__ == "__main__":
    main()
