"""Pictures that are damaged, hostile or unusual, each with what ``load_image`` has to make of it.

Pillow writes them, in memory; a few bytes are then changed. A case says "reads" (with the size, and
colours at some places), "refused" (``ImageError``), or "either", where a format has no checksum, so
that nobody can know whether a byte is wrong: what is read must have the size of the whole file.
"""

import io
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin

RED, GREEN, BLUE, YELLOW = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)
WHITE, GREY, BLACK, NIGHT = (255,) * 3, (128,) * 3, (0,) * 3, (1,) * 3
WIDE, HIGH = 64, 32
CORNERS = {(8, 8): RED, (56, 8): GREEN, (8, 24): BLUE, (56, 24): YELLOW}
Colours = dict[tuple[int, int], tuple[int, ...]]


@dataclass(frozen=True)
class Case:
    """One picture: what is unusual about it, and what ``load_image`` has to make of it."""

    outcome: str  # "reads", "refused" or "either"
    name: str
    source: Any  # what ``load_image`` gets, or a function of an empty folder that returns that
    colours: Colours | None = None  # (x, y) -> the colour there
    tolerance: int = 0  # by how much a channel may differ, in lossy formats
    size: tuple[int, int] = (WIDE, HIGH)  # of what is read
    words: str = ""  # a regular expression that the error has to match

    def make(self, folder: Path) -> Any:
        """Return what ``load_image`` gets; a file is written into the empty folder."""
        return self.source(folder) if callable(self.source) else self.source


reads, refused, either = (partial(Case, outcome) for outcome in ("reads", "refused", "either"))


def saved_as(name: str | bytes, data: bytes) -> Callable[[Path], Any]:
    """Return what writes ``data`` under a name and returns the path."""

    def make(folder: Path) -> Path:
        path = Path(os.fsdecode(os.path.join(os.fsencode(folder), os.fsencode(name))))
        path.write_bytes(data)
        return path

    return make


def encoded(image: Image.Image | np.ndarray, kind: str, **options: Any) -> bytes:
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def flat(colour: Any, mode: str = "RGB", size: tuple[int, int] = (WIDE, HIGH)) -> Image.Image:
    return Image.new(mode, size, colour)


