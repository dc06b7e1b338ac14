"""The first thing that runs in a student's server: the course's files, then JupyterHub's server.

It runs as the student and needs nothing but Python and jupyterhub, so the image holds this one
file. The material is copied as README.md says: what the student changed is never overwritten.
"""

import atexit
import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
LIST = ".course.json"  # path -> what was handed out


@dataclass
class Copied:
    """What a copy did, as paths below the student's folder.

    Attributes:
        new: files that the student did not have.
        updated: files that the student had not touched, brought up to date.
        beside: new versions of files that the student had changed.
        skipped: files that could not be written, with the reason.
    """

    new: list[str] = field(default_factory=list)
    updated: list[str] = field(default_factory=list)
    beside: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


def copy_material(material: Path, folder: Path) -> Copied:
    """Bring a student's folder up to date, without touching what the student wrote.

    A file that is not there is copied. A file that is as it was handed out follows the material.
    A file that the student changed stays, and a new version is put beside it as ``NAME.new.EXT``,
    once. What is no longer in the material stays.

    Args:
        material: the course's files; is only read.
        folder: the student's; made where it is not there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # path -> [the version that was put there, the newest version that the student has been given]
    handed: dict[str, list[str]] = _read_list(folder / LIST)
    done = Copied()
    for source in _files(material):
        path = source.relative_to(material).as_posix()
        content = source.read_bytes()
        try:
            handed[path] = _one(folder, path, content, handed.get(path), done)
        except OSError as error:
            done.skipped.append(f"{path}: {error.strerror or error}")
    try:
        _write(folder / LIST, json.dumps(handed, indent=1, sort_keys=True).encode())
    except OSError as error:
        done.skipped.append(f"{LIST}: {error.strerror or error}")
    return done


def _one(
    folder: Path, path: str, content: bytes, handed: list[str] | None, done: Copied
) -> list[str]:
    """Bring one file up to date and return what to remember of it."""
    target, version = folder / path, _version(content)
    there = _there(target)
    if there is None:
        _write(target, content)
        done.new.append(path)
        return [version, version]
    if there == version:
        return [version, version]
    if handed and there == handed[0]:
        _write(target, content)
        done.updated.append(path)
        return [version, version]
    if not handed or handed[1] != version:
        other = _beside(target, version)
        if _there(other) is None:
            _write(other, content)
            done.beside.append(other.relative_to(folder).as_posix())
    return [handed[0] if handed else "", version]


def _there(path: Path) -> str | None:
    """Return the version of a file, or None where there is none; anything but a file is a word."""
    if path.is_symlink() or (path.exists() and not path.is_file()):
        return "not a file"
    return _version(path.read_bytes()) if path.exists() else None


def _beside(path: Path, version: str) -> Path:
    """Return a free name beside a file, or one that holds this version."""
    number = 1
    while True:
        mark = ".new" if number == 1 else f".new-{number}"
        other = path.with_name(f"{path.stem}{mark}{path.suffix}")
        if _there(other) in (None, version):
            return other
        number += 1


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.is_file() and not path.is_symlink() and not hidden:
            yield path


def _write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all: a full disk must not cost what was there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_bytes(content)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _version(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _read_list(path: Path) -> dict[str, list[str]]:
    """Return what was handed out; nothing where the list is lost: then all counts as changed."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def environment(found: dict[str, str]) -> dict[str, str]:
    """Return the variables that make Jupyter read this folder's settings first."""
    own = str(HERE / "jupyter")

    def first(name: str) -> str:
        return os.pathsep.join(filter(None, [own, found.get(name)]))

    return {name: first(name) for name in ("JUPYTER_CONFIG_PATH", "JUPYTER_PATH")}


def main() -> None:
    """Copy the material, then become the student's server."""
    os.environ.update(environment(dict(os.environ)))
    # Kernels speak through files and not through ports, for which the servers of one machine would
    # race. The path of such a file may have 107 letters, and a home's own folder for them is long.
    room = os.environ["JUPYTER_RUNTIME_DIR"] = tempfile.mkdtemp(prefix="jupyter-")
    atexit.register(shutil.rmtree, room, ignore_errors=True)
    material = Path(os.environ.get("COURSE_MATERIAL", HERE.parent / "material"))
    home = Path.home()
    if material.is_dir():
        sys.stderr.write(f"course material: {copy_material(material, home / 'course')}\n")
    else:
        sys.stderr.write(f"course material: there is none at {material}\n")
    # Only jsonschema wants this, for a check of web addresses that nothing here asks for; it
    # compiles a grammar, which takes three quarters of the time that a server needs to start.
    sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]
    from jupyterhub.singleuser import main as serve

    os.chdir(home)
    serve()


if __name__ == "__main__":
    main()
