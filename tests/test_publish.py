"""What a course publishes: addresses, a student edition that gives nothing away, an install."""

import base64
import ensurepip
import hashlib
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tools import build_labs, build_notebooks, publish
from tools.published import LONG, Secrets, complaints

pytest.importorskip("nbgrader", reason="Colab has no nbgrader")
ADDRESS = "https://github.com/vision-course/look-inside"
PLACEHOLDER = publish.project(publish.ROOT)["urls"]["Repository"]
SOURCES = [publish.ROOT / name for name in publish.COPIED]
LABS = build_labs.names()
LAB = LABS[0]


def fingerprint() -> dict[str, str]:
    """Return the digest of each file that publishing reads and would have to change in place."""
    read = [path for path in SOURCES if path.is_file()]
    for folder in ("notebooks", "labs/source", "labs/md", "tools"):
        read += [path for path in (publish.ROOT / folder).rglob("*.[imt]*") if path.is_file()]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in read}


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The outcome under a name of its own on PyPI, without the site; the sources are untouched."""
    to = tmp_path_factory.mktemp("published")
    before = fingerprint()
    assert publish.publish(f"{ADDRESS}.git/", to, "look-inside", site=False) == ADDRESS
    assert len(before) > 30 and fingerprint() == before
    return to


@pytest.fixture(scope="module")
def secret() -> Secrets:
    return Secrets(build_labs.LABS / "source")


def notebooks(published: Path) -> list[Path]:
    return sorted((published / "student").glob("**/*.ipynb"))


def sources(path: Path) -> list[str]:
    return ["".join(cell["source"]) for cell in json.loads(path.read_text("utf-8"))["cells"]]


# The outcome


def test_the_student_edition_holds_what_students_need_and_nothing_else(published: Path) -> None:
    student = published / "student"
    assert sorted(path.name for path in published.iterdir()) == ["dist", "student"]
    files = {".gitignore", "CITATION.cff", "LICENSE", "README.md", "environment.yml"}
    folders = {"images", "labs", "notebooks", "vizhelpers"}
    assert {path.name for path in student.iterdir()} == files | folders | {"pyproject.toml"}
    assert [path.name for path in notebooks(published)] == [
        *(f"{name}.ipynb" for name in LABS),
        *(f"{name}.ipynb" for name in build_notebooks.names()),
    ]
    kinds = {path.suffix for path in student.rglob("*") if path.is_file()}
    assert kinds & {".pyc", ".db", ".md5", ".sqlite"} == set()


def test_every_address_is_the_given_one(published: Path) -> None:
    student = published / "student"
    assert publish.project(student)["urls"] == {"Repository": ADDRESS}
    for name in ("README.md", "CITATION.cff"):
        assert ADDRESS in (student / name).read_text(encoding="utf-8")
    for path in notebooks(published):
        place = path.relative_to(student).as_posix()
        badge = publish.colab(ADDRESS, place)
        top = sources(path)[0]
        where = (student / "README.md").read_text("utf-8") if "labs" in place else top
        assert badge in where, place
    for path in [path for path in published.rglob("*") if path.is_file()]:
        content = path.read_bytes()
        assert PLACEHOLDER.encode() not in content and b"YOUR-" not in content, path


def test_setup_cells_install_by_the_name_on_pypi(published: Path) -> None:
    for path in notebooks(published):
        (cell,) = [text for text in sources(path) if text.startswith("# Finds vizhelpers")]
        assert 'package = "look-inside"' in cell and "git+" not in cell, path
        assert '"look_inside-*.whl"' in cell
    for name in ("README.md", "vizhelpers/__main__.py"):
        text = (published / "student" / name).read_text(encoding="utf-8")
        assert re.findall(r"pip install ['\"](.*?)\[models\]['\"]", text) == ["look-inside"], name


def test_without_a_name_on_pypi_the_repository_is_installed(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    publish.copy_sources(copy)
    publish.fill(copy, ADDRESS, None)
    run = [sys.executable, "-c", "from tools import build_notebooks as b; print(b.setup_source())"]
    cell = subprocess.run(run, cwd=copy, capture_output=True, text=True, check=True).stdout
    assert f'repository = "git+{ADDRESS}"' in cell and '"vizhelpers-*.whl"' in cell
    extra = f"pip install 'vizhelpers[models] @ git+{ADDRESS}'"
    assert extra in (copy / "vizhelpers/__main__.py").read_text(encoding="utf-8")


def test_readme_leads_to_files_that_are_there_and_says_nothing_to_teachers(published: Path) -> None:
    student = published / "student"
    text = (student / "README.md").read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    assert len(links) > 15 and [link for link in links if not (student / link).exists()] == []
    assert f"git clone {ADDRESS}\ncd look-inside\n" in text
    for word in ("<!--", "tests/", "tools.", "labs/README", "CONTRIBUTING", "benchmarks", "pytest"):
        assert word not in text, word
    files = (student / name for name in ("pyproject.toml", "environment.yml"))
    for text in (file.read_text(encoding="utf-8") for file in files):
        assert "jupyterlab" in text and "pytest" not in text and "nbgrader" not in text


def test_the_wheel_has_the_chosen_name_and_readme_that_pypi_can_show(published: Path) -> None:
    (wheel,) = (published / "dist").glob("*.whl")
    assert wheel.name.startswith("look_inside-")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (metadata,) = [archive.read(n).decode() for n in names if n.endswith(".dist-info/METADATA")]
    assert {name.split("/")[0].split("-")[0] for name in names} == {"vizhelpers", "look_inside"}
    assert f"Project-URL: Repository, {ADDRESS}" in metadata
    assert f"]({ADDRESS}/raw/main/images/" in metadata
    assert re.findall(r"\]\((?!https:|#)[^)]*\)", metadata) == []
    assert list((published / "dist").glob("look_inside-*.tar.gz"))


def test_no_line_of_a_solution_or_hidden_test_is_in_the_edition(published: Path) -> None:
    """By another way than the tool's own search: line by line, in the text of every file."""
    seen = set()
    for path in (published / "student").rglob("*"):
        if path.suffix == ".ipynb":
            seen |= {line.strip() for text in sources(path) for line in text.splitlines()}
        elif path.suffix in (".py", ".md", ".js", ".toml", ".yml"):
            seen |= {line.strip() for line in path.read_text(encoding="utf-8").splitlines()}
    total = 0
    for name in LABS:
        text = "\n".join(cell.source for cell in build_labs.read_source(name).cells)
        parts = re.split(r"### (?:BEGIN|END) .*", text)  # students see every other one
        shown, hidden = (
            {line.strip() for part in half for line in part.splitlines()}
            for half in (parts[::2], parts[1::2])
        )
        long = {line for line in hidden - shown if len(line) > 60}
        total += len(long)
        assert long & seen == set(), name
    assert total > 100


