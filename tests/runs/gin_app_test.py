"""Binaries as a user meets them: a command, a line of text, an exit code."""

import os
import pathlib
import subprocess
import sys
import types

import pytest

from autox3d_tf.runs import gin_app

TOOL = pathlib.Path(__file__).with_name("gin_demo_tool.py")
REPO = TOOL.parents[2]

DEMO = """# A demo.
from __gin__ import dynamic_registration
from tests.runs import gin_demo
RUN_DIR = %gin.REQUIRED
SEED = 0
RATE = 0.5
gin_demo.run_demo:
  space = @small/gin_demo.get_space()
  options = @gin_demo.Options()
  run_dir = %RUN_DIR
  seed = %SEED
gin_demo.Options.rate = %RATE
small/gin_demo.get_space.name = 'tiny'
"""


@pytest.fixture
def tool(tmp_path):
    """Runs the tool in a directory that has demo.gin."""
    (tmp_path / "demo.gin").write_text(DEMO)

    def run(*arguments, demo="run_demo"):
        environment = {**os.environ, "DEMO": demo, "PYTHONPATH": str(REPO)}
        return subprocess.run(
            [sys.executable, str(TOOL), *arguments],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=environment,
            timeout=60,
        )

    return run


def run_demo(tool, *arguments):
    return tool("--gin_file=demo.gin", "--run_dir=out", *arguments)


def assert_line(done, code, text):
    """The program said one line, this one, and nothing else."""
    assert done.stderr == f"error: {text}\n"
    assert done.stdout == ""
    assert done.returncode == code


def test_bindings_reach_the_run(tool):
    done = run_demo(tool, "--gin=SEED=4")
    assert done.returncode == 0, done.stderr
    assert done.stdout == (
        "ran tiny Options(rate=0.5, sizes=(1, 2), mode='dense', limit=None) "
        "seed=4\n"
    )


def test_operative_config_is_saved_and_repeats_the_run(tool, tmp_path):
    done = run_demo(tool, "--gin=SEED=4", "--gin=RATE=0.25")
    again = tool("--gin_file=out/config.gin", "--run_dir=out")
    assert again.returncode == 0, again.stderr
    assert again.stdout == done.stdout
    assert "mode = 'dense'" in (tmp_path / "out/config.gin").read_text()


def test_another_run_in_the_same_directory_is_refused(tool):
    run_demo(tool)
    assert_line(
        run_demo(tool, "--gin=SEED=1"),
        1,
        "out belongs to another run (seed=0 there, 1 here). Give another "
        "--run_dir, or the options it was started with. (--debug shows where)",
    )


