"""Build the bundled photographs: ``uv run python -m tools.build_photographs``.

They come from scikit-image's wheel (four) and from Debian's package gcompris-qt-data (the rest),
whose ``copyright`` file names licence and author of each. Only photographs are taken whose entry
there agrees with what they show: in 3.1-2 the entries of the fishes are shifted (a clown fish is
called a wrasse), so none of those is here.
"""

import argparse
import io
import json
import re
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path

from PIL import Image

import vizhelpers as viz
from tools.qt_resources import read_resources

FOLDER = Path(__file__).parents[1] / "vizhelpers" / "data" / "photographs"
SHORT_SIDE = 320
DEBIAN = "gcompris-qt-data"
WHEEL = "scikit-image"
LICENCES = {
    "CC0-1.0": "https://creativecommons.org/publicdomain/zero/1.0/",
    **{
        f"CC-{kind.upper()}-{version}": f"https://creativecommons.org/licenses/{kind}/{version}/"
        for kind in ("by", "by-sa")
        for version in ("1.0", "2.0", "2.5", "3.0", "4.0")
    },
}


@dataclass(frozen=True)
class Wanted:
    """A photograph to take: its name here, caption, ImageNet label, and file in its package."""

    name: str
    title: str
    label: str | None
    file: str
    licence: str = ""
    author: str = ""
    quality: int = 88


FROM_WHEEL = (
    # The three cat classes are close; stronger compression makes another one win.
    Wanted("cat", "Chelsea, a cat", "tiger cat", "chelsea.png", "CC0-1.0",
           "Stéfan van der Walt", 95),
    Wanted("coffee", "A cup of espresso", "espresso", "coffee.png", "CC0-1.0", "Rachel Michetti"),
    Wanted("astronaut", "Eileen Collins", None, "astronaut.png", "public domain", "NASA"),
    Wanted("rocket", "Falcon 9 on its launch pad", None, "rocket.jpg", "public domain", "SpaceX"),
)  # fmt: skip
_ANIMALS = "explore_world_animals/resource/animals"
_OBJECTS = "categorization/resource/images"
FROM_DEBIAN = (
    Wanted("panda", "Giant panda", "giant panda", f"{_ANIMALS}/panda"),
    Wanted("koala", "Koala in a tree", "koala", f"{_ANIMALS}/koala"),
    Wanted("polar_bear", "Polar bear on snow", "ice bear", f"{_ANIMALS}/polar_bear"),
    Wanted("komodo_dragon", "Komodo dragon", "Komodo dragon", f"{_ANIMALS}/dragon"),
    Wanted("taj_mahal", "Taj Mahal, Agra", "mosque", f"{_OBJECTS}/monuments/tajMahal"),
    Wanted("arc_de_triomphe", "Arc de Triomphe du Carrousel, Paris", "triumphal arch",
           f"{_OBJECTS}/monuments/arcDeTriomphe"),
    Wanted("winter_palace", "Winter Palace by night, Saint Petersburg", "palace",
           f"{_OBJECTS}/monuments/zimniPalace"),
    Wanted("solar_dish", "Solar cooker", "solar dish", f"{_OBJECTS}/renewable/solar1"),
    Wanted("baseball", "Baseball", "baseball", f"{_OBJECTS}/others/baseball"),
    Wanted("weighing_scale", "Weighing machine in a market", "scale",
           f"{_OBJECTS}/others/weighingMachine"),
    Wanted("measuring_tape", "Plastic tape measure", "rule", f"{_OBJECTS}/tools/measuringTape1"),
)  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """What ``photographs.json`` says of one photograph."""

    file: str
    title: str
    label: str | None
    rank: int | None
    probability: float | None
    licence: str
    author: str
    source: str


def fetch(command: list[str], folder: Path, pattern: str) -> Path:
    """Run a package manager's download in ``folder`` and return the file that it brought."""
    subprocess.run(command, check=True, cwd=folder)
    return next(folder.glob(pattern))


def from_wheel(wheel: Path) -> dict[str, bytes]:
    """Return the wheel's photographs by name."""
    with zipfile.ZipFile(wheel) as archive:
        return {want.name: archive.read(f"skimage/data/{want.file}") for want in FROM_WHEEL}


