"""Write what a course publishes: ``uv run python -m tools.publish --repo URL``.

URL is the address of a repository of its own, for students. The outcome is one folder:
``student/`` (the student edition: notebooks, package, labs without solutions and without hidden
tests), ``dist/`` (wheel and sdist) and ``site/`` (static pages). Every address in it is URL's.
All of it is made and checked in a temporary copy; the working tree stays as it is.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from tools.published import Secrets, complaints

ROOT = Path(__file__).parents[1]
DEFAULT = ROOT / "build" / "published"
# What the tools need in the copy. Students' work, marks and the hub's files are never copied.
COPIED = ("images", "labs", "notebooks", "tools", "vizhelpers")
COPIED += ("CITATION.cff", "LICENSE", "README.md", "environment.yml", "pyproject.toml")
NEVER = ("__pycache__", ".ipynb_checkpoints", "*.pyc", "vizhelpers-progress*.json", ".DS_Store")
PRIVATE = ("release", "submitted", "autograded", "feedback", "gradebook.db*", "hub", "exchange")
NEEDED = ("hatchling", "jupytext", "nbclient", "nbgrader", "PIL")
GITHUB = "https://github.com/"
COLAB = "https://colab.research.google.com/github/"
IGNORED = """\
.venv/
.uv/
uv.lock
__pycache__/
.ipynb_checkpoints/
*.egg-info/
dist/
build/
# what a reader solved, beside the notebooks
vizhelpers-progress*.json
"""


class PublishError(ValueError):
    """Nothing was published; the message is a sentence for the teacher."""


# Addresses and names


def public_address(text: str) -> str:
    """Return the https address of a repository, without a final slash; GitHub's without ``.git``.

    Raises:
        PublishError: the text is no public address of a repository.
    """
    text = text.strip()
    if "YOUR-" in text:
        raise PublishError(f"{text} is a placeholder; give your own repository's address.")
    if scp := re.fullmatch(r"[\w.-]+@([\w.-]+):(?!//)/*(.+)", text):
        text = f"https://{scp[1]}/{scp[2]}"
    elif ssh := re.fullmatch(r"(?:git\+)?ssh://(?:[\w.-]+@)?([\w.-]+)(?::\d+)?/(.+)", text):
        text = f"https://{ssh[1]}/{ssh[2]}"
    text = text.removeprefix("git+")
    if re.match(r"[\w-]+(\.[\w-]+)+(:\d+)?/", text):
        raise PublishError(f"{text} has no scheme: write https://{text}")
    example = "Write it as https://github.com/OWNER/NAME."
    try:
        parts = urlsplit(text)
        host, port = (parts.hostname or "").removeprefix("www."), parts.port
    except ValueError as error:
        raise PublishError(f"{text} is not an address: {error}. {example}") from error
    if parts.scheme not in ("https", "http") or not re.fullmatch(r"[a-z0-9.-]+", host):
        raise PublishError(f"{text} is not an address that students can reach. {example}")
    if "@" in parts.netloc:
        raise PublishError(
            "The address holds a user name or a password, which every student would read."
        )
    path = parts.path.strip("/")
    path = path.removesuffix(".git") if host == "github.com" else path
    steps = path.split("/")
    if parts.query or parts.fragment or not re.fullmatch(r"[A-Za-z0-9._~/-]+", path):
        raise PublishError(f"{text} is not the address of a repository. {example}")
    if {"", ".", "..", "-"} & set(steps) or (host == "github.com" and len(steps) != 2):
        raise PublishError(f"{text} is not the address of a repository. {example}")
    scheme = "https" if host == "github.com" else parts.scheme
    return f"{scheme}://{host}{f':{port}' if port else ''}/{path}"


def check_other_repository(address: str) -> None:
    """Raise where an address is that of this repository, whose history holds all solutions."""
    for line in git("config", "--get-regexp", r"^remote\..*url$"):
        url = re.sub(r"://[^/@]*@", "://", line.partition(" ")[2])  # without a user's name
        try:
            theirs = public_address(url)
        except PublishError:  # a folder of this machine
            continue
        if key(theirs) == key(address):
            raise PublishError(
                f"{address} is this repository, whose history holds the solutions. Make an empty "
                "repository for students, and give its address."
            )


def key(address: str) -> str:
    """Return what two spellings of a repository's address have in common."""
    return address.partition("://")[2].removesuffix(".git").lower()