# The search for what may not be published


def page(line: str) -> str:
    coloured = re.sub(r"(\w+)", r"<span class=n>\1</span>", line)
    return f"<pre><code>{coloured}</code></pre>"


def notebook(text: str, **cell: Any) -> str:
    return json.dumps({"cells": [{"cell_type": "raw", "metadata": {}, "source": text} | cell]})


def test_a_clean_folder_has_no_complaints(secret: Secrets, tmp_path: Path) -> None:
    (tmp_path / "plain.md").write_text("with torch.no_grad():\n    return model(x)\n")
    assert complaints(tmp_path, secret, {PLACEHOLDER}, {str(tmp_path)}) == []


@pytest.mark.parametrize("name", LABS)
def test_the_teachers_notebook_is_found_whole_and_with_its_marks_taken_out(
    secret: Secrets, tmp_path: Path, name: str
) -> None:
    text = (build_labs.LABS / "source" / name / f"{name}.ipynb").read_text(encoding="utf-8")
    (tmp_path / "whole.ipynb").write_text(text, encoding="utf-8")
    bare = re.sub(r"### (BEGIN|END)[A-Z ]+", "", text)
    (tmp_path / "bare.ipynb").write_text(bare, encoding="utf-8")
    found = complaints(tmp_path, secret, set(), set())
    assert any("mark of nbgrader" in line for line in found)
    solution = [line for line in found if line.startswith("bare.ipynb: of a solution")]
    assert len(solution) > 20