def test_dry_run_prints_and_writes_nothing(tool, tmp_path):
    done = run_demo(tool, "--dry_run", "--gin=SEED=9")
    assert done.returncode == 0
    assert "SEED = 9\n" in done.stdout
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "override, message",
    [
        (
            "SEDE=3",
            "--gin=SEDE=3: no gin file defines SEDE. Did you mean SEED?",
        ),
        (
            "gin_demo.Options.rat=3",
            "--gin=gin_demo.Options.rat=3: Configurable "
            "'gin_demo.Options' doesn't have a parameter named "
            "'rat'. Did you mean rate?",
        ),
        (
            "gin_demo.Optionz.rate=3",
            "--gin=gin_demo.Optionz.rate=3: Unknown: 'gin_demo.Optionz', "
            "which no gin file has imported or referred to.",
        ),
        (
            "alias.Options.rate=3",
            "--gin=alias.Options.rate=3: Unknown: 'alias.Options', which no "
            "gin file has imported or referred to. Known: Options.",
        ),
        (
            "other/gin_demo.get_space.name=x",
            "other/gin_demo.get_space.name has no effect: the scope 'other' "
            "is never entered. Refer to it as @other/gin_demo.get_space.",
        ),
        (
            "SEED='7'",
            "gin_demo.run_demo.seed must be int. Received: SEED='7'.",
        ),
        (
            "SEED=seven",
            "gin_demo.run_demo.seed must be int. Received: SEED='seven'.",
        ),
        (
            "SEED=1e3",
            "gin_demo.run_demo.seed must be int. Received: SEED=1000.0.",
        ),
        (
            "gin_demo.Options.sizes=[1]",
            "gin_demo.Options.sizes must be tuple[int, ...]. Received: "
            "sizes=[1].",
        ),
        (
            "gin_demo.Options.sizes=(1)",
            "gin_demo.Options.sizes must be tuple[int, ...]. Received: "
            "sizes=1. A single one is written (1,), with a comma.",
        ),
        (
            "gin_demo.Options.mode=sparse",
            "gin_demo.Options.mode must be Literal['dense', 'segments']. "
            "Received: mode='sparse'.",
        ),
        (
            "gin_demo.run_demo.space=@gin_demo.Options()",
            "gin_demo.run_demo.space must be Space. Received: "
            "space=@Options().",
        ),
        (
            "gin_demo.run_demo.failure=2024_11",
            "gin_demo.run_demo.failure must be str | None. Received: "
            "failure=202411. Text like a number needs quotes: "
            "\"--gin=gin_demo.run_demo.failure='...'\".",
        ),
        ("SEED", "--gin must be NAME=VALUE. Received: --gin=SEED"),
        (
            "SEED=40M",
            "--gin=SEED=40M: '40M' is no number, word, tuple, or path that is "
            "there. Text with spaces or signs needs quotes inside, "
            "\"--gin=SEED='...'\", tuples parentheses.",
        ),
        (
            "gin_demo.run_demo.seed=1,2)",
            "--gin=gin_demo.run_demo.seed=1,2): Expected newline. (line 1)",
        ),
    ],
)
def test_wrong_override_is_one_line(tool, override, message):
    done = run_demo(tool, f"--gin={override}")
    if "space=@" in override:  # the space's own binding has lost its use
        assert "small/gin_demo.get_space.name has no effect" in done.stderr
        assert done.returncode == 2
        return
    assert_line(done, 2, message)


@pytest.mark.parametrize(
    "old, new, message",
    [
        (
            "SEED = 0",
            "SEDE = 0",
            "%SEED is used in gin_demo.run_demo.seed but never defined. Did "
            "you mean SEDE?",
        ),
        (
            "  seed = %SEED\n",
            "",
            "SEED is defined but never used: remove it, or use it as %SEED.",
        ),
        (
            "  seed =",
            "  sed =",
            "Configurable 'gin_demo.run_demo' doesn't have a "
            "parameter named 'sed'. Did you mean seed? (demo.gin, line 11)",
        ),
        (
            "@small/",
            "@big/",
            "small/gin_demo.get_space.name has no effect: the scope 'small' "
            "is never entered. Refer to it as @small/gin_demo.get_space.",
        ),
        (
            "  options = @gin_demo.Options()\n",
            "",
            "gin_demo.Options.rate has no effect: nothing refers to "
            "@gin_demo.Options.",
        ),
        (
            "@small/gin_demo.get_space()",
            "@small/gin_demo.Options()",
            "small/gin_demo.get_space.name has no effect: nothing refers to "
            "@gin_demo.get_space.",
        ),
        (
            "SEED = 0",
            "SEED = 0\ngin_demo.run_bare.count = 4",
            "gin_demo.run_bare.count has no effect: nothing refers to "
            "@gin_demo.run_bare. Is the gin file for another command?",
        ),
        (
            "SEED = 0",
            "SEED = 0\nSEED = 1",
            "demo.gin binds SEED twice, in lines 5 and 6.",
        ),
        ("RATE = 0.5", "RATE = 0.5.5", "Expected newline. (demo.gin, line 6)"),
        (
            "import gin_demo",
            "import gin_demu",
            "No module named 'tests.runs.gin_demu' (demo.gin, line 3). The "
            "folder of a module of your own must be in PYTHONPATH.",
        ),
        (
            "small/gin_demo.get_space.name = 'tiny'\n",
            "",
            "small/gin_demo.get_space.name must be set. Give a "
            "--gin_file that binds it (--help lists what there is), or "
            "--gin=small/gin_demo.get_space.name=...",
        ),
        ("SEED = 0", "SEED = %gin.REQUIRED", "SEED must be set. Give "
         "--gin=SEED=..."),
    ],
)  # fmt: skip
def test_wrong_gin_file_is_one_line(tool, tmp_path, old, new, message):
    assert old in DEMO
    (tmp_path / "demo.gin").write_text(DEMO.replace(old, new, 1))
    done = run_demo(tool)
    assert_line(done, 2, message)


