r"""Times X3D here against the same X3D in PyTorch, on this machine.

  autox3d-benchmark-torch --arch=x3d_s --batch_size=4
  autox3d-benchmark-torch --arch=x3d_xs --batch_size=8 --repeats=15

The peer is an X3D in plain PyTorch (eager), models/torch_x3d.py, with
SlowFast's tensors: it gets our weights, and both must give the same logits. It
runs in both memory formats. All run in turn, several times; medians are
compared.
Training is forward, loss, backward and SGD with momentum; inference is one
forward pass. On a busy machine compare CPU time with --threads=1, because
threads of PyTorch that wait are busy. PyTorch must be installed
(pip install -e '.[torch]').

On a machine with a GPU that both see, both use it, in float32 with
TensorFloat-32 products, or as --precision says; ours as it is and compiled by
XLA (`TrainingOptions.jit_compile`), with the seconds of its first step.
"""

import contextlib
import importlib
import statistics
import time

from absl import flags

from autox3d_tf.base import text as text_lib
from autox3d_tf.runs import binary

FLAGS = flags.FLAGS
OURS = "autox3d_tf"
COMPILED = f"{OURS}, XLA"


def torch_runs(modules, clips, labels, device="cpu", precision="float32"):
    """Name -> functions, for modules by memory format."""
    import torch
    from torch.nn import functional as F

    clips = torch.from_numpy(clips).permute(0, 4, 1, 2, 3).to(device)
    labels = torch.from_numpy(labels).long().to(device)

    def logits_of(module, inputs):
        reduced = precision != "float32"
        with torch.autocast(device, torch.bfloat16, enabled=reduced):
            return module(inputs).float()

    runs = {}
    for name, module in modules.items():
        module = module.to(device)
        inputs = clips.contiguous(memory_format=getattr(torch, name))
        sgd = torch.optim.SGD(module.parameters(), 1e-3, momentum=0.9)

        def train(module=module, inputs=inputs, sgd=sgd):
            module.train()
            sgd.zero_grad()
            F.cross_entropy(logits_of(module, inputs), labels).backward()
            sgd.step()
            if device == "cuda":
                torch.cuda.synchronize()

        def infer(module=module, inputs=inputs):
            module.eval()
            with torch.inference_mode():
                return logits_of(module, inputs).cpu().numpy()

        runs[f"PyTorch {name}"] = {"train": train, "inference": infer}
    return runs


def our_runs(model, clips, labels, jit_compile=False):
    """The same for our network."""
    import keras
    import tensorflow as tf

    from autox3d_tf.runs import loop

    clips, labels = tf.constant(clips), tf.constant(labels)
    sgd = keras.optimizers.SGD(1e-3, momentum=0.9)
    sgd.build(model.trainable_variables)

    def train_step(clips, labels):
        with tf.GradientTape() as tape:
            logits = model(clips, training=True)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
                labels, logits
            )
            loss = tf.reduce_mean(losses)
        weights = model.trainable_variables
        gradients = tape.gradient(loss, [w.value for w in weights])
        sgd.apply(gradients, weights)
        return loss

    def logits_of(clips):
        return model(clips, training=False)

    if jit_compile:
        train_step, logits_of = (
            tf.function(function, autograph=False, jit_compile=True)
            for function in (train_step, logits_of)
        )
    compiled = loop.compile_step(train_step)
    infer = loop.compile_step(logits_of)

    def train():
        compiled(0, clips, labels)
        tf.test.experimental.sync_devices()

    return {"train": train, "inference": lambda: infer(0, clips).numpy()}


def compare(runs, what, repeats):
    """Runs all in turn; returns name -> median ms, wall clock and CPU."""
    for name, run in runs.items():
        began = time.perf_counter()
        run[what]()
        if name == COMPILED:
            seconds = time.perf_counter() - began
            print(f"{what:<10} {name:<28} the first after {seconds:.0f} s")
        run[what]()
    times = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            wall, cpu = time.perf_counter(), time.process_time()
            run[what]()
            times[name].append(
                (time.perf_counter() - wall, time.process_time() - cpu)
            )
    return {
        name: [
            1e3 * statistics.median(column) for column in zip(*t, strict=True)
        ]
        for name, t in times.items()
    }


def _use_tensor_float_32(wanted):
    import tensorflow as tf
    import torch

    tf.config.experimental.enable_tensor_float_32_execution(wanted)
    torch.backends.cuda.matmul.allow_tf32 = wanted
    torch.backends.cudnn.allow_tf32 = wanted