PLACES = {
    "as it stands": ("a.py", lambda text: text),
    "indented": ("b.md", lambda text: "".join(f"        {line}\n" for line in text.split("\n"))),
    "in a notebook's Markdown": ("c.ipynb", notebook),
    "in an output": ("c.ipynb", lambda text: notebook("", outputs=[{"text": [text, "\n"]}])),
    "in a cell's metadata": ("c.ipynb", lambda text: notebook("", metadata={"note": text})),
    "in JSON": ("d.json", lambda text: json.dumps({"a": [{"b": text}]})),
    "on a page, coloured": ("e.html", lambda text: page(text.replace("&", "&amp;"))),
    "in a page's data": ("e.html", lambda text: f"<script>x = {json.dumps(text)}</script>"),
    "in a picture's metadata": ("f.png", lambda text: f"\x89PNG\0\0tEXt{text}\0"),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", ["SOLUTION", "HIDDEN TESTS"])
def test_a_secret_is_found_wherever_it_stands(
    secret: Secrets, tmp_path: Path, place: str, kind: str
) -> None:
    name, hide = PLACES[place]
    for lab in LABS:
        whole = "\n".join(cell.source for cell in build_labs.read_source(lab).cells)
        regions = re.findall(rf"BEGIN {kind}\n(.*?)^ *### END", whole, re.S | re.M)
        lines = max(regions, key=len).strip("\n").split("\n")
        (tmp_path / name).write_text(hide("\n".join(lines[:6])), encoding="utf-8")
        found = complaints(tmp_path, secret, set(), set())
        assert found and all("of a solution" in line for line in found), lab


def test_short_lines_are_found_though_each_is_commented_out(
    secret: Secrets, tmp_path: Path
) -> None:
    texts = secret.anywhere.values()
    text = next(text for text in texts if max(map(len, text.split("\n"))) < LONG)
    assert "\n" in text
    (tmp_path / "a.py").write_text("".join(f"# {line}\n" for line in text.split("\n")))
    assert complaints(tmp_path, secret, set(), set())


def test_two_short_lines_are_found_in_the_lab_that_they_belong_to(
    secret: Secrets, tmp_path: Path
) -> None:
    pair = min(secret.in_lab[LAB].values(), key=len)
    (tmp_path / f"{LAB}.ipynb").write_text(notebook(pair))
    assert complaints(tmp_path, secret, set(), set())
    (tmp_path / f"{LAB}.ipynb").rename(tmp_path / "other.ipynb")
    assert complaints(tmp_path, secret, set(), set()) == []


def test_archives_are_searched_and_teachers_files_and_links_refused(
    secret: Secrets, tmp_path: Path
) -> None:
    text = max(secret.anywhere.values(), key=len)
    (tmp_path / "a.py").write_text(text)
    shutil.make_archive(str(tmp_path / "out" / "s"), "gztar", tmp_path, "a.py")
    with zipfile.ZipFile(tmp_path / "out" / "w.whl", "w") as archive:
        archive.write(tmp_path / "a.py", "package/a.py")
    found = complaints(tmp_path / "out", secret, set(), set())
    assert {line.split(":")[0] for line in found} == {"s.tar.gz/a.py", "w.whl/package/a.py"}
    empty = tmp_path / "empty"
    for name in ("tests/x.py", ".git/HEAD", "labs/md/a.md", "labs/gradebook.db", "a/b.pyc"):
        (empty / name).parent.mkdir(parents=True, exist_ok=True)
        (empty / name).write_text("")
        assert any(
            line.startswith(f"{name}: this file")
            for line in complaints(empty, secret, set(), set())
        )
    (empty / "link").symlink_to(tmp_path / "a.py")
    assert "link: this is a link, and leads elsewhere" in complaints(empty, secret, set(), set())


def test_a_placeholder_and_a_path_of_this_machine_are_found(
    secret: Secrets, tmp_path: Path
) -> None:
    (tmp_path / "a.md").write_text(f"[here]({PLACEHOLDER}) or {publish.ROOT}/labs")
    found = complaints(tmp_path, secret, {PLACEHOLDER}, {str(publish.ROOT)})
    assert any("an address" in line for line in found)
    assert any("a path of this machine" in line for line in found)


def test_what_would_give_something_away_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, secret: Secrets
) -> None:
    line = max(secret.anywhere.values(), key=len)
    monkeypatch.setattr(publish, "IGNORED", f"{publish.IGNORED}\n{line}\n")
    for step in ("build_distributions", "run"):
        monkeypatch.setattr(publish, step, lambda *_, **__: None)
    monkeypatch.setattr(publish, "release_labs", lambda *_: None)
    with pytest.raises(publish.PublishError, match=r"\.gitignore: of a solution"):
        publish.publish(ADDRESS, tmp_path / "to", site=False)
    assert not (tmp_path / "to").exists()


# Input