def test_a_value_in_the_place_of_a_macro_needs_no_macro(tool, tmp_path):
    required = DEMO.replace("SEED = 0", "SEED = %gin.REQUIRED")
    assert required != DEMO
    (tmp_path / "demo.gin").write_text(required)
    done = run_demo(tool, "--gin=run_demo.seed=5")
    assert done.returncode == 0 and "seed=5" in done.stdout
    assert_line(
        run_demo(tool, "--gin=SEED=4", "--gin=run_demo.seed=5"),
        2,
        "SEED is defined but never used: remove it, or use it as %SEED.",
    )


def test_run_dir_is_required(tool):
    assert_line(
        tool("--gin_file=demo.gin"),
        2,
        "RUN_DIR must be set. Give --run_dir=...",
    )


def test_required_arguments_without_a_gin_file(tool):
    assert_line(
        tool("--run_dir=out"),
        2,
        "gin_demo.run_demo.space must be set. Give a --gin_file that binds it "
        "(--help lists what there is), or --gin=gin_demo.run_demo.space=...",
    )


def test_missing_gin_file(tool, tmp_path):
    done = tool("--gin_file=nowhere/none.gin")
    assert done.stderr.startswith(
        "error: --gin_file=nowhere/none.gin was not found"
    )
    assert done.stderr.count("\n") == 1 and done.returncode == 2


def test_later_gin_file_wins(tool, tmp_path):
    (tmp_path / "more.gin").write_text("SEED = 8\n")
    done = run_demo(tool, "--gin_file=more.gin")
    assert "seed=8" in done.stdout