def git(*arguments: str) -> list[str]:
    """Return the lines that git prints about the working tree; none where there is no git."""
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return []
    return done.stdout.splitlines()


def check_name(name: str) -> str:
    """Return a name for PyPI; raise where PyPI would refuse it, or where it is a dependency's."""
    if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?", name):
        raise PublishError(
            f"{name!r} is not a name for PyPI: letters, digits, and '-', '_' or '.' between them."
        )
    lines = project(ROOT)["dependencies"]
    taken = {canonical(re.split(r"[^\w.-]", line)[0]) for line in lines} | {"pip"}
    if canonical(name) in taken:
        raise PublishError(f"{name} is the name of another package, on which vizhelpers depends.")
    return name


def canonical(name: str) -> str:
    """Return a package's name as PyPI compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def project(folder: Path) -> dict:
    """Return the table ``project`` of a folder's pyproject.toml."""
    return tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def colab(address: str, path: str) -> str | None:
    """Return where Colab opens a notebook of a repository; None where Colab cannot reach it."""
    if not address.startswith(GITHUB):
        return None
    return f"{COLAB}{address.removeprefix(GITHUB)}/blob/main/{path}"


# Steps, all of them in the copy


def copy_sources(copy: Path) -> None:
    """Copy what the tools need, without anything of a student's or of a gradebook."""
    copy.mkdir()
    for name in COPIED:
        path = ROOT / name
        if path.is_dir():
            never = (*NEVER, *PRIVATE) if name == "labs" else NEVER
            ignore = shutil.ignore_patterns(*never)
            shutil.copytree(path, copy / name, symlinks=True, ignore=ignore)
        else:
            shutil.copy(path, copy / name)


def replace(path: Path, old: str, new: str, regex: bool = False) -> None:
    """Replace a text in a file; raise where it is not there, since then the file has changed."""
    text = path.read_text(encoding="utf-8")
    found = re.search(old, text, re.MULTILINE) if regex else old in text
    if not found:
        raise PublishError(f"{path.name} no longer has {old!r}; tools/publish.py looks for it.")
    changed = re.sub(old, lambda _: new, text, flags=re.M) if regex else text.replace(old, new)
    path.write_text(changed, encoding="utf-8")


def fill(copy: Path, address: str, pypi: str | None) -> None:
    """Write the address, and the name on PyPI if there is one, into the copy's sources."""
    replace(copy / "pyproject.toml", r'^Repository = ".*"$', f'Repository = "{address}"', True)
    replace(copy / "CITATION.cff", "\nlicense:", f'\nrepository-code: "{address}"\nlicense:')
    if pypi:
        replace(copy / "pyproject.toml", r'^name = "vizhelpers"$', f'name = "{pypi}"', True)
        cell = copy / "tools" / "setup_cell.txt"
        replace(cell, "git+@REPOSITORY@", pypi)
        replace(cell, "the repository", "PyPI")
        replace(cell, "repository", "package")
        replace(cell, "vizhelpers-*.whl", f"{canonical(pypi).replace('-', '_')}-*.whl")
    # The extra: by its name alone pip would ask PyPI for it, where it may be somebody else's.
    extra = f"{pypi}[models]" if pypi else f"vizhelpers[models] @ git+{address}"
    for path in [copy / "README.md", *(copy / "vizhelpers").rglob("*.py")]:
        text = path.read_text(encoding="utf-8")
        changed = re.sub(r"(pip install ['\"])vizhelpers\[models\]", rf"\1{extra}", text)
        path.write_text(changed, encoding="utf-8")


