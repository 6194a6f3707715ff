"""Where gin files lie: in the working directory, then the installed ones."""

import difflib
import pathlib
import site
import sys


def gin_dirs() -> list[pathlib.Path]:
    """Returns the gin/ directories: of the checkout, then the installed."""
    checkout = pathlib.Path(__file__).resolve().parents[2]
    prefixes = [sys.prefix]
    if site.ENABLE_USER_SITE:  # of `pip install --user`
        prefixes.append(site.getuserbase())
    shares = [pathlib.Path(p) / "share" / "autox3d_tf" for p in prefixes]
    if (checkout / "setup.py").exists():  # else site-packages, with gin-config
        shares.insert(0, checkout)
    return [share / "gin" for share in shares if (share / "gin").is_dir()]


def search_path() -> list[pathlib.Path]:
    """Returns where names are looked up, with and without "gin/" in front."""
    return [place for path in gin_dirs() for place in (path.parent, path)]


def installed() -> list[str]:
    """Returns the names of the installed gin files, as --gin_file takes."""
    names = {
        str(path.relative_to(folder.parent))
        for folder in gin_dirs()
        for path in folder.rglob("*.gin")
    }
    return sorted(names)


def is_installed(name: str) -> bool:
    """Whether a gin file that is there is an installed one, by any path."""
    path = find(name).resolve()
    return any(path.is_relative_to(place.resolve()) for place in gin_dirs())


def find(name: str) -> pathlib.Path:
    """Returns the path of a gin file.

    Raises:
        FileNotFoundError: Naming one that is meant, or all there are.
    """
    for place in (pathlib.Path(), *search_path()):
        if (place / name).is_file():
            return place / name
    known = installed()
    close = difflib.get_close_matches(name, known, 1, 0.4)
    if close:
        rest = f"Did you mean {close[0]}?"
    elif known:
        rest = f"Installed are: {', '.join(known)}."
    else:
        rest = f"The working directory is {pathlib.Path.cwd()}."
    raise FileNotFoundError(f"--gin_file={name} was not found. {rest}")