def from_debian(package: Path, folder: Path) -> tuple[dict[str, bytes], str]:
    """Return the Debian package's photographs by name, and the text of its copyright file."""
    subprocess.run(["dpkg-deb", "-x", str(package), str(folder)], check=True)
    found = {}
    for container in ("explore_world_animals.rcc", "categorization.rcc"):
        data = (folder / "usr/share/gcompris-qt/rcc" / container).read_bytes()
        for path, contents in read_resources(data):
            stem = path.rpartition(".")[0]
            found.update({w.name: contents for w in FROM_DEBIAN if stem.endswith(w.file)})
    return found, (folder / f"usr/share/doc/{DEBIAN}/copyright").read_text(encoding="utf-8")


def rights(copyright_text: str, want: Wanted) -> tuple[str, str, str]:
    """Return (licence, author, address) that Debian's copyright file gives for a photograph.

    Raises:
        SystemExit: it names none, or a licence that we do not know.
    """
    pattern = re.escape(want.file) + r"\.\w+\nCopyright: (.+)\nLicense: (.+)\nComment: (\S+)"
    found = re.search(pattern, copyright_text)
    if not found or found[2] not in LICENCES:
        raise SystemExit(f"No clear licence for {want.file}: {found and found[2]}.")
    return found[2], found[1], found[3]


def save(want: Wanted, data: bytes) -> None:
    """Write the photograph with a short side of at most 320 px, as JPEG, without metadata."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    factor = min(1.0, SHORT_SIDE / min(image.size))  # a small one is not blown up
    size = round(image.width * factor), round(image.height * factor)
    small = image if factor == 1 else image.resize(size, Image.Resampling.LANCZOS)
    path = FOLDER / f"{want.name}.jpg"
    small.save(path, quality=want.quality, subsampling=0, optimize=True)


def describe(want: Wanted, licence: str, author: str, source: str) -> Entry:
    """Ask the bundled model what it sees, and put everything known into one entry."""
    path = FOLDER / f"{want.name}.jpg"
    model = viz.load_model()
    answer = viz.predict(model, viz.prepare(model, path), k=1000)
    found = [(i + 1, p.probability) for i, p in enumerate(answer) if p.label == want.label]
    rank, probability = found[0] if found else (None, None)
    rounded = None if probability is None else round(probability, 3)
    return Entry(path.name, want.title, want.label, rank, rounded, licence, author, source)


def write_tables(entries: dict[str, Entry]) -> None:
    """Write photographs.json, and the table that the licences ask for."""
    rows = {name: asdict(entry) for name, entry in entries.items()}
    text = json.dumps(rows, indent=2, ensure_ascii=False) + "\n"
    (FOLDER / "photographs.json").write_text(text, encoding="utf-8")
    lines = [
        "# The bundled photographs",
        "",
        "Made by `tools/build_photographs.py`. Changes made to each: scaled down to a short side",
        "of at most 320 pixels, saved as JPEG, metadata removed. Nothing is cropped.",
        "",
        "| name | shows | author | licence | source | the bundled model says |",
        "|---|---|---|---|---|---|",
    ]
    for name, entry in entries.items():
        link = LICENCES.get(entry.licence)
        licence = f"[{entry.licence}]({link})" if link else entry.licence
        answer = f"{entry.label}: rank {entry.rank}, {entry.probability}" if entry.label else "–"
        lines.append(
            f"| {name} | {entry.title} | {entry.author} | {licence} | {entry.source} | {answer} |"
        )
    (FOLDER / "README.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    """Fetch both packages, write the photographs and their tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wheel", type=Path, help="a local scikit-image wheel")
    parser.add_argument("--deb", type=Path, help="a local gcompris-qt-data package")
    chosen = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pip = [sys.executable, "-m", "pip", "download", "--no-deps", WHEEL]
        wheel = chosen.wheel or fetch(pip, folder, "scikit_image-*.whl")
        deb = chosen.deb or fetch(["apt-get", "download", DEBIAN], folder, f"{DEBIAN}_*.deb")
        pictures = from_wheel(wheel)
        others, copyright_text = from_debian(deb, folder / "unpacked")
    entries = {}
    for want in FROM_WHEEL:
        save(want, pictures[want.name])
        source = f"{WHEEL}, skimage/data/{want.file}"
        entries[want.name] = describe(want, want.licence, want.author, source)
    for want in FROM_DEBIAN:
        save(want, others[want.name])
        licence, author, address = rights(copyright_text, want)
        entries[want.name] = describe(want, licence, author, f"{address} ({DEBIAN} 3.1)")
    write_tables(entries)
    for name, entry in entries.items():
        print(f"{name:16} {entry.label!s:16} rank {entry.rank} {entry.probability}")
    print(f"{sum(p.stat().st_size for p in FOLDER.glob('*.jpg')) / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
