"""What is shipped (wheel, sdist, environment file, ``python -m vizhelpers``); length of tests."""

import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

from vizhelpers import __main__ as report

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
# PyPI's name -> conda-forge's, for what environment.yml takes from there.
CONDA_NAMES = {"torch": "pytorch"}


def hatchling(folder: Path, *arguments: str) -> None:
    """Build without a network: hatchling is installed with the tests."""
    command = [sys.executable, "-m", "hatchling", "build", *arguments]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    hatchling(ROOT, "-d", str(folder))
    return folder


def files_of(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def only(folder: Path, pattern: str) -> Path:
    (found,) = folder.glob(pattern)
    return found


def test_wheel_holds_every_file_of_the_package(dist: Path) -> None:
    package = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "vizhelpers").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert files_of(only(dist, "*.whl")) == package
    kinds = {Path(name).suffix for name in package}
    assert {".py", ".pyi", ".safetensors", ".sha256", ".txt", ".json", ".jpg"} <= kinds
    assert {".js", ".css"} <= kinds


def test_wheel_carries_the_licences(dist: Path) -> None:
    with zipfile.ZipFile(only(dist, "*.whl")) as archive:
        licences = {Path(name).name for name in archive.namelist() if "/licenses/" in name}
    expected = {path.name for path in (ROOT / "vizhelpers/data/LICENSES").iterdir()}
    assert licences == {"LICENSE", *expected}


def test_sdist_builds_the_same_wheel(dist: Path, tmp_path: Path) -> None:
    with tarfile.open(only(dist, "*.tar.gz")) as archive:
        archive.extractall(tmp_path, filter="data")
    source = only(tmp_path, "vizhelpers-*")
    hatchling(source, "-t", "wheel")
    assert files_of(only(source / "dist", "*.whl")) == files_of(only(dist, "*.whl"))


def test_wheel_alone_in_an_empty_folder_draws_a_picture(dist: Path, tmp_path: Path) -> None:
    target, empty = tmp_path / "target", tmp_path / "empty"
    empty.mkdir()
    # What `pip install --no-deps --target` does with a wheel of pure Python; pip itself is not
    # in every environment that runs these tests.
    with zipfile.ZipFile(only(dist, "*.whl")) as archive:
        archive.extractall(target)
    code = (
        "import vizhelpers as viz; model = viz.load_model(); cat = viz.prepare(model, 'cat');"
        "figure = viz.feature_maps(model, cat, 'features.3').plot();"
        "print(viz.__file__); print(viz.predict(model, cat, 1)[0].label); print(figure)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=empty,
        env={"PYTHONPATH": str(target), "MPLBACKEND": "agg", "HOME": str(tmp_path), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    where, label, figure = done.stdout.splitlines()
    assert Path(where).is_relative_to(target)
    assert label == "tiger cat"
    assert figure.startswith("Figure(")
    assert not list(empty.iterdir())


def requirements() -> dict[str, str]:
    """Return name -> bound, of the core and of all groups."""
    groups = PROJECT["dependency-groups"]
    lines = [*PROJECT["project"]["dependencies"]]
    lines += [line for name in ("lab", "tests", "course") for line in groups[name]]
    found = {}
    for line in lines:
        name, bound = re.fullmatch(r"([\w.-]+)(>=[\w.]+(?:; .*)?)", line).groups()
        found[name] = bound
    return found


def test_environment_file_has_the_names_and_bounds_of_pyproject() -> None:
    text = (ROOT / "environment.yml").read_text(encoding="utf-8")
    listed = dict(re.findall(r"^\s*- ([\w.-]+)(>=[\w.]+(?:; .*)?)$", text, re.MULTILINE))
    assert listed.pop("python") == PROJECT["project"]["requires-python"]
    assert listed == {CONDA_NAMES.get(name, name): b for name, b in requirements().items()}


def test_a_student_gets_no_test_tools_and_colab_no_lab() -> None:
    core = " ".join(PROJECT["project"]["dependencies"])
    groups = PROJECT["dependency-groups"]
    for tool in ("jupyterlab", "pytest", "nbval", "jupytext", "captum"):
        assert tool not in core
    assert [re.split(">=", line)[0] for line in groups["lab"]] == ["jupyterlab"]
    assert groups["dev"] == [{"include-group": "tests"}, {"include-group": "course"}]


def test_the_repositorys_address_stands_once_outside_the_notebooks() -> None:
    address = PROJECT["project"]["urls"]["Repository"]
    tracked = subprocess.run(
        ["git", "grep", "-lF", address, "--", ":!notebooks", ":!labs/source"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if tracked.returncode not in (0, 1):
        pytest.skip("not a git checkout")
    assert tracked.stdout.split() == ["pyproject.toml"]


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_every_link_to_a_file_leads_to_one(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    assert links or page == "CONTRIBUTING.md"
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_no_file_of_tests_has_over_500_lines() -> None:
    files = list((ROOT / "tests").rglob("*.py"))
    lengths = {str(path): len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    assert str(Path(__file__)) in lengths
    assert {name: count for name, count in lengths.items() if count > 500} == {}


def test_report_names_versions_device_and_weights() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "vizhelpers"], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    facts = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert set(facts) >= {"python", "ipykernel", "jupyterlab", "device", "bundled", "downloaded"}
    for name in (re.split(">=", line)[0] for line in PROJECT["project"]["dependencies"]):
        assert facts[name] == version(name)
    assert facts["vizhelpers"] == PROJECT["project"]["version"]
    assert "tiger cat (282) 0.39" in facts["bundled"]


def test_report_knows_the_dependencies_of_a_clone_that_is_not_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def not_installed(name: str) -> list[str]:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(report, "requires", not_installed)
    project = PROJECT["project"]
    lines = [*project["dependencies"], *project["optional-dependencies"]["models"]]
    assert report.dependencies() == [line.split(">=")[0] for line in lines]
