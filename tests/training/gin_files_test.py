"""Each gin file is complete and means what the options allow."""

import pathlib
import re

import gin
import pytest

from autox3d_tf import cost
from autox3d_tf.data import options as data_options
from autox3d_tf.evaluation import run as evaluation_run
from autox3d_tf.runs import gin_app
from autox3d_tf.search import options as search_options
from autox3d_tf.search import run as search_run
from autox3d_tf.space import spaces
from autox3d_tf.studies import transfer
from autox3d_tf.training import initial, options, run

GIN = pathlib.Path(__file__).resolve().parents[2] / "gin"
REQUIRED = {"DATA": "clips", "RUN_DIR": "run", "TRAINED": "run"}
REQUIRED |= {"INIT_FROM": "run", "ARCH": "x3d_s", "RESULTS": "results"}


def whole(path):
    """Returns the text of a gin file and of those it includes."""
    text = path.read_text()
    included = re.findall("^include '(.*)'", text, re.MULTILINE)
    return text + "".join(whole(GIN.parent / name) for name in included)


def configured(path, run_fn):
    """Enters the configuration of a gin file, what is required filled in."""
    text = whole(path)
    overrides = [
        f"{name}={value}"
        for name, value in REQUIRED.items()
        if f"{name} = %gin.REQUIRED" in text
    ]
    return gin_app.configured(run_fn, [str(path)], overrides)


def made(cls):
    return gin.get_configurable(cls)()


@pytest.mark.parametrize(
    "path",
    [*sorted((GIN / "train").glob("*.gin")), GIN / "videos/train.gin"],
    ids=lambda path: f"{path.parent.stem}_{path.stem}",
)
def test_training(path):
    with configured(path, run.run_training):
        data = made(data_options.DataOptions)
        training = made(options.TrainingOptions)
        optimizer = made(options.OptimizerOptions)
        arch = gin.query_parameter("run_training.arch").scoped_selector
        arch = gin.query_parameter(f"%{arch.split('/')[0]}")
    assert data.source == "clips"
    if data.sampling == "dense" and data.stride > 1:
        assert data.stride_fps == 30.0  # what SlowFast counts strides in
    assert optimizer.rate(training.batch_size) > 0
    if arch == "run":  # the directory of another run
        return
    spec = initial.find_arch(arch)
    assert data.crop_size == spec.clip_size[1]
    if "INIT_FROM = %gin.REQUIRED" in whole(path):  # may go on with more
        assert data.clip_frames >= spec.clip_size[0]
    else:
        assert data.clip_frames == spec.clip_size[0]
    if data.sampling == "dense":
        assert data.stride == spec.frame_stride


@pytest.mark.parametrize(
    "name",
    [
        "demo/search",
        "search/egogestar",
        "search/egogestar_stream",
        "search/motion",
        "search/motion_stream",
        "search/tiny_synthetic",
        "videos/search",
    ],
)
def test_search(name):
    with configured(GIN / f"{name}.gin", search_run.run_search):
        data = made(data_options.DataOptions)
        assert made(search_options.SearchOptions).steps > 0
        space = spaces.get_space(gin.query_parameter("%SPACE"))
        target = gin.query_parameter("%TARGET_MACS")
    budget = cost.Budget(target=target, num_classes=10)
    assert cost.cheapest(space, budget) < target
    assert (data.clip_frames, data.crop_size) == space.clip_size[:2]


@pytest.mark.parametrize(
    "path", sorted((GIN / "evaluate").glob("*.gin")), ids=lambda path: path.stem
)
def test_evaluation(path):
    with configured(path, evaluation_run.run_evaluation):
        if "DataOptions" not in gin.config_str():  # what training.json says
            return
        data = made(data_options.DataOptions)
    short_side, crop_size = data.eval_size
    assert short_side == crop_size  # the crop takes in the shorter side


def test_kinetics_rate_and_momentum_are_those_of_x3d():
    with configured(GIN / "train/kinetics.gin", run.run_training):
        optimizer = made(options.OptimizerOptions)
    # 1.6 over 16 machines of 128 clips; the supplement's 192 clips: 0.15.
    assert optimizer.rate(16 * 128) == pytest.approx(1.6)
    assert optimizer.rate(192) == pytest.approx(0.15)
    assert optimizer.nesterov


@pytest.mark.parametrize(
    "name, views", [("kinetics", (10, 1)), ("something_v2", (2, 3))]
)
def test_views_of_the_protocols(name, views):
    path = GIN / f"evaluate/{name}.gin"
    with configured(path, evaluation_run.run_evaluation):
        macros = ("%TEMPORAL_VIEWS", "%SPATIAL_CROPS")
        assert tuple(map(gin.query_parameter, macros)) == views


def test_fine_tuning_leaves_the_stem_a_tenth_of_the_rate():
    with configured(GIN / "train/finetune.gin", run.run_training):
        decay = made(options.TrainingOptions).layer_decay
    blocks = sum(map(len, initial.find_arch("x3d_s").stages))
    assert decay ** (blocks + 1) == pytest.approx(0.1, rel=0.1)


def test_augmentation_of_the_supplement():
    with configured(GIN / "train/autox3d.gin", run.run_training):
        assert made(data_options.DataOptions).auto_augment


def test_transfer_is_the_gesture_recipe():
    rates, clips = [], []
    for path, run_fn in (
        ("train/egogestar.gin", run.run_training),
        ("transfer/egogestar.gin", transfer.compare_starts),
    ):
        with configured(GIN / path, run_fn):
            training = made(options.TrainingOptions)
            clips.append(made(data_options.DataOptions))
            rates.append(
                made(options.OptimizerOptions).rate(training.batch_size)
            )
            assert (training.dropout, training.motion_init) == (0.5, 0.5)
    assert clips[0] == clips[1]
    assert rates[0] == rates[1]