@pytest.mark.parametrize(
    "text, address",
    [
        (f"{ADDRESS}/", ADDRESS),
        (f"{ADDRESS}.git", ADDRESS),
        (f" git+{ADDRESS}.git/\n", ADDRESS),
        ("git@github.com:vision-course/look-inside.git", ADDRESS),
        ("ssh://git@github.com/vision-course/look-inside.git", ADDRESS),
        ("http://www.GitHub.com/vision-course/look-inside", ADDRESS),
        ("https://git.school.edu:8443/g/sub/x.git/", "https://git.school.edu:8443/g/sub/x.git"),
        ("git@gitlab.com:g/x.git", "https://gitlab.com/g/x.git"),
    ],
)
def test_addresses_are_written_in_one_way(text: str, address: str) -> None:
    assert publish.public_address(text) == address


@pytest.mark.parametrize(
    "text, words",
    [
        ("github.com/a/b", "no scheme: write https://github.com/a/b"),
        ("a/b", "OWNER/NAME"),
        ("", "OWNER/NAME"),
        ("file:///srv/a.git", "students can reach"),
        ("/srv/a", "students can reach"),
        ("https://github.com/a", "OWNER/NAME"),
        ("https://github.com/a/b/tree/main", "OWNER/NAME"),
        ("https://github.com/a/b?tab=readme", "OWNER/NAME"),
        ("https://gitlab.com/a/b/-/tree/main", "not the address of a repository"),
        ('https://github.com/a/b"; import os #', "OWNER/NAME"),
        ("https://host:99999/a/b", "Port"),
        ("https://me:token@github.com/a/b", "every student would read"),
        (PLACEHOLDER, "placeholder"),
    ],
)
def test_other_addresses_are_refused_with_the_way_on(text: str, words: str) -> None:
    with pytest.raises(publish.PublishError) as refused:
        publish.public_address(text)
    assert words in str(refused.value) and "token" not in str(refused.value)