def test_binding_that_the_code_beats_is_said(tool, tmp_path):
    more = """from __gin__ import dynamic_registration
from tests.runs import gin_demo
gin_demo.run_demo.scale_fn = @gin_demo.scale
gin_demo.scale.factor = 2.0
"""
    (tmp_path / "more.gin").write_text(more)
    done = run_demo(tool, "--gin_file=more.gin")
    assert "gin_demo.scale.factor had no effect" in done.stderr
    assert "Options.rate had no effect" not in done.stderr
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("gin_file", "given", "meant"),
    [
        (["demo.gin"], [], True),
        (["gin/search/motion.gin"], [], False),
        (["gin/search/motion.gin", "demo.gin"], [], True),
        (["gin/search/motion.gin"], ["run_training.seed=1"], True),
        (["gin/search/motion.gin"], ["other_training.seed=1"], False),
    ],
)
def test_what_an_installed_file_binds_is_for_some_of_its_uses(
    monkeypatch, tmp_path, gin_file, given, meant
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo.gin").touch()
    flags = types.SimpleNamespace(gin_file=gin_file, gin=given)
    monkeypatch.setattr(gin_app, "FLAGS", flags)
    assert gin_app._is_meant("run.run_training.seed") == meant


def test_errors_of_the_run_are_one_line(tool):
    assert_line(
        run_demo(tool, "--gin=gin_demo.run_demo.failure='bad value'"),
        1,
        "`x` must be 1. Received: x=2. (--debug shows where)",
    )
    assert_line(
        run_demo(tool, "--gin=gin_demo.run_demo.failure='no file'"),
        1,
        "there is no such file (--debug shows where)",
    )


def test_options_check_themselves(tool):
    assert_line(
        run_demo(tool, "--gin=RATE=-1"),
        1,
        "`rate` must be positive. Received: rate=-1. (--debug shows where)",
    )


def test_debug_shows_where(tool):
    done = run_demo(
        tool, "--gin=gin_demo.run_demo.failure='no file'", "--debug"
    )
    assert "Traceback" in done.stderr and "in fail" in done.stderr
    assert done.stderr.endswith("error: there is no such file\n")
    assert done.returncode == 1


def test_our_own_bug_keeps_its_traceback(tool):
    done = run_demo(tool, "--gin=gin_demo.run_demo.failure=bug")
    assert "Traceback" in done.stderr and "a bug of ours" in done.stderr
    assert done.returncode == 1


def test_interrupted_run_exits_as_the_shell_expects(tool):
    done = run_demo(tool, "--gin=gin_demo.run_demo.failure=stopped")
    assert done.stderr == "Stopped by SIGTERM after step 3 of 9.\n"
    assert done.returncode == 143


def test_lost_worker_is_not_waited_for_at_the_end(tool):
    assert_line(
        run_demo(tool, "--gin=gin_demo.run_demo.failure=lost"),
        1,
        "a worker is gone (--debug shows where)",
    )


def test_without_gin_file_overrides_work(tool):
    done = tool("--gin=run_bare.count=5", demo="run_bare")
    assert done.stdout == "counted 5\n", done.stderr


def test_run_dir_that_nobody_takes_is_refused(tool):
    assert_line(
        tool("--run_dir=out", demo="run_bare"),
        2,
        "run_bare writes no run directory. Received: --run_dir=out",
    )


def test_run_dir_that_is_a_file_is_refused(tool):
    assert_line(
        tool("--gin_file=demo.gin", "--run_dir=demo.gin"),
        2,
        "--run_dir must be a folder. Received: the file demo.gin.",
    )


def test_unknown_flag_and_stray_argument(tool):
    assert_line(
        tool("--rundir=out"),
        2,
        "Unknown command line flag 'rundir'. Did you mean: run_dir? "
        "Try --help.",
    )
    assert_line(
        tool("--threads=0"),
        2,
        "flag --threads=0: 0 is not a positive integer. Try --help.",
    )
    assert_line(
        tool("out"),
        2,
        "Unexpected argument 'out'. Flags begin with --, values follow =. "
        "Try --help.",
    )


def test_strategy_is_for_what_can_run_on_several_devices(tool):
    assert_line(
        tool("--strategy=mirrored", demo="run_bare"),
        2,
        "run_bare runs on one device. Received: --strategy=mirrored",
    )
    done = run_demo(tool, "--strategy=two")
    assert done.returncode == 2 and "one|mirrored|multi_worker" in done.stderr
    assert run_demo(tool, "--strategy=one").returncode == 0


def test_workers_must_know_each_other(tool):
    done = run_demo(tool, "--strategy=multi_worker")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(
        "error: `strategy` 'multi_worker' must find in TF_CONFIG the addresses"
    )


def test_help_explains(tool):
    done = tool("--help")
    assert done.returncode == 0 and done.stderr == ""
    assert done.stdout.startswith("Runs the demo of the tests.")
    for flag in ("--gin_file", "--gin=", "--run_dir", "--dry_run",
                 "--strategy", "--top"):  # fmt: skip
        assert f"\n  {flag}" in done.stdout


def test_plain_binary(tool):
    done = tool("a.mp4", "--top=2", demo="plain")
    assert (done.stdout, done.returncode) == ("a.mp4 top 2\n", 0)
    assert_line(tool(demo="plain"), 2, "Give a video.")
    assert_line(
        tool("missing.mp4", demo="plain"),
        1,
        "missing.mp4 does not exist (--debug shows where)",
    )
    assert tool("a.mp4", "--gin=A=1", demo="plain").returncode == 2
    assert "\n  --gin" not in tool("--help", demo="plain").stdout