def quarters() -> np.ndarray:
    """Red and green above blue and yellow, (32, 64, 3): no turn of it looks like another."""
    rows = np.array([[RED, GREEN], [BLUE, YELLOW]], dtype=np.uint8)
    return rows.repeat(HIGH // 2, axis=0).repeat(WIDE // 2, axis=1)


# How each format keeps colours, and how well.
FINE: dict[str, tuple[dict[str, Any], int]] = {
    **dict.fromkeys(("PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP"), ({}, 0)),
    "JPEG": ({"quality": 95, "subsampling": 0}, 8),
    "WEBP": ({"lossless": True}, 0),
}
NOISE = np.random.default_rng(0).integers(0, 256, (HIGH, WIDE, 3), dtype=np.uint8)
# No format can make noise small: cut anywhere, pixels are missing.
FILES = {kind: encoded(NOISE, kind) for kind in (*FINE, "PPM", "JPEG2000")} | {
    "progressive JPEG": encoded(NOISE, "JPEG", progressive=True),
    "LZW TIFF": encoded(NOISE, "TIFF", compression="tiff_lzw"),
}
PLAIN = encoded(quarters(), "PNG")


def kept(kind: str, name: str = "", behind: bytes = b"", **options: Any) -> Case:
    """Return the quarters in a format that keeps their colours, and other bytes behind them."""
    fine, tolerance = FINE[kind]
    data = encoded(options.pop("image", quarters()), kind, **fine, **options)
    return reads(f"{kind}{name}", data + behind, CORNERS, tolerance)


# --- damaged


def truncated() -> Iterator[Case]:
    """Files that are cut off within the pixels, or before them."""
    for kind, data in FILES.items():
        for percent in (2, 45, 90):
            # A JPEG 2000 is made to be cut: what is there is a coarser picture.
            outcome = either if kind == "JPEG2000" and percent > 2 else refused
            words = "truncated" if kind == "PNG" and percent > 2 else ""
            cut = data[: len(data) * percent // 100]
            yield outcome(f"{kind} cut at {percent} %", cut, words=words)
        yield refused(f"first 4 bytes of a {kind}", data[:4])
    yield reads("PNG without its last chunk", PLAIN[:-12], CORNERS)
    yield reads("JPEG, and a second one behind it", 2 * FILES["JPEG"])
    yield from (kept(kind, ", and rubbish behind it", b"\xff\0rubbish" * 99) for kind in FINE)


def flipped() -> Iterator[Case]:
    """Files with a wrong bit, in a checked chunk or in unchecked pixels, and noise."""
    rng = np.random.default_rng(1)
    noise = np.random.default_rng(2).integers(0, 256, 4000, dtype=np.uint8).tobytes()
    for kind, data in FILES.items():
        yield refused(f"{kind} with a wrong signature", b"\x01\x02" + data[2:])
        yield refused(f"beginning of a {kind}, then noise", data[:12] + noise)
        places = (16, 20, 24) if kind == "PNG" else rng.integers(len(data) // 2, len(data) - 40, 4)
        outcome = refused if kind == "PNG" else reads if kind in ("BMP", "PPM", "TIFF") else either
        for at in map(int, places):
            spoilt = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
            words = "a PNG picture, and damaged" if kind == "PNG" else ""
            yield outcome(f"{kind} with a wrong bit in byte {at}", spoilt, words=words)
    for length in (1, 10, 1000):
        words = "not those of any known kind of picture"
        yield refused(f"{length} bytes of noise", b"\x01" + noise[:length], words=words)


# --- bombs


def png_claiming(width: int, height: int, data: bytes = PLAIN) -> bytes:
    """Return a PNG whose header gives another size, with the checksum that fits."""
    header = b"IHDR" + struct.pack(">II", width, height) + data[24:29]
    return data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]


def bombs() -> Iterator[Case]:
    """Small files that would unpack to something enormous, or keep a decoder busy."""
    for size in ((60_000, 60_000), (2**31 - 1, 2**31 - 1), (2**31 - 1, 8), (9_500, 9_500)):
        yield refused(f"PNG that claims {size}", png_claiming(*size), words="pixels")
    icon = b"\0\0\1\0\1\0" + struct.pack("<BBBBHHII", 32, 32, 0, 0, 1, 32, 70, 22)
    yield refused("icon around such a PNG", icon + png_claiming(60_000, 60_000))
    real = encoded(flat(0, "1", (30_000, 30_000)), "PNG")
    yield refused(f"PNG of 30,000 x 30,000 in {len(real) // 1000} kB", real)
    jpeg, webp, gif, bmp = (FILES[kind] for kind in ("JPEG", "WEBP", "GIF", "BMP"))
    at, vp8 = jpeg.index(b"\xff\xc0") + 5, webp.index(b"\x9d\x01\x2a") + 3
    claims = {
        "JPEG": jpeg[:at] + struct.pack(">HH", 65_500, 65_500) + jpeg[at + 4 :],
        "WebP": webp[:vp8] + struct.pack("<HH", 16_383, 16_383) + webp[vp8 + 4 :],
        "GIF": gif[:6] + struct.pack("<HH", 65_535, 65_535) + gif[10:],
        "BMP": bmp[:18] + struct.pack("<ii", 50_000, 50_000) + bmp[26:],
        "BMP of negative width": bmp[:18] + struct.pack("<i", -64) + bmp[22:],
        "PPM": b"P6 99999 99999 255\n" + bytes(99),
        "PPM of a number without end": b"P6 " + b"9" * 5000 + b" 8 255\n",
    }
    for name, data in claims.items():
        yield refused(f"{name}, too large", data)
    for count, length, outcome in ((1, 300_000_000, either), (80, 1_000_000, refused)):
        texts = PngImagePlugin.PngInfo()
        for i in range(count):
            texts.add_text(f"k{i}", "\0" * length, zip=True)
        data = encoded(NOISE, "PNG", pnginfo=texts)
        yield outcome(f"PNG with {count} texts of {length} bytes", data)
    drawn = encoded(flat(RED, size=(2000, 2000)), "JPEG", progressive=True)
    last = drawn.rindex(b"\xff\xda")
    scans = drawn[:last] + drawn[last:-2] * 20_000 + b"\xff\xd9"
    yield refused(f"JPEG that is drawn 20,000 times, {len(scans) // 1000} kB", scans)


# --- unusual, but pictures


def modes() -> Iterator[Case]:
    """What a file may store, 16 bits, inks and transparency; its colours stay what they are."""
    rgb, red_is_clear = Image.fromarray(quarters()), {**CORNERS, (8, 8): WHITE}
    indexed = rgb.quantize(8)
    index = indexed.getpixel((8, 8))
    clear = Image.fromarray(np.dstack([quarters(), np.zeros((HIGH, WIDE), dtype=np.uint8)]))
    half = encoded(flat((0, 0, 0, 128), "RGBA"), "PNG")
    yield from map(kept, FINE)
    for kind in ("PNG", "GIF"):
        yield reads(f"palette {kind}", encoded(indexed, kind), CORNERS)
        data = encoded(indexed, kind, transparency=index)
        yield reads(f"palette {kind}, red is transparent", data, red_is_clear)
    yield reads("PNG, red is transparent", encoded(rgb, "PNG", transparency=RED), red_is_clear)
    yield reads("PNG, all transparent", encoded(clear, "PNG"), dict.fromkeys(CORNERS, WHITE))
    yield reads("PNG, black, half transparent", half, {(8, 8): (127,) * 3}, 1)
    for kind in ("GIF", "TIFF"):
        pages = [flat(RED), flat(BLUE)]
        yield kept(kind, ", first of three", image=rgb, save_all=True, append_images=pages)
    for ink, colour in (((0, 255, 255, 0), RED), ((0, 0, 0, 0), WHITE), ((0, 0, 0, 255), BLACK)):
        for kind in ("JPEG", "TIFF"):
            data = encoded(flat(ink, "CMYK"), kind)
            yield reads(f"CMYK {kind}, {colour}", data, {(8, 8): colour}, FINE[kind][1])
    yield from _greys()


def _greys() -> Iterator[Case]:
    """Grey keeps its middle, however many bits it has."""
    middle, night = {(8, 8): GREY, (56, 24): GREY}, {(8, 8): NIGHT, (56, 24): NIGHT}
    deep = np.full((HIGH, WIDE), 32_896, dtype=np.uint16)  # 128 of 255, in 16 bits
    yield reads("grey PNG", encoded(flat(128, "L"), "PNG"), middle)
    yield reads("1-bit PNG", encoded(flat(1, "1"), "PNG"), {(8, 8): WHITE})
    yield reads("16-bit PGM", b"P5 64 32 65535\n" + deep.astype(">u2").tobytes(), middle)
    for kind in ("PNG", "TIFF"):
        yield reads(f"16-bit {kind}", encoded(deep, kind), middle)
        yield reads(f"16-bit {kind}, nearly black", encoded(deep // 164, kind), night)
    for top in (1.0, 255.0, 65535.0):
        samples = np.full((HIGH, WIDE), 0.5 * top, dtype=np.float32)
        samples[0] = top
        yield reads(f"float TIFF, 0 to {top:g}", encoded(samples, "TIFF"), middle, 1)
    for value in (np.nan, np.inf, -500.0, 1e9):
        samples[3, 3] = value
        yield refused(f"float TIFF with {value}", encoded(samples, "TIFF"))
    for value, outcome in ((65_535, reads), (-7, refused), (2**30, refused)):
        numbers = deep.astype(np.int32)
        numbers[0] = value
        yield outcome(f"32-bit TIFF with {value}", encoded(numbers, "TIFF"), middle)


def orientations() -> Iterator[Case]:
    """Files that are stored turned, and shown upright; damaged EXIF turns nothing."""
    upright = Image.fromarray(quarters())
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # Pillow's names of what a camera did
    for kind in ("JPEG", "PNG", "WEBP", "TIFF"):
        for orientation in range(10) if kind == "JPEG" else (1, 6):
            exif = Image.Exif()
            exif[0x0112] = orientation
            method = undo.get(orientation)
            stored = upright if method is None else upright.transpose(Image.Transpose(method))
            yield kept(kind, f" with EXIF orientation {orientation}", image=stored, exif=exif)
        yield kept(kind, ", colour profile of noise", icc_profile=b"\xff" * 300)
    head, entry = b"II*\0\x08\0\0\0", struct.pack("<HHHI", 1, 0x0112, 3, 1)
    damaged = {
        "no TIFF": b"rubbish",
        "beyond the end": b"II*\0\xff\xff\xff\x7f",
        "ten thousand entries": head + b"\x10\x27" + bytes(30),
        "cut off": head + entry,
        "as text": head + struct.pack("<HHHI", 1, 0x0112, 2, 4) + b"six\0",
        "as a fraction": head + struct.pack("<HHHIIIII", 1, 0x0112, 5, 1, 26, 0, 6, 0),
        "noise": NOISE.tobytes()[:600],
    }
    for name, data in damaged.items():
        for kind in ("JPEG", "PNG"):
            yield kept(kind, f", EXIF: {name}", exif=b"Exif\0\0" + data)


def sizes() -> Iterator[Case]:
    """A side under 8 pixels shows nothing; a strip is a picture."""
    for size in ((1, 1), (1, 5000), (7, 8), (8, 7), (8, 8), (8, 5000), (5000, 8)):
        outcome = refused if min(size) < 8 else reads
        yield outcome(f"PNG of {size}", encoded(flat(RED, size=size), "PNG"), size=size)
    large = encoded(flat(1, "1", (5000, 5000)), "PNG")
    yield reads(f"PNG of 5000 x 5000 in {len(large) // 1000} kB", large, size=(5000, 5000))


# --- not pictures


def not_pictures() -> Iterator[Case]:
    """What lies in a folder of photographs after a download went wrong: each kind with a text."""
    npy = io.BytesIO()
    np.save(npy, quarters())
    iso, lfs = b"\0\0\0\x18ftyp", b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n"
    page, heic = "not an image but a web page", "HEIC.*Most Compatible.*pip install pillow-heif"
    endless = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 32\n{} loop\n"
    beginnings: dict[str, tuple[bytes, str]] = {
        "zero bytes": (b"", "empty"), "spaces": (b" " * 1000, ""), "zeros": (bytes(900), ""),
        "text": (b"a photograph", "a text file"), "PDF": (b"%PDF-1.7\n1 0 obj\n", "a PDF"),
        "HTML": (b"<!DOCTYPE html><title>404 Not Found</title>", page),
        "HTML with a byte order mark": (b"\xef\xbb\xbf\n <html>", page),
        "NumPy file": (npy.getvalue(), "a NumPy file"), "git-LFS pointer": (lfs, "git lfs pull"),
        "JSON": (b'{"error": "rate limit"}', "JSON"), "HDF5": (b"\x89HDF\r\n\x1a", "HDF5"),
        "UTF-16 text": ("a cat".encode("utf-16"), "a text file"), "ZIP": (b"PK\3\4", "unpack"),
        "SVG": (b'<?xml version="1.0"?>\n<!-- by hand -->\n<svg></svg>', "an SVG drawing"),
        "PostScript that loops": (endless, ""),
        "pickle": (b"\x80\x04\x95\x0b\0\0\0\0\0\0\0]\x94(K\1K\2e.", ""),
        "program": (b"\x7fELF\2\1\1", "a program"), "gzip": (b"\x1f\x8b\x08\0", "unpack"),
        "camera raw": (b"FUJIFILMCCD-RAW ", ""), "video": (b"\0\0\0\x20ftypisom", "a video"),
        "audio": (b"ID3\4", ""), "RIFF sound": (b"RIFF\x24\0\0\0WAVEfmt ", ""),
        "HEIC": (iso + b"heic", heic), "HEIC of another brand": (iso + b"mif1", heic),
        "AVIF": (iso + b"avif\0\0\0\0mif1avif", "AVIF"),
        "JPEG XL": (b"\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL picture"),
    }  # fmt: skip
    for name, (start, words) in beginnings.items():
        data = start if name in ("zero bytes", "spaces") or "text" in name else start + bytes(99)
        yield refused(f"{name} as bytes", data, words=words)
        yield refused(f"{name} saved as .jpg", saved_as("cat.jpg", data), words=words)


def names() -> Iterator[Case]:
    """Pictures under odd names, and names of no file."""
    for name in ("a.jpg", "a.heic", "a.txt", "no suffix", " ", "Katze ü.png", "猫.png", "a\nb.png",
                 "-rf.png", "%s{0}.png", "cat", "a'b\"c.png", "a" * 200 + ".png"):  # fmt: skip
        yield reads(f"PNG named {name!r}", saved_as(name, PLAIN), CORNERS)
        text = lambda folder, name=name: str(saved_as(name, PLAIN)(folder))  # noqa: E731
        yield reads(f"PNG named {name!r}, as text", text, CORNERS)
    yield reads("PNG whose name is no UTF-8", saved_as(b"\xff\xfe.png", PLAIN), CORNERS)
    missing: dict[str, Any] = {
        "a missing file": lambda folder: folder / "missing.png", "a folder": lambda folder: folder,
        "under a file": lambda folder: saved_as("a.png", PLAIN)(folder) / "b.png",
        "a folder, as text": str, "a device": Path("/dev/zero"), "half a surrogate": "\ud800.png",
        "an empty name": "", "a blank name": "   ", "a zero byte": "a\0b.png",
        "5,000 letters": "a" * 5000, "a home that nobody has": "~nobody-of-this-name/cat.png",
        "a newline": "cat\n", "an address": "https://example.org/cat.jpg", "no file": "no.jpg",
        "nearly a bundled name": "koalla", "a bundled name as a path": Path("panda"),
        **{kind: partial(_special, kind) for kind in ("link", "pipe", "terabyte", "forbidden")},
    }  # fmt: skip
    words = {
        "a folder": "folder", "a blank name": "path is empty", "an address": "Nothing is fetched",
        "no file": "neither a file nor a bundled photograph", "nearly a bundled name": "'koala'",
    }  # fmt: skip
    for name, source in missing.items():
        yield refused(f"path: {name}", source, words=words.get(name, ""))


def _special(kind: str, folder: Path) -> Path:
    """Return the path of a file that cannot be read: a link to itself, a pipe, a terabyte."""
    path = folder / "large.jpg"
    if kind == "link":
        path.symlink_to(path)
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "terabyte":  # of zeros, which take no room
        path.touch()
        os.truncate(path, 10**12)
    elif os.geteuid() == 0 and Path("/proc/self/mem").exists():
        return Path("/proc/self/mem")  # root may read any file but the kernel's
    else:
        path.touch(0)
    return path


# --- Pillow's own pictures, and uploads


def pil_images() -> Iterator[Case]:
    """Every mode that Pillow has, and pictures that were opened but not read."""
    modes: tuple[tuple[str, Any, tuple[int, ...] | None], ...] = (
        ("1", 255, WHITE), ("L", 128, GREY), ("LA", (128, 255), GREY), ("La", (128, 255), GREY),
        ("La", (0, 0), WHITE), ("P", 0, None), ("PA", (0, 0), WHITE), ("RGBX", (128,) * 4, GREY),
        ("RGBA", (9, 9, 9, 0), WHITE), ("RGBa", (0, 0, 0, 0), WHITE), ("I;16", 255, NIGHT),
        ("CMYK", (0, 0, 0, 127), GREY), ("YCbCr", (128, 128, 128), GREY), ("I;16", 32896, GREY),
        ("LAB", (255, 128, 128), WHITE), ("HSV", (0, 0, 128), GREY), ("I;16B", 32896, GREY),
        ("I", 128, None), ("F", 128.0, None),
    )  # fmt: skip
    for mode, colour, seen in modes:
        colours = None if seen is None else {(8, 8): seen}
        yield reads(f"mode {mode}, {colour}", flat(colour, mode), colours, 2 * (mode == "LAB"))
    for size in ((0, 0), (0, 9), (7, 9)):
        yield refused(f"PIL image of {size}", Image.new("RGB", size))
    for value in (np.nan, np.inf, -3.0, 1e9):
        yield refused(f"PIL image of mode F with {value}", flat(value, "F"))
    cut = FILES["PNG"][:2000]
    yield refused("PIL image, opened, cut off", lambda _: Image.open(io.BytesIO(cut)))
    closed = Image.open(io.BytesIO(PLAIN))
    closed.close()
    yield refused("PIL image, closed", closed)


def uploads() -> Iterator[Case]:
    """``FileUpload.value`` of ipywidgets 7 and 8, right and wrong."""
    entry = {"name": "a.png", "type": "image/png", "size": len(PLAIN), "last_modified": None}
    right: dict[str, Any] = {
        "ipywidgets 8": ({**entry, "content": memoryview(PLAIN)},),
        "ipywidgets 8, one entry": {**entry, "content": memoryview(PLAIN)},
        "ipywidgets 7": {"a.png": {"metadata": {"name": "a.png"}, "content": PLAIN}},
        "metadata None": ({"metadata": None, "content": PLAIN},),
        "a name that is no text": ({"name": 7, "content": bytearray(PLAIN)},),
    }
    for name, value in right.items():
        yield reads(f"upload: {name}", value, CORNERS)
    released = memoryview(PLAIN)
    released.release()
    contents = (None, 10**12, -1, "abc", [1, 2, 300], b"", PLAIN[:60], released)
    wrong = [
        (), {}, [], ({"name": "a.png"},), ["a.png", "b.png"], [1, 2, 3], [[0, 1], [1, 0]], {1: 2},
        {"a.png": "b.png"}, (None,), {"metadata": {"name": "a.png"}},
        ({"content": PLAIN}, {"content": PLAIN}), {name: {"content": PLAIN} for name in "ab"},
        *(({"name": "a.png", "content": content},) for content in contents),
    ]  # fmt: skip
    for i, value in enumerate(wrong):
        yield refused(f"upload {i}: {str(value)[:40]}", value)


def corpus() -> list[Case]:
    """Return all cases, always in the same order."""
    groups = (truncated, flipped, bombs, modes, orientations, sizes, not_pictures, names,
              pil_images, uploads)  # fmt: skip
    return [case for group in groups for case in group()]