def _check_same_logits(runs):
    """Refuses to compare networks that do not compute the same.

    What XLA compiles without TensorFloat-32 stays without: it is compared with
    ours as it is, with it.
    """
    _use_tensor_float_32(False)
    peers = {name: run for name, run in runs.items() if name != COMPILED}
    _check_difference("", peers, 1e-3)
    _use_tensor_float_32(True)
    if COMPILED in runs:
        ours = {name: runs[name] for name in (OURS, COMPILED)}
        _check_difference(" compiled by XLA", ours, 1e-2)


def _check_difference(of, runs, most):
    ours, *others = (run["inference"]() for run in runs.values())
    error = max(abs(ours - other).max() for other in others) / abs(ours).max()
    print(f"largest difference of logits{of}: {error:.1e} of the largest logit")
    if not error < most:
        raise ValueError("The networks give other logits: nothing to compare.")


def _run(arguments):
    binary.take_no_arguments(arguments)
    try:
        import torch
    except ImportError:
        raise ValueError(
            "The peer is missing: pip install -e '.[torch]'."
        ) from None
    import numpy as np
    import tensorflow as tf

    from autox3d_tf import models, space
    from autox3d_tf.models import torch_x3d

    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:  # TensorFlow would take all of its memory
        tf.config.experimental.set_memory_growth(gpu, True)
    arch = space.get_arch(FLAGS.arch)
    size = FLAGS.clip_size or arch.clip_size
    if FLAGS.threads:
        torch.set_num_threads(FLAGS.threads)
    tf.config.optimizer.set_experimental_options(
        {"disable_meta_optimizer": True}
    )
    rng = np.random.default_rng(0)
    clips = rng.normal(size=(FLAGS.batch_size, *size, 3)).astype("float32")
    labels = rng.integers(FLAGS.num_classes, size=FLAGS.batch_size)
    model = models.build_model(arch, FLAGS.num_classes)
    modules = torch_x3d.peers_of(model)
    device, where = "cpu", f"{torch.get_num_threads()} threads"
    if gpus and torch.cuda.is_available():
        device, where = "cuda", torch.cuda.get_device_name()
    print(
        f"{arch.name}, {FLAGS.batch_size} clips of {text_lib.times(size)}, "
        f"TensorFlow {tf.__version__}, PyTorch {torch.__version__}, "
        f"{where}, {FLAGS.precision}, medians of {FLAGS.repeats}"
    )

    def all_runs(precision):
        ours = {OURS: our_runs(model, clips, labels.astype("int32"))}
        if device == "cuda":  # on a CPU it takes ten times as long
            ours[COMPILED] = our_runs(
                model, clips, labels.astype("int32"), jit_compile=True
            )
        return ours | torch_runs(modules, clips, labels, device, precision)

    runs = all_runs("float32")
    _check_same_logits(runs)
    if FLAGS.precision != "float32":
        model = models.build_model(
            arch, FLAGS.num_classes, dtype=f"mixed_{FLAGS.precision}"
        )
        runs = all_runs(FLAGS.precision)
    kinds = ("train", "inference") if FLAGS.what == "both" else (FLAGS.what,)
    for what in kinds:
        medians = compare(runs, what, FLAGS.repeats)
        for name, (wall, cpu) in medians.items():
            print(f"{what:<10} {name:<28} {wall:9.1f} ms {cpu:9.1f} ms CPU")
        for column, clock in enumerate(("wall clock", "CPU time")):
            times = {name: found[column] for name, found in medians.items()}
            best = min(v for k, v in times.items() if not k.startswith(OURS))
            for name in filter(times.get, (OURS, COMPILED)):
                ratio = best / times[name]
                print(
                    f"{what:<10} PyTorch's best / {name}, {clock}: {ratio:.2f}"
                )


def _define_flags():
    flags.DEFINE_string("arch", "x3d_s", "An X3D: name or arch.json.")
    binary.define_clip_size("By default the X3D's own.")
    flags.DEFINE_integer("batch_size", 4, "Clips of a step.", 1)
    flags.DEFINE_integer("num_classes", 400, "Outputs.", 2)
    flags.DEFINE_integer("repeats", 10, "Timed runs of each.", 3)
    flags.DEFINE_enum(
        "what", "both", ["both", "train", "inference"], "What to time."
    )
    flags.DEFINE_enum(
        "precision",
        "float32",
        ["float32", "bfloat16"],
        "Of both, mixed if reduced.",
    )


def main():
    # PyTorch's compiler has an LLVM, as TensorFlow has: loaded second it
    # crashes (2.14 with TensorFlow 2.21), and an optimizer loads it.
    with contextlib.suppress(ImportError):
        importlib.import_module("torch._dynamo")
    binary.run_plain(_run, define=_define_flags, threads=True)


if __name__ == "__main__":
    main()