@pytest.mark.parametrize(
    "remote",
    [
        f"{ADDRESS}.git",
        f"{ADDRESS.upper()}/",
        "git@github.com:Vision-Course/look-inside.git",
        "ssh://git@github.com/vision-course/look-inside",
        f"{ADDRESS.replace('//', '//me:token@')}.git",
    ],
)
def test_this_repositorys_own_address_is_refused_since_its_history_holds_the_solutions(
    remote: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    monkeypatch.setattr(publish, "ROOT", tmp_path)
    add = ["git", "-C", tmp_path, "remote", "add"]
    subprocess.run([*add, "local", "/srv/course.git"], check=True)
    publish.check_other_repository(ADDRESS)
    subprocess.run([*add, "origin", remote], check=True)
    with pytest.raises(publish.PublishError, match="whose history holds the solutions"):
        publish.publish(ADDRESS, tmp_path / "to")
    publish.check_other_repository(f"{ADDRESS}-for-students")


@pytest.mark.parametrize("name", ["", "-x", "a b", "x[models]", "x==1", "torch", "Grad_CAM", "é"])
def test_a_name_that_pypi_refuses_or_another_package_has_is_refused(name: str) -> None:
    with pytest.raises(publish.PublishError, match="name"):
        publish.publish(ADDRESS, Path("nowhere"), name)


def test_labs_can_be_held_back(tmp_path: Path) -> None:
    assert publish.check_labs(None) == LABS and publish.check_labs([LABS[1]]) == [LABS[1]]
    with pytest.raises(publish.PublishError, match=f"'lab0'; there are {LAB}"):
        publish.publish(ADDRESS, tmp_path / "to", labs=["lab0", LAB])
    copy = tmp_path / "copy"
    publish.copy_sources(copy)
    # An examination that waits in source/ is no lab of the edition, whatever nbgrader releases.
    shutil.copytree(copy / "labs" / "source" / LAB, copy / "labs" / "source" / "exam")
    publish.release_labs(copy, tmp_path / "labs", [LAB])
    assert [path.name for path in (tmp_path / "labs").iterdir()] == [LAB]


def test_a_folder_that_is_not_empty_is_refused_and_stays(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    command = [sys.executable, "-m", "tools.publish", "--repo", ADDRESS, "--to"]
    for to in (tmp_path, tmp_path / "thesis.txt"):
        done = subprocess.run(
            [*command, str(to)], cwd=publish.ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 1 and done.stderr.startswith(f"{to} is not an empty folder.")
    assert (tmp_path / "thesis.txt").read_text() == "mine" and len(list(tmp_path.iterdir())) == 1


def test_what_is_missing_or_stale_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publish, "NEEDED", ("json", "nbgrader_of_mars"))
    with pytest.raises(
        publish.PublishError, match=r"^nbgrader_of_mars must be installed\. `uv run"
    ):
        publish.publish(ADDRESS, tmp_path / "to")
    with pytest.raises(publish.PublishError, match=r"`python -m json\.tool /nowhere` failed"):
        publish.run(tmp_path, "json.tool", "/nowhere")
    (tmp_path / "CITATION.cff").write_text("title: x\n")
    with pytest.raises(publish.PublishError, match=r"CITATION\.cff no longer has"):
        publish.replace(tmp_path / "CITATION.cff", "\nlicense:", "")
    with pytest.raises(publish.PublishError, match="without its other half"):
        publish.for_students("a\n<!-- teacher -->\nsecret\n")


def test_there_is_no_badge_where_colab_cannot_open_a_notebook(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(build_notebooks, "repository", lambda: "https://gitlab.com/a/b")
    top = build_notebooks.read_source("01_print").cells[0].source
    assert "colab" not in top and re.match(r"# .+\n\n\S", top)
    assert publish.colab("https://gitlab.com/a/b", "x.ipynb") is None


def test_the_command_says_what_to_upload_where(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    text = publish.what_to_do(tmp_path, ADDRESS, "look-inside")
    for words in (f"git remote add origin {ADDRESS}", "git push -u origin main", "gh-pages"):
        assert words in text
    assert f"uv publish {tmp_path / 'dist'}/*" in text
    assert publish.colab(ADDRESS, "notebooks/01_print.ipynb") in text
    assert "uv publish" not in publish.what_to_do(tmp_path, ADDRESS, None)


# An install, as a student's runtime does it


@pytest.fixture
def index(published: Path, tmp_path: Path) -> Iterator[str]:
    """An index of packages on this machine that has our wheel and no other."""
    folder = tmp_path / "index" / "simple" / "look-inside"
    folder.mkdir(parents=True)
    for wheel in (published / "dist").glob("*.whl"):
        shutil.copy(wheel, folder)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            """Print nothing."""

    handler = partial(Quiet, directory=str(folder.parents[1]))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/simple"
        server.shutdown()


def test_a_notebook_installs_the_package_from_an_index(
    published: Path, tmp_path: Path, index: str
) -> None:
    environment, alone = tmp_path / "environment", tmp_path / "alone"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    alone.mkdir()
    python = environment / "bin" / "python"
    # All that the package requires is there, as in Colab, but not the package: a .pth file
    # brings this environment's packages, and not its editable installs.
    get = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = subprocess.run([python, "-c", get], capture_output=True, text=True, check=True).stdout
    Path(site.strip(), "packages.pth").write_text(sysconfig.get_path("purelib"))
    # Python's own copy of pip; `python -m venv` would bring an old setuptools with it.
    (pip,) = Path(ensurepip.__file__).parent.glob("_bundled/pip-*.whl")
    with zipfile.ZipFile(pip) as archive:
        archive.extractall(site.strip())
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PIP_", "PYTHONPATH"))}
    kept |= {"PIP_INDEX_URL": index, "PIP_CONFIG_FILE": os.devnull}

    def output(*command: str) -> str:
        done = subprocess.run(
            [python, *command], cwd=alone, env=kept, capture_output=True, text=True, check=False
        )
        return done.stdout + done.stderr[-500:]

    assert "No module named 'vizhelpers'" in output("-c", "import vizhelpers")
    cell = sources(published / "student" / "labs" / LAB / f"{LAB}.ipynb")[1]
    more = (
        "print(viz.__file__)\nfrom vizhelpers.__main__ import dependencies\nprint(dependencies())"
    )
    printed = output("-c", f"{cell}\n{more}").splitlines()
    assert printed[0] == "Installed vizhelpers from look-inside"
    assert Path(printed[1]).is_relative_to(environment)
    # The report finds the dependencies by the name under which the package was published.
    assert "'torchinfo'" in printed[2]


def test_base64_is_left_out_of_the_search_only_where_it_is_long(
    secret: Secrets, tmp_path: Path
) -> None:
    """Pictures are skipped; code beside one is not."""
    text = max(secret.anywhere.values(), key=len)
    picture = base64.b64encode(bytes(range(256)) * 9).decode()
    (tmp_path / "a.html").write_text(f'<img src="data:image/png;base64,{picture}">\n{text}')
    assert complaints(tmp_path, secret, set(), set())
