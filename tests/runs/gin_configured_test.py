"""A configuration inside a process, as in a notebook."""

import json

import gin
import pytest

from autox3d_tf.runs import gin_app, gin_files, run_dir
from tests.runs import gin_demo

HEAD = """from __gin__ import dynamic_registration
from tests.runs import gin_demo
"""


@pytest.fixture
def gin_file(tmp_path):
    def write(text, head=HEAD):
        path = tmp_path / "x.gin"
        path.write_text(head + text)
        return str(path)

    return write


SPACE = "gin_demo.run_demo.space = @gin_demo.get_space()\n"
NAME = "gin_demo.get_space.name = 'tiny'\n"


def configure(*arguments):
    with gin_app.configured(gin_demo.run_demo, *arguments):
        pass


def test_run_is_called_and_the_configuration_forgotten(
    gin_file, tmp_path, capsys
):
    files, out = [gin_file(SPACE + NAME)], str(tmp_path / "out")
    for seed in ("1", "1"):
        with gin_app.configured(
            gin_demo.run_demo, files, [f"run_demo.seed={seed}"], out
        ) as run:
            run()
        assert capsys.readouterr().out.endswith("seed=1\n")
        assert gin.config_str().strip() in ("", "\n".join(HEAD.split("\n")[:2]))
        assert run_dir.config_text is None
    assert json.loads((tmp_path / "out/run.json").read_text()) == {"seed": 1}
    assert "seed = 1" in (tmp_path / "out/config.gin").read_text()


def test_is_forgotten_after_an_error_too(gin_file):
    with pytest.raises(gin_app.UsageError):
        configure([gin_file(SPACE + NAME)], ["NOPE=1"])
    with pytest.raises(gin_app.UsageError, match="space must be set"):
        configure()


def test_macro_of_a_macro_and_calls_within_macros(gin_file):
    text = "A = 'tiny'\nB = %A\nMAKE = @gin_demo.get_space()\n"
    text += "gin_demo.run_demo.space = %MAKE\ngin_demo.get_space.name = %B\n"
    configure([gin_file(text)])
    text = text.replace("'tiny'", "7")
    with pytest.raises(
        gin_app.UsageError, match=r"get_space.name must be str. .* B=7"
    ):
        configure([gin_file(text)])


def test_scopes_inside_scopes(gin_file):
    text = "gin_demo.run_demo.space = @a/b/gin_demo.get_space()\n"
    configure([gin_file(text + "a/gin_demo.get_space.name = 'x'\n")])
    configure([gin_file(text + NAME)])
    with pytest.raises(gin_app.UsageError, match="scope 'b' is never entered"):
        configure([gin_file(text + NAME + "b/gin_demo.get_space.name = 'x'\n")])


def test_a_macro_for_those_without_a_scope_may_stay_but_not_be_given(gin_file):
    text = "gin_demo.run_demo.space = @a/gin_demo.get_space()\nNAME = 'x'\n"
    text += "gin_demo.get_space.name = %NAME\na/gin_demo.get_space.name = 'y'\n"
    configure([gin_file(text)])
    with pytest.raises(gin_app.UsageError, match="NAME has no effect"):
        configure([gin_file(text)], ["NAME=z"])
    with pytest.raises(gin_app.UsageError, match="OTHER is defined but never"):
        configure([gin_file(text + "OTHER = 1\n")])


def test_scope_is_inherited_by_the_calls_within(gin_file):
    text = "gin_demo.run_demo.space = @a/gin_demo.get_space()\n"
    text += "gin_demo.get_space.name = @gin_demo.scale()\n"
    text += "a/gin_demo.scale.factor = 2.0\n"
    # Reached, so not a ghost; but what scale() makes is no name.
    with pytest.raises(gin_app.UsageError, match=r"str. .*name=@scale\(\)"):
        configure([gin_file(text)])


def test_references_in_containers_are_followed(gin_file):
    text = "SIZES = (1, %LAST)\nLAST = 4\n" + SPACE + NAME
    text += "gin_demo.run_demo.options = @gin_demo.Options()\n"
    text += "gin_demo.Options.sizes = %SIZES\n"
    configure([gin_file(text)])
    with pytest.raises(gin_app.UsageError, match=r"SIZES=\(1, 'x'\)"):
        configure([gin_file(text)], ["LAST=x"])


def test_function_instead_of_its_result(gin_file):
    text = SPACE.replace("()", "") + NAME
    with pytest.raises(gin_app.UsageError, match="space must be Space"):
        configure([gin_file(text)])


def test_include_of_an_installed_file(gin_file, tmp_path, monkeypatch):
    share = tmp_path / "share" / "gin"
    (share / "spaces").mkdir(parents=True)
    (share / "spaces" / "tiny.gin").write_text(HEAD + SPACE + NAME)
    monkeypatch.setattr(gin_files, "gin_dirs", lambda: [share])
    for name in ("gin/spaces/tiny.gin", "spaces/tiny.gin"):
        configure([name])
        configure([gin_file(f"include '{name}'\n", head="")])
    message = "was not found. Did you mean gin/spaces/tiny.gin"
    with pytest.raises(gin_app.UsageError, match=message):
        configure(["gin/spaces/tinny.gin"])


def test_an_installed_file_is_known_by_any_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "videos").mkdir()
    installed = gin_files.gin_dirs()[0] / "videos" / "train.gin"
    for name in ("gin/videos/train.gin", "videos/train.gin", installed):
        assert gin_files.is_installed(name)
    (tmp_path / "videos" / "train.gin").touch()  # of one's own
    assert not gin_files.is_installed("videos/train.gin")


def test_where_an_installation_has_its_gin_files(tmp_path, monkeypatch):
    packages = tmp_path / "site-packages"
    (packages / "gin").mkdir(parents=True)  # gin-config, which is not ours
    monkeypatch.setattr(
        gin_files, "__file__", str(packages / "autox3d_tf/runs/gin_files.py")
    )
    everyone, user = tmp_path / "usr", tmp_path / "home"
    monkeypatch.setattr(gin_files.sys, "prefix", str(everyone))
    monkeypatch.setattr(gin_files.site, "getuserbase", lambda: str(user))
    monkeypatch.setattr(gin_files.site, "ENABLE_USER_SITE", True)
    ours = [place / "share/autox3d_tf/gin" for place in (everyone, user)]
    assert gin_files.gin_dirs() == []
    for folder in ours:  # --user, and without
        folder.mkdir(parents=True)
    assert gin_files.gin_dirs() == ours


@pytest.mark.parametrize(
    "override, value",
    [
        ("get_space.name=/data/clips-1", "/data/clips-1"),
        ("get_space.name='a b'", "a b"),
        ("get_space.name=My Videos", "My Videos"),  # is there
        ("get_space.name=2024_clips", "2024_clips"),  # is there
        ("get_space.name=~/videos", "/home/me/videos"),
    ],
)
def test_words_and_paths_need_no_quotes(
    gin_file, override, value, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    for name in ("My Videos", "2024_clips"):
        (tmp_path / name).mkdir()
    with gin_app.configured(
        gin_demo.run_demo,
        [gin_file(SPACE)],
        [override],
        str(tmp_path / "out"),
    ) as run:
        run()
    assert capsys.readouterr().out.startswith(f"ran {value} ")