def run(folder: Path, *arguments: str, way_on: str = "") -> None:
    """Run a module of Python in a folder; ``way_on`` tells the teacher what to do if it fails.

    Raises:
        PublishError: it failed; the message ends with its last lines.
    """
    here = str(Path(sys.executable).parent)  # nbgrader starts a program by its name
    own = {
        "PATH": os.pathsep.join([here, os.environ.get("PATH", "")]),
        "JUPYTER_CONFIG_DIR": str(folder / "no-settings"),  # this course's settings only
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    command = [sys.executable, "-m", *arguments]
    done = subprocess.run(
        command, cwd=folder, env=os.environ | own, capture_output=True, text=True, check=False
    )
    if done.returncode:
        last = "\n".join((done.stdout + done.stderr).strip().splitlines()[-12:])
        hint = f"; {way_on}, look at the outcome, and publish again" if way_on else ""
        raise PublishError(f"`python -m {' '.join(arguments)}` failed{hint}:\n{last}")


def release_labs(copy: Path, to: Path, chosen: Sequence[str]) -> None:
    """Make the students' versions of labs with nbgrader, and copy the chosen ones."""
    labs = copy / "labs"
    run(labs, "nbgrader", "generate_assignment", "--no-db", "--course-dir=.", "*")
    for name in chosen:
        if not (labs / "release" / name / f"{name}.ipynb").is_file():
            raise PublishError(f"nbgrader released no notebook of {name}.")
        shutil.copytree(labs / "release" / name, to / name, symlinks=True)


def student_edition(copy: Path, student: Path, address: str, labs: Sequence[str]) -> None:
    """Write the student edition: what is named here, and nothing else."""
    student.mkdir(parents=True)
    (student / "notebooks").mkdir()
    for path in sorted((copy / "notebooks" / "md").glob("*.md")):
        shutil.copy(copy / "notebooks" / f"{path.stem}.ipynb", student / "notebooks")
    shutil.copytree(copy / "vizhelpers", student / "vizhelpers", symlinks=True)
    release_labs(copy, student / "labs", labs)
    for name in ("LICENSE", "CITATION.cff"):
        shutil.copy(copy / name, student)
    (student / ".gitignore").write_text(IGNORED, encoding="utf-8")
    (student / "pyproject.toml").write_text(project_file(copy, address), encoding="utf-8")
    (student / "environment.yml").write_text(environment_file(copy), encoding="utf-8")
    readme = for_students((copy / "README.md").read_text(encoding="utf-8"))
    badge = "The badge on top of each notebook opens it there."
    upload = "Download a notebook and upload it there."
    values = {
        "@REPOSITORY@": address,
        "@FOLDER@": address.rpartition("/")[2].removesuffix(".git"),
        "@LABS@": table_of_labs(student / "labs", address),
        "@COLAB@": badge if address.startswith(GITHUB) else upload,
    }
    for mark, value in values.items():
        readme = readme.replace(mark, value)
    (student / "README.md").write_text(readme, encoding="utf-8")
    for picture in re.findall(r"\]\((images/[^)#]+)\)", readme):
        (student / picture).parent.mkdir(exist_ok=True)
        shutil.copy(copy / picture, student / picture)


def project_file(copy: Path, address: str) -> str:
    """Return pyproject.toml without what tests the repository and without what marks labs."""
    text = (copy / "pyproject.toml").read_text(encoding="utf-8")
    kept = ("[build-system]", "[project]", "[project.optional-dependencies]", "[tool.hatch")
    kept += ("[tool.uv]",)
    sections = [part for part in re.split(r"^(?=\[)", text, flags=re.M) if part.startswith(kept)]
    lab = json.dumps(tomllib.loads(text)["dependency-groups"]["lab"])
    sections += [
        f'[project.urls]\nRepository = "{address}"\n\n',
        f"[dependency-groups]\n# What opens the notebooks.\nlab = {lab}\n",
    ]
    groups = r"^default-groups = .*$"
    return re.sub(groups, 'default-groups = ["lab"]', "".join(sections), flags=re.M)


def environment_file(copy: Path) -> str:
    """Return environment.yml without the packages that test and mark."""
    text = (copy / "environment.yml").read_text(encoding="utf-8")
    kept, found, _ = text.partition("      # what tests and builds them\n")
    if not found:
        raise PublishError("environment.yml no longer says where the test tools begin.")
    return kept


def for_students(text: str) -> str:
    """Return README without what is between ``<!-- teacher -->`` marks, and with what a comment
    ``<!-- students`` holds.
    """
    text = re.sub(r"<!-- teacher -->.*?<!-- /teacher -->\n*", "", text, flags=re.S)
    text = re.sub(r"<!-- students\n(.*?)-->\n", r"\1", text, flags=re.S)
    if left := re.search(r"<!-- /?(?:teacher|students)", text):
        raise PublishError(f"README.md has a mark without its other half: {left[0]}")
    return re.sub(r"\n{3,}", "\n\n", text)


def table_of_labs(labs: Path, address: str) -> str:
    """Return the rows of README's table: each lab's link, its minutes, its address in Colab."""
    rows = []
    for path in sorted(labs.glob("*/*.ipynb")):
        top = "".join(json.loads(path.read_text(encoding="utf-8"))["cells"][0]["source"])
        title = top.partition("\n")[0].lstrip("# ")
        minutes = re.search(r"\bAbout (\d+) minutes\b", top)
        place = f"labs/{path.parent.name}/{path.name}"
        there = colab(address, place)
        cells = [f"[{title}]({place})", minutes[1] if minutes else "", there and f"[open]({there})"]
        rows.append(f"| {' | '.join(cell or '–' for cell in cells)} |")
    return "\n".join(rows)


def build_distributions(student: Path, dist: Path, address: str) -> None:
    """Build wheel and sdist from the student edition; PyPI shows their README, so links in it must
    lead to the repository.
    """
    readme = student / "README.md"
    text = readme.read_text(encoding="utf-8")
    pictures = re.sub(r"(!\[[^\]]*\]\()(?!https?:)", rf"\1{address}/raw/main/", text)
    absolute = re.sub(r"\]\((?!https?:|#)", f"]({address}/blob/main/", pictures)
    readme.write_text(absolute, encoding="utf-8")
    run(student, "hatchling", "build", "-d", str(dist))
    readme.write_text(text, encoding="utf-8")


# The command


def check_labs(chosen: Sequence[str] | None) -> list[str]:
    """Return the names of the chosen labs in order, or of all; raise where one is unknown."""
    there = sorted(path.stem for path in (ROOT / "labs" / "md").glob("*.md"))
    if strange := sorted(set(chosen or ()) - set(there)):
        raise PublishError(f"No lab is called {strange[0]!r}; there are {', '.join(there)}.")
    return [name for name in there if chosen is None or name in chosen]


def unknown_to_git() -> list[str]:
    """Return the files that are published though git does not know them: a teacher's notes?"""
    never = ("-x", "__pycache__", "-x", ".ipynb_checkpoints")
    return git("ls-files", "--others", *never, "--", "vizhelpers", "labs/source")


def publish(
    repo: str,
    to: Path = DEFAULT,
    pypi: str | None = None,
    *,
    labs: Sequence[str] | None = None,
    site: bool = True,
) -> str:
    """Write the student edition, wheel, sdist and site into a folder.

    Args:
        repo: the address of the students' repository.
        to: a folder that is empty or not there.
        pypi: name under which the package is installed from PyPI; from ``repo`` where None.
        labs: names of the labs that students get; all where None.
        site: whether to build the site, which executes every notebook (minutes).

    Returns:
        The address as it was written down.

    Raises:
        PublishError: bad input, sources that differ from their notebooks, or an outcome that holds
            a solution, a hidden test, a path of this machine or another address. Then nothing is
            written.
    """
    address = public_address(repo)
    check_other_repository(address)
    name = check_name(pypi) if pypi is not None else None
    chosen = check_labs(labs)
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise PublishError(f"{to} is not an empty folder. Name another one, or delete it yourself.")
    if missing := [module for module in NEEDED if find_spec(module) is None]:
        raise PublishError(
            f"{', '.join(missing)} must be installed. `uv run` installs all that is needed; "
            "so does `pip install --group dev -e .` in an environment of yours."
        )
    before = project(ROOT)["urls"]["Repository"]
    run(ROOT, "tools.build_labs", "--check", way_on="run it without --check")
    with tempfile.TemporaryDirectory() as folder:
        copy, out = Path(folder, "copy"), Path(folder, "out")
        copy_sources(copy)
        fill(copy, address, name)
        run(copy, "tools.build_labs")
        way_on = "run `python -m tools.build_notebooks`"
        run(copy, "tools.build_notebooks", "--addresses", way_on=way_on)
        student_edition(copy, out / "student", address, chosen)
        build_distributions(out / "student", out / "dist", address)
        if site:
            run(copy, "tools.build_site", str(out / "site"))
        old = {before, before.removeprefix(GITHUB)} if before != address else set()
        home = f"{Path.home()}{os.sep}"
        places = {str(ROOT), folder, *([home] if len(home) > 2 else [])}  # "/" stands everywhere
        secrets = Secrets(copy / "labs" / "source")
        if not secrets.anywhere:
            raise PublishError("No solution was found in labs/source, so no search is possible.")
        if found := complaints(out, secrets, old, places):
            lines = "\n".join(found[:20])
            raise PublishError(f"Nothing was written, since the outcome would hold:\n{lines}")
        # Copied, not moved: the temporary folder can be read by its owner only, a site by all.
        for part in sorted(out.iterdir()):
            shutil.copytree(part, to / part.name)
    return address


def what_to_do(to: Path, address: str, pypi: str | None) -> str:
    """Return what the teacher uploads where, and where students open a notebook."""
    student, dist, site = to / "student", to / "dist", to / "site"
    text = f"""\
{student}: the student edition. {address} must be public; the first time, when it is empty:
    cd {student} && git init -b main && git add . && git commit -m Course
    git remote add origin {address} && git push -u origin main
  Later, in a clone of it, so that its files are replaced and its history goes on:
    git --work-tree={student} add -A && git commit -m Update && git push && git reset --hard
"""
    if pypi:
        text += f"""\
{dist}: wheel and sdist. `uv publish {dist}/*` uploads them to PyPI as {pypi}.
  Before the next time raise the version in pyproject.toml, vizhelpers/__init__.py, CITATION.cff.
"""
    else:
        text += f"""\
{dist}: wheel and sdist. Upload nothing: the notebooks install from the repository.
  Where that cannot be reached, a student puts the wheel beside the notebook.
"""
    if site.exists():
        text += f"""\
{site}: static pages for any web server. For GitHub Pages push this folder's content as the
  branch gh-pages of the repository, then choose it under Settings, Pages.
"""
    if first := colab(address, "notebooks/01_print.ipynb"):
        lab = colab(address, "labs/LAB/LAB.ipynb")
        return f"{text}In Colab: {first}\n  and, for each LAB: {lab}"
    return f"{text}Colab opens notebooks from GitHub only; students upload a notebook there."


def main() -> None:
    """Publish to the folder of the command line, or say in one sentence why not."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repo", required=True, help="https://github.com/OWNER/NAME, for students")
    parser.add_argument("--pypi", metavar="NAME", help="install by this name, not from the address")
    parser.add_argument("--to", type=Path, default=DEFAULT, help="an empty folder; %(default)s")
    parser.add_argument("--labs", nargs="+", metavar="LAB", help="such as lab1_print; default: all")
    parser.add_argument("--without-site", action="store_true", help="execute no notebook")
    chosen = parser.parse_args()
    to = chosen.to.resolve()
    try:
        site = not chosen.without_site
        address = publish(chosen.repo, to, chosen.pypi, labs=chosen.labs, site=site)
    except (PublishError, OSError) as error:  # a disk that is full, a folder of somebody else's
        sys.exit(str(error))
    print(what_to_do(to, address, chosen.pypi))
    if strange := unknown_to_git():
        print("Published, though git does not know them; look at them:", *strange, sep="\n  ")


if __name__ == "__main__":
    main()
