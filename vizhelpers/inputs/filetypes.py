"""Detect a file's kind by its first bytes: a failed download may be an HTML page named .pth."""

import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class FileKind:
    """The kind of a file that was expected to be a picture or a checkpoint.

    Attributes:
        what: the kind, with an article.
        remedy: what to do to get the right file.
        picture_remedy: what to do if a picture is expected; "" if Pillow may try to read it.
        extension: of pictures, by which Pillow's support is looked up; "" for other kinds.
    """

    what: str
    remedy: str = "Fetch the file again."
    picture_remedy: str = ""
    extension: str = ""


_PAGE = "Open the address in a browser to see what it says, and fetch the file itself."
_PULL = "`git lfs pull` fetches the file itself."
_PNG = "Save it as PNG."
_HEIC = (
    "Export it as JPEG: in Photos, Share > Options > Most Compatible, or set Settings > Camera > "
    "Formats > Most Compatible. Or pip install pillow-heif and register its opener: "
    "pillow_heif.register_heif_opener()."
)
# The first match counts, so longer patterns precede shorter ones that match the same files.
_KINDS = (
    (rb"version https://git-lfs", FileKind("a Git-LFS pointer to the file", _PULL, _PULL)),
    (rb"%PDF", FileKind("a PDF", picture_remedy="Save the page as PNG.")),
    (rb"%!PS|\xc5\xd0\xd3\xc6", FileKind("a PostScript drawing", picture_remedy=_PNG)),
    (
        rb"<(svg|(\?xml|!--|!DOCTYPE svg).*<svg)",
        FileKind("an SVG drawing", picture_remedy=_PNG),
    ),
    (rb"<", FileKind("a web page, such as an error or a login", _PAGE, _PAGE)),
    (rb"[{\[]", FileKind("JSON text, such as an error message", _PAGE, _PAGE)),
    (
        rb"PK\x03\x04|.{257}ustar|\x1f\x8b|7z\xbc\xaf|Rar!|BZh|\xfd7zXZ",
        FileKind("an archive", "First unpack it.", "First unpack it."),
    ),
    (
        rb".{4}ftyp(isom|iso2|mp4.|avc1|qt  |M4V )",
        FileKind("a video", picture_remedy="Save one of its frames as PNG."),
    ),
    (
        rb".{4}ftyp(hei[cxms]|hevc|heif|mif1|msf1)",
        FileKind("a HEIC photograph, as iPhones save them", _HEIC, extension=".heic"),
    ),
    (
        rb".{4}ftypavi[fs]",
        FileKind("an AVIF picture", "Update Pillow, or save it as PNG.", extension=".avif"),
    ),
    (
        rb"\x00\x00\x00\x0cJXL |\xff\x0a",
        FileKind("a JPEG XL picture", "Save it as JPEG or PNG.", extension=".jxl"),
    ),
    (rb"FUJIFILMCCD-RAW|II\*\x00.{4}CR", FileKind("a camera's raw file", "Save it as JPEG.")),
    (rb"\x89PNG", FileKind("a PNG picture", extension=".png")),
    (rb"\xff\xd8\xff", FileKind("a JPEG picture", extension=".jpg")),
    (rb"GIF8", FileKind("a GIF picture", extension=".gif")),
    (rb"RIFF.{4}WEBP", FileKind("a WebP picture", extension=".webp")),
    (rb"ID3|RIFF.{4}WAVE|OggS|fLaC", FileKind("an audio file")),
    (rb"\x93NUMPY", FileKind("a NumPy file", "np.load(path) reads it.")),
    (rb"\x89HDF", FileKind("an HDF5 file, as Keras and h5py write", "h5py reads it.")),
    (rb"\x80[\x02-\x05]", FileKind("a pickle", "pickle.load reads it, if you trust its source.")),
    (rb"\x7fELF|MZ|\xcf\xfa\xed\xfe", FileKind("a program")),
)
_TEXT = FileKind("a text file")


def kind_of(data: bytes) -> FileKind | None:
    """Return the kind of a file from its first kilobyte; None if it is unknown."""
    start = data[:1000]
    for beginning, kind in _KINDS:
        if re.match(beginning, start.lstrip(b"\xef\xbb\xbf \t\r\n"), re.DOTALL):
            return kind
    return _TEXT if _is_text(start) else None


def _is_text(start: bytes) -> bool:
    encoding = "utf-16" if start[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8"
    text = start.decode(encoding, "replace")[:-1]  # the last character may be incomplete
    strange = sum(not (letter.isprintable() or letter.isspace()) for letter in text)
    return bool(text.strip()) and "\ufffd" not in text and strange == 0


def is_safetensors(path: Path) -> bool:
    """Return whether a file begins like safetensors: the length of a JSON header, then "{"."""
    with path.open("rb") as file:
        start = file.read(9)
    length = int.from_bytes(start[:8], "little")
    return start[8:] == b"{" and length < path.stat().st_size


def without_bytes(error: object) -> str:
    """Return an error's text without raw bytes and memory addresses."""
    text = re.sub(r"""\bb(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")""", "unknown bytes", str(error))
    text = re.sub(r"<[\w.]+ object at 0x\w+>", "it", text)
    return "".join(letter for letter in text if letter.isprintable() or letter == "\n")
