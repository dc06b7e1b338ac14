"""500 pictures that are damaged, hostile or merely unusual, each with what must become of it.

Everything is made here, seeded, in memory or in the test's own folder; no file is committed. A
case says "reads" (with the size, and colours at some places) or "refused" (``ImageError``). Only
where a format has no checksum, so that nobody can know whether a byte is wrong, it says "either":
then a picture must have the size that the undamaged file has.
"""

import io
import json
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

RED, GREEN, BLUE, YELLOW, WHITE = (
    (255, 0, 0),
    (0, 255, 0),
    (0, 0, 255),
    (255, 255, 0),
    (255, 255, 255),
)
WIDE, HIGH = 64, 32
Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Case:
    """One picture.

    Attributes:
        name: what is wrong or unusual about it.
        make: called with an empty folder; returns what ``load_image`` gets.
        outcome: "reads", "refused" or "either".
        size: (width, height) of what is read.
        colours: (x, y) -> the colour there.
        tolerance: how far a channel may be off: lossy formats.
    """

    name: str
    make: Callable[[Path], Any]
    outcome: str
    size: tuple[int, int] | None = None
    colours: dict[tuple[int, int], Colour] | None = None
    tolerance: int = 0


def reads(
    name: str,
    source: Any,
    size: tuple[int, int] = (WIDE, HIGH),
    colours: dict[tuple[int, int], Colour] | None = None,
    tolerance: int = 0,
) -> Case:
    return Case(name, _maker(source), "reads", size, colours, tolerance)


def refused(name: str, source: Any) -> Case:
    return Case(name, _maker(source), "refused")


def either(name: str, source: Any, size: tuple[int, int] = (WIDE, HIGH)) -> Case:
    return Case(name, _maker(source), "either", size)


def _maker(source: Any) -> Callable[[Path], Any]:
    return source if callable(source) else lambda folder: source


def saved_as(name: str | bytes, data: bytes) -> Callable[[Path], Any]:
    """Return what writes ``data`` under a name and returns the path."""

    def make(folder: Path) -> Path:
        path = Path(os.fsdecode(os.path.join(os.fsencode(folder), os.fsencode(name))))
        path.write_bytes(data)
        return path

    return make


# ------------------------------------------------------------ pictures and files


def quarters() -> np.ndarray:
    """Red and green above blue and yellow: no turn of it looks like another."""
    rgb = np.zeros((HIGH, WIDE, 3), dtype=np.uint8)
    half, middle = HIGH // 2, WIDE // 2
    rgb[:half, :middle], rgb[:half, middle:] = RED, GREEN
    rgb[half:, :middle], rgb[half:, middle:] = BLUE, YELLOW
    return rgb


CORNERS = {(8, 8): RED, (56, 8): GREEN, (8, 24): BLUE, (56, 24): YELLOW}


def speckle(seed: int = 0) -> Image.Image:
    """A picture that no format can make small: cut anywhere, pixels are missing."""
    return Image.fromarray(
        np.random.default_rng(seed).integers(0, 256, (HIGH, WIDE, 3), dtype=np.uint8)
    )


def encoded(image: Image.Image | np.ndarray, kind: str, **options: Any) -> bytes:
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def flat(colour: Any, mode: str = "RGB", size: tuple[int, int] = (WIDE, HIGH)) -> Image.Image:
    return Image.new(mode, size, colour)


PNG_MAGIC = b"\x89PNG\r\n\x1a\n"


def chunk(kind: bytes, body: bytes, crc: int | None = None) -> bytes:
    crc = zlib.crc32(kind + body) if crc is None else crc
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", crc)


def png(
    width: int,
    height: int,
    depth: int,
    colour_type: int,
    rows: bytes,
    *,
    before: bytes = b"",
    interlace: int = 0,
) -> bytes:
    """Write a PNG by hand: rows are raw, each with its filter byte."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, interlace)
    data = chunk(b"IDAT", zlib.compress(rows, 9))
    return PNG_MAGIC + chunk(b"IHDR", header) + before + data + chunk(b"IEND", b"")


def png_of(samples: np.ndarray, depth: int, colour_type: int, **more: Any) -> bytes:
    """Write (H, W, C) samples of 8 or 16 bits."""
    height, width = samples.shape[:2]
    big = samples.astype(">u2" if depth == 16 else np.uint8)
    rows = b"".join(b"\0" + big[y].tobytes() for y in range(height))
    return png(width, height, depth, colour_type, rows, **more)


def tiff(
    samples: np.ndarray,
    *,
    photometric: int,
    sample_format: int = 1,
    order: str = "<",
    claim: tuple[int, int] | None = None,
    rows_per_strip: int | None = None,
    offset: int | None = None,
) -> bytes:
    """Write an uncompressed TIFF by hand; ``claim`` is the (width, height) that its header says."""
    height, width = samples.shape[:2]
    channels = samples.shape[2] if samples.ndim == 3 else 1
    wide, high = claim or (width, height)
    data = samples.astype(samples.dtype.newbyteorder(order)).tobytes()
    bits = samples.dtype.itemsize * 8
    start = 8 + len(data)
    extra = start + 2 + 12 * 10 + 4
    tags = [
        (256, 4, 1, wide),
        (257, 4, 1, high),
        (258, 3, channels, bits if channels == 1 else extra),
        (259, 3, 1, 1),
        (262, 3, 1, photometric),
        (273, 4, 1, 8 if offset is None else offset),
        (277, 3, 1, channels),
        (278, 4, 1, rows_per_strip or high),
        (279, 4, 1, len(data)),
        (339, 3, channels, sample_format if channels == 1 else extra + 2 * channels),
    ]
    body = struct.pack(order + "H", len(tags))
    for tag, kind, count, value in tags:
        short = kind == 3 and count == 1
        body += struct.pack(order + "HHI", tag, kind, count)
        body += struct.pack(order + ("HH" if short else "I"), *((value, 0) if short else (value,)))
    body += struct.pack(order + "I", 0)
    body += struct.pack(order + f"{channels}H", *[bits] * channels)
    body += struct.pack(order + f"{channels}H", *[sample_format] * channels)
    magic = b"II" if order == "<" else b"MM"
    return magic + struct.pack(order + "HI", 42, start) + data + body


def quarters_16() -> np.ndarray:
    return quarters().astype(np.uint16) * 257


FILES: dict[str, bytes] = {
    "JPEG": encoded(speckle(), "JPEG", quality=90),
    "progressive JPEG": encoded(speckle(), "JPEG", quality=90, progressive=True),
    "grey JPEG": encoded(speckle().convert("L"), "JPEG", quality=90),
    "PNG": encoded(speckle(), "PNG"),
    "palette PNG": encoded(speckle().convert("P"), "PNG"),
    "GIF": encoded(speckle().convert("P"), "GIF"),
    "WebP": encoded(speckle(), "WEBP", quality=90),
    "lossless WebP": encoded(speckle(), "WEBP", lossless=True),
    "TIFF": encoded(speckle(), "TIFF"),
    "deflated TIFF": encoded(speckle(), "TIFF", compression="tiff_adobe_deflate"),
    "LZW TIFF": encoded(speckle(), "TIFF", compression="tiff_lzw"),
    "BMP": encoded(speckle(), "BMP"),
    "PPM": encoded(speckle(), "PPM"),
    "JPEG 2000": encoded(speckle(), "JPEG2000"),
    "PCX": encoded(speckle(), "PCX"),
    "SGI": encoded(speckle(), "SGI"),
}


# ------------------------------------------------------------ damaged


def truncated() -> Iterator[Case]:
    """Cut off within the pixels, or even before them."""
    for kind, data in FILES.items():
        if kind == "JPEG 2000":
            continue  # a codestream is made to be cut: what is there is a coarser picture
        for percent in (2, 15, 30, 45, 60, 75, 90):
            yield refused(f"{kind} cut at {percent} %", data[: len(data) * percent // 100])
        for length in (1, 4):
            yield refused(f"first {length} bytes of a {kind}", data[:length])


def tails() -> Iterator[Case]:
    """Only what stands behind the pixels is missing, or something follows them."""
    small = quarters()
    whole = encoded(small, "PNG")
    yield reads("PNG without its last chunk", whole[:-12], colours=CORNERS)
    yield reads("PNG, half of its last chunk", whole[:-6], colours=CORNERS)
    for kind in ("PNG", "GIF", "BMP", "JPEG", "TIFF", "WEBP"):
        picture = Image.fromarray(small)
        options = {"quality": 95, "subsampling": 0} if kind == "JPEG" else {}
        options = {"lossless": True} if kind == "WEBP" else options
        data = encoded(picture.convert("P") if kind == "GIF" else picture, kind, **options)
        loose = 6 if kind == "JPEG" else 0
        yield reads(f"{kind}, and rubbish behind it", data + b"\xff\0rubbish" * 99, (WIDE, HIGH),
                    CORNERS, loose)  # fmt: skip
    yield reads("JPEG, and a second one behind it", 2 * FILES["JPEG"])


def flipped() -> Iterator[Case]:
    """One bit is wrong: in the first bytes, in a checked chunk, in pixels that nothing checks."""
    for kind, data in FILES.items():
        spoilt = bytearray(data)
        spoilt[0] ^= 0x10
        spoilt[1] ^= 0x10
        yield refused(f"{kind} with a wrong signature", bytes(spoilt))
    whole = FILES["PNG"]
    for at in (16, 19, 20, 24, 25, 29, 32):
        yield refused(f"PNG with a wrong bit in its header, byte {at}", _flip(whole, at, 1))
    rng = np.random.default_rng(1)
    for kind in ("BMP", "PPM", "TIFF"):
        data = FILES[kind]
        place = len(data) // 2
        yield reads(f"{kind} with a wrong pixel", _flip(data, place, 0))
    for kind in ("JPEG", "progressive JPEG", "GIF", "WebP", "LZW TIFF", "JPEG 2000", "PNG", "PCX"):
        data = FILES[kind]
        for _ in range(6):
            at = int(rng.integers(len(data) // 2, len(data) - 40))
            bit = int(rng.integers(8))
            yield either(f"{kind} with bit {bit} of byte {at} wrong", _flip(data, at, bit))


def _flip(data: bytes, at: int, bit: int) -> bytes:
    spoilt = bytearray(data)
    spoilt[at] ^= 1 << bit
    return bytes(spoilt)


def rubbish() -> Iterator[Case]:
    """A right beginning, then noise."""
    rng = np.random.default_rng(2)
    for kind, data in FILES.items():
        head = 30 if kind in ("WebP", "lossless WebP") else 12
        noise = rng.integers(0, 256, 4000, dtype=np.uint8).tobytes()
        yield refused(f"the beginning of a {kind}, then noise", data[:head] + noise)
    for i in range(8):
        noise = rng.integers(0, 256, 10 ** (i % 4), dtype=np.uint8).tobytes()
        yield refused(f"noise {i}", b"\x01" + noise)


# ------------------------------------------------------------ bombs


def bombs() -> Iterator[Case]:
    """Small files that would unpack to something enormous."""
    for wide, high in ((60000, 60000), (2**31 - 1, 2**31 - 1), (2**31 - 1, 8), (9500, 9500)):
        yield refused(f"PNG that claims {wide} x {high}", png(wide, high, 8, 2, b"\0"))
    rows = zlib.compress(b"\0" * (30000 // 8 + 1) * 30000, 9)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 30000, 30000, 1, 0, 0, 0, 0))
    real = PNG_MAGIC + header + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    yield refused(f"PNG of 30000 x 30000 in {len(real) // 1000} kB", real)
    yield refused("GIF that claims 65535 x 65535", _gif(65535, 65535, 65535, 65535))
    yield refused("GIF whose frame leaves its screen", _gif(16, 16, 65535, 65535))
    one = np.zeros((8, 8), dtype=np.uint8)
    for claim in ((60000, 60000), (2**31 - 1, 2**31 - 1)):
        yield refused(f"TIFF that claims {claim}", tiff(one, photometric=1, claim=claim))
    yield refused("BMP that claims 50000 x 50000", _bmp(50000, 50000))
    yield refused("BMP of negative width", _bmp(-64, 32))
    yield refused("PPM that claims 99999 x 99999", b"P6 99999 99999 255\n" + b"\0" * 99)
    yield refused("PPM of a number without end", b"P6 " + b"9" * 5000 + b" 8 255\n")
    yield refused("JPEG that claims 65500 x 65500", _with_jpeg_size(FILES["JPEG"], 65500, 65500))
    yield refused("WebP that claims 16384 x 16384",
                  _with_vp8_size(FILES["WebP"], 16383, 16383))  # fmt: skip
    text = zlib.compress(b"\0" * 300_000_000, 9)
    for kind, key in ((b"zTXt", b"k\0\0"), (b"iTXt", b"k\0\1\0\0\0"), (b"iCCP", b"k\0\0")):
        data = png_of(quarters(), 8, 2, before=chunk(kind, key + text))
        yield either(f"PNG with 300 MB of text in {kind.decode()}", data)
    small = chunk(b"zTXt", b"k\0\0" + zlib.compress(b"\0" * 1_000_000, 9))
    yield refused("PNG with 80 MB of texts", png_of(quarters(), 8, 2, before=small * 80))
    scans = _scan_bomb(20_000)
    yield refused(f"JPEG that is drawn 20,000 times, {len(scans) // 1000} kB", scans)
    icon = b"\0\0\1\0\1\0" + struct.pack("<BBBBHHII", 32, 32, 0, 0, 1, 32, 70, 22)
    yield refused("ICO around a PNG of 60000 x 60000", icon + png(60000, 60000, 8, 2, b"\0"))


def _gif(screen_wide: int, screen_high: int, wide: int, high: int) -> bytes:
    head = b"GIF89a" + struct.pack("<HHBBB", screen_wide, screen_high, 0x80, 0, 0)
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, wide, high, 0)
    return head + b"\0\0\0\xff\xff\xff" + frame + b"\x02\x02\x44\x01\x00\x3b"


def _bmp(wide: int, high: int) -> bytes:
    info = struct.pack("<IiiHHIIiiII", 40, wide, high, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + 99, 0, 0, 54) + info + b"\0" * 99


def _with_jpeg_size(data: bytes, wide: int, high: int) -> bytes:
    at = next(i for i in range(len(data)) if data[i : i + 2] in (b"\xff\xc0", b"\xff\xc2"))
    return data[: at + 5] + struct.pack(">HH", high, wide) + data[at + 9 :]


def _with_vp8_size(data: bytes, wide: int, high: int) -> bytes:
    at = data.index(b"\x9d\x01\x2a") + 3
    return data[:at] + struct.pack("<HH", wide, high) + data[at + 4 :]


def _scan_bomb(times: int) -> bytes:
    """Repeat the last scan of a progressive JPEG: libjpeg draws the picture again for each."""
    data = encoded(flat(RED, size=(2000, 2000)), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * times + b"\xff\xd9"


# ------------------------------------------------------------ unusual, but pictures


def depths_and_modes() -> Iterator[Case]:
    """What a picture may be stored as; its colours stay what they are."""
    rgb = quarters()
    picture = Image.fromarray(rgb)
    for kind, options, loose in (
        ("PNG", {}, 0), ("BMP", {}, 0), ("TIFF", {}, 0), ("PPM", {}, 0), ("TGA", {}, 0),
        ("PCX", {}, 0), ("SGI", {}, 0), ("ICNS", None, 0), ("GIF", {}, 0),
        ("TIFF", {"compression": "tiff_lzw"}, 0),
        ("TIFF", {"compression": "packbits"}, 0),
        ("TIFF", {"compression": "jpeg", "quality": 95}, 8),
        ("JPEG", {"quality": 95, "subsampling": 0}, 6),
        ("JPEG", {"quality": 95, "subsampling": 2}, 8),
        ("JPEG", {"quality": 95, "progressive": True}, 8),
        ("JPEG", {"quality": 95, "optimize": True, "restart_marker_rows": 1}, 8),
        ("WEBP", {"lossless": True}, 0), ("WEBP", {"quality": 95}, 10),
        ("JPEG2000", {}, 0), ("DDS", {}, 0),
    ):  # fmt: skip
        if options is not None:
            data = encoded(picture, kind, **options)
            yield reads(f"{kind} {options or ''}".strip(), data, colours=CORNERS, tolerance=loose)
    for depth, samples in ((8, rgb), (16, quarters_16())):
        yield reads(f"PNG, {depth} bits a channel", png_of(samples, depth, 2), colours=CORNERS)
        clear = np.dstack([samples, np.full((HIGH, WIDE), 2**depth - 1, samples.dtype)])
        yield reads(f"PNG, {depth} bits, with alpha", png_of(clear, depth, 6), colours=CORNERS)
        empty = clear.copy()
        empty[..., 3] = 0
        yield reads(f"PNG, {depth} bits, all transparent", png_of(empty, depth, 6),
                    colours=dict.fromkeys(CORNERS, WHITE))  # fmt: skip
    yield reads("RGB PNG whose red is transparent",
                png_of(rgb, 8, 2, before=chunk(b"tRNS", struct.pack(">HHH", *RED))),
                colours={**CORNERS, (8, 8): WHITE})  # fmt: skip
    yield from _grey()
    yield from _palettes()
    yield from _cmyk()
    yield from _tiffs()


def _grey() -> Iterator[Case]:
    """Grey keeps its middle, however many bits it has."""
    middle = {(8, 8): (128, 128, 128), (56, 24): (128, 128, 128)}
    deep = np.full((HIGH, WIDE, 1), 32896, dtype=np.uint16)  # 128 of 255, in 16 bits
    yield reads("8-bit grey PNG", encoded(flat(128, "L"), "PNG"), colours=middle)
    yield reads("16-bit grey PNG", png_of(deep, 16, 0), colours=middle)
    alpha = np.dstack([deep, np.full_like(deep, 65535)])
    yield reads("16-bit grey PNG with alpha", png_of(alpha, 16, 4), colours=middle)
    dark = np.full((HIGH, WIDE, 1), 200, dtype=np.uint16)
    night = {(8, 8): (1, 1, 1)}
    yield reads("16-bit grey PNG, nearly black", png_of(dark, 16, 0), colours=night)
    for order, name in (("<", "little"), (">", "big")):
        for samples, colours in ((deep, middle), (dark, night)):
            data = tiff(samples[..., 0], photometric=1, order=order)
            yield reads(f"16-bit grey TIFF, {name}-endian, {samples[0, 0, 0]}", data,
                        colours=colours)  # fmt: skip
    yield reads("16-bit PGM", b"P5 64 32 65535\n" + deep.astype(">u2").tobytes(), colours=middle)
    yield reads("PGM with a maximum of 100", b"P5 64 32 100\n" + b"\x32" * 2048,
                colours={(8, 8): (128, 128, 128)}, tolerance=1)  # fmt: skip
    white_is_zero = tiff(np.full((HIGH, WIDE), 127, dtype=np.uint8), photometric=0)
    yield reads("grey TIFF, white is zero", white_is_zero, colours=middle)
    for depth in (1, 2, 4):
        width = WIDE * depth // 8
        top = png(WIDE, HIGH, depth, 0, (b"\0" + b"\xff" * width) * HIGH)
        yield reads(f"{depth}-bit grey PNG, white", top, colours={(8, 8): WHITE})
    checks = Image.fromarray(np.indices((HIGH, WIDE)).sum(axis=0) % 2 == 0)
    lines = {(0, 0): WHITE, (1, 0): (0, 0, 0), (63, 31): WHITE}
    for kind in ("PNG", "BMP", "TIFF", "PPM", "GIF", "MSP", "XBM"):
        data = encoded(checks, kind)
        if kind == "XBM":  # ink is one, paper zero, and Pillow writes it as it is
            yield reads("1-bit XBM", data)
        else:
            yield reads(f"1-bit {kind}", data, colours=lines)
    yield reads("1-bit fax TIFF", encoded(checks, "TIFF", compression="group4"), colours=lines)
    yield reads("grey JPEG", encoded(flat(128, "L"), "JPEG"), colours=middle, tolerance=2)


def _palettes() -> Iterator[Case]:
    indexed = Image.fromarray(quarters()).quantize(8)
    for kind in ("PNG", "GIF", "BMP", "TIFF", "PCX"):
        yield reads(f"palette {kind}", encoded(indexed, kind), colours=CORNERS)
    first = indexed.getpixel((8, 8))
    cleared = {**CORNERS, (8, 8): WHITE}
    for kind in ("PNG", "GIF"):
        data = encoded(indexed, kind, transparency=first)
        yield reads(f"palette {kind}, red is transparent", data, colours=cleared)
    alphas = bytes(0 if i == first else 255 for i in range(8))
    data = encoded(indexed, "PNG", transparency=alphas)
    yield reads("palette PNG, an alpha for each colour", data, colours=cleared)
    rows = b"".join(b"\0" + bytes([9]) * WIDE for _ in range(HIGH))
    short = chunk(b"PLTE", bytes(RED))
    yield reads(
        "palette PNG, a colour beyond its palette", png(WIDE, HIGH, 8, 3, rows, before=short)
    )
    yield either("palette PNG without a palette", png(WIDE, HIGH, 8, 3, rows))
    clear = Image.fromarray(np.dstack([quarters(), np.zeros((HIGH, WIDE), dtype=np.uint8)]))
    for kind in ("PNG", "TIFF", "WEBP", "TGA", "ICO"):
        options = {"lossless": True} if kind == "WEBP" else {}
        options = {"sizes": [(WIDE, HIGH)]} if kind == "ICO" else options
        data = encoded(clear, kind, **options)
        yield reads(f"{kind}, all transparent", data, colours=dict.fromkeys(CORNERS, WHITE))
    half = Image.fromarray(np.full((HIGH, WIDE, 4), (0, 0, 0, 128), dtype=np.uint8))
    yield reads("PNG, black, half transparent", encoded(half, "PNG"),
                colours={(8, 8): (127, 127, 127)}, tolerance=1)  # fmt: skip
    grey = flat((0, 0), "LA")
    yield reads("grey PNG, all transparent", encoded(grey, "PNG"), colours={(8, 8): WHITE})


def _cmyk() -> Iterator[Case]:
    """Inks: magenta and yellow make red, black ink makes black."""
    inks = {"red": (0, 255, 255, 0), "white": (0, 0, 0, 0), "black": (0, 0, 0, 255)}
    seen = {"red": RED, "white": WHITE, "black": (0, 0, 0)}
    for name, ink in inks.items():
        expected = {(8, 8): seen[name]}
        adobe = encoded(flat(ink, "CMYK"), "JPEG", quality=95)
        assert b"Adobe" in adobe, "Pillow writes CMYK inverted, as Adobe does, and marks it"
        yield reads(f"CMYK JPEG, inverted, {name}", adobe, colours=expected, tolerance=4)
        yield reads(f"CMYK TIFF, {name}", encoded(flat(ink, "CMYK"), "TIFF"), colours=expected)
        yield reads(f"YCCK JPEG, {name}", _ycck(seen[name]), colours=expected, tolerance=6)
    # Without Adobe's mark browsers take the inks as inverted too.
    at = adobe.index(b"\xff\xee")
    unmarked = adobe[:at] + adobe[at + 2 + struct.unpack(">H", adobe[at + 2 : at + 4])[0] :]
    yield reads("CMYK JPEG without Adobe's mark", unmarked, colours=expected, tolerance=4)


def _ycck(colour: Colour) -> bytes:
    """Store the inks' complements as Y, Cb, Cr, and mark the file as YCCK."""
    ink = np.array(255) - np.array(colour, dtype=np.uint8)
    y, cb, cr = (
        Image.new("RGB", (1, 1), tuple(int(v) for v in ink)).convert("YCbCr").getpixel((0, 0))
    )
    stored = (255 - y, 255 - cb, 255 - cr, 0)  # Pillow inverts each channel as it writes
    data = encoded(flat(stored, "CMYK"), "JPEG", quality=95, subsampling=0)
    at = data.index(b"Adobe") + 11
    return data[:at] + b"\2" + data[at + 1 :]


def _tiffs() -> Iterator[Case]:
    rgb = quarters()
    for order in "<>":
        data = tiff(quarters_16(), photometric=2, order=order)
        yield reads(f"16-bit RGB TIFF {order}", data, colours=CORNERS)
    half = {(8, 8): (128, 128, 128)}
    for top in (1.0, 255.0, 65535.0):
        samples = np.full((HIGH, WIDE), 0.5 * top, dtype=np.float32)
        samples[0, :8] = top
        data = tiff(samples, photometric=1, sample_format=3)
        yield reads(f"float TIFF, 0 to {top:g}", data, colours=half, tolerance=1)
    for name, value in (("NaN", np.nan), ("infinite", np.inf), ("negative", -5.0), ("1e9", 1e9)):
        samples = np.full((HIGH, WIDE), 0.5, dtype=np.float32)
        samples[3, 3] = value
        yield refused(f"float TIFF with {name}", tiff(samples, photometric=1, sample_format=3))
    deep = np.full((HIGH, WIDE), 32896, dtype=np.int32)
    deep[0] = 65535
    yield reads("32-bit integer TIFF up to 65535",
                tiff(deep, photometric=1, sample_format=2), colours=half)  # fmt: skip
    for value in (-7, 2**30):
        deep[3, 3] = value
        yield refused(f"32-bit integer TIFF with {value}",
                      tiff(deep, photometric=1, sample_format=2))  # fmt: skip
    lab = Image.new("LAB", (WIDE, HIGH), (136, 208, 195))  # L 53 %, a 80, b 67: sRGB's red
    yield reads("LAB TIFF, red", encoded(lab, "TIFF"), colours={(8, 8): RED}, tolerance=12)
    ycc = encoded(Image.fromarray(rgb).convert("YCbCr"), "TIFF")
    yield either("YCbCr TIFF, which Pillow 11 writes, and does not read", ycc)
    pages = [Image.fromarray(rgb), flat(RED), flat(BLUE, size=(9, 9))]
    many = encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:])
    yield reads("TIFF of three pages: the first", many, colours=CORNERS)
    striped = tiff(rgb, photometric=2, rows_per_strip=1)
    yield either("TIFF whose strips do not add up", striped)
    yield refused("TIFF whose pixels lie beyond its end", tiff(rgb, photometric=2, offset=10**8))
    looped = bytearray(encoded(Image.fromarray(rgb), "TIFF"))
    start = struct.unpack("<I", looped[4:8])[0]
    count = struct.unpack("<H", looped[start : start + 2])[0]
    looped[start + 2 + 12 * count :][:4] = struct.pack("<I", start)
    yield reads("TIFF whose pages form a ring", bytes(looped), colours=CORNERS)


def animated() -> Iterator[Case]:
    """Of a film the first picture is shown."""
    first, later = Image.fromarray(quarters()), [flat(RED), flat(BLUE), flat(GREEN)]
    for kind, options, loose in (
        ("GIF", {}, 0),
        ("GIF", {"disposal": 2, "loop": 0}, 0),
        ("PNG", {"duration": 50}, 0),
        ("PNG", {"default_image": True}, 0),
        ("WEBP", {"lossless": True}, 0),
    ):
        data = encoded(first, kind, save_all=True, append_images=later, **options)
        yield reads(f"animated {kind} {options}", data, colours=CORNERS, tolerance=loose)
        # The later pictures are cut off: the first is there, and that is what is shown.
        if kind != "WEBP":
            yield reads(f"animated {kind} {options}, cut in a later picture", data[:-20],
                        colours=CORNERS)  # fmt: skip
    both = encoded(first, "MPO", save_all=True, append_images=later[:1], quality=95, subsampling=0)
    yield reads("MPO: two photographs in one", both, colours=CORNERS, tolerance=6)


# ------------------------------------------------------------ what a file says about itself


def orientations() -> Iterator[Case]:
    """Stored turned, shown upright."""
    upright = quarters()
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }
    for kind, options, loose in (
        ("JPEG", {"quality": 95, "subsampling": 0}, 8),
        ("PNG", {}, 0),
        ("WEBP", {"lossless": True}, 0),
        ("TIFF", {}, 0),
    ):
        for orientation, turned in stored.items():
            exif = Image.Exif()
            exif[0x0112] = orientation
            data = encoded(np.ascontiguousarray(turned), kind, exif=exif, **options)
            yield reads(f"{kind} with EXIF orientation {orientation}", data, colours=CORNERS,
                        tolerance=loose)  # fmt: skip


def damaged_metadata() -> Iterator[Case]:
    """What is said about the picture is broken; the picture itself is not."""
    plain = encoded(quarters(), "JPEG", quality=95, subsampling=0)
    tiff_head = b"II*\0\x08\0\0\0"
    entry = struct.pack("<HHHI", 1, 0x0112, 3, 1)
    broken = {
        "nothing": b"",
        "no TIFF": b"rubbish",
        "header alone": tiff_head,
        "a directory beyond the end": b"II*\0\xff\xff\xff\x7f",
        "ten thousand entries": tiff_head + b"\x10\x27" + b"\0" * 30,
        "orientation 0": tiff_head + entry + b"\0\0\0\0",
        "orientation 9": tiff_head + entry + b"\x09\0\0\0",
        "orientation 65535": tiff_head + entry + b"\xff\xff\0\0",
        "orientation cut off": tiff_head + entry,
        "orientation as text": tiff_head + struct.pack("<HHHI", 1, 0x0112, 2, 4) + b"six\0",
        "orientation as a fraction": tiff_head
        + struct.pack("<HHHI", 1, 0x0112, 5, 1)
        + struct.pack("<IIII", 26, 0, 6, 0),
        "a ring of directories": tiff_head + b"\0\0" + b"\x08\0\0\0",
        "wrong byte order": b"MM*\0\x08\0\0\0" + entry + b"\x06\0\0\0",
        "noise": np.random.default_rng(4).integers(0, 256, 600, dtype=np.uint8).tobytes(),
        "zeros": b"\0" * 600,
    }
    for name, body in broken.items():
        yield reads(f"JPEG, EXIF: {name}", _with_app1(plain, b"Exif\0\0" + body), colours=CORNERS,
                    tolerance=8)  # fmt: skip
        data = png_of(quarters(), 8, 2, before=chunk(b"eXIf", body))
        yield reads(f"PNG, EXIF: {name}", data, colours=CORNERS)
    for name, body in {
        "no XML": b"http://ns.adobe.com/xap/1.0/\0<<<<",
        "no name": b"http://ns.adobe.com/xap/1.0/",
        "an entity bomb": b"http://ns.adobe.com/xap/1.0/\0" + _laughs(),
    }.items():
        yield reads(f"JPEG, XMP: {name}", _with_app1(plain, body), colours=CORNERS, tolerance=8)
    for name, profile in {"empty": b"", "noise": b"\xff" * 300, "cut": b"\0\0\2\x0cADBE"}.items():
        for kind, options, loose in (
            ("PNG", {}, 0),
            ("JPEG", {"quality": 95, "subsampling": 0}, 8),
            ("TIFF", {}, 0),
            ("WEBP", {"lossless": True}, 0),
        ):
            data = encoded(quarters(), kind, icc_profile=profile or b"\0", **options)
            yield reads(f"{kind}, ICC profile: {name}", data, colours=CORNERS, tolerance=loose)
    yield reads("PNG with a text that is no text",
                png_of(quarters(), 8, 2, before=chunk(b"tEXt", b"\xff" * 99)),
                colours=CORNERS)  # fmt: skip
    yield refused("PNG whose header comes twice, with other sizes", PNG_MAGIC + 2 * chunk(
        b"IHDR", struct.pack(">IIBBBBB", 64, 32, 8, 2, 0, 0, 0)) + chunk(b"IEND", b""))  # fmt: skip
    for depth, colour_type in ((3, 0), (16, 3), (8, 1), (8, 7), (0, 0)):
        header = struct.pack(">IIBBBBB", 64, 32, depth, colour_type, 0, 0, 0)
        data = PNG_MAGIC + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
        yield refused(f"PNG of depth {depth} and colour type {colour_type}", data)
    yield refused("PNG without pixels", png(64, 32, 8, 2, b""))
    yield refused("PNG of no width", png(0, 32, 8, 2, b""))


def _with_app1(jpeg: bytes, body: bytes) -> bytes:
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + jpeg[2:]


def _laughs() -> bytes:
    """Ten entities, each ten times the one before."""
    names = "abcdefghij"
    rows = [f'<!ENTITY {n} "{f"&{before};" * 10}">' for before, n in pairwise(names)]
    return ('<!DOCTYPE x [<!ENTITY a "ha">' + "".join(rows) + "]><x>&j;</x>").encode()


# ------------------------------------------------------------ sizes


def sizes() -> Iterator[Case]:
    """A side under 8 pixels shows nothing; a strip is a picture."""
    for size in ((1, 1), (1, 5000), (5000, 1), (7, 7), (7, 8), (8, 7), (2, 300)):
        for kind in ("PNG", "JPEG", "BMP"):
            yield refused(f"{kind} of {size}", encoded(flat(RED, size=size), kind))
    for size in ((8, 8), (8, 5000), (5000, 8), (9, 1000), (2000, 1500)):
        for kind in ("PNG", "JPEG", "BMP"):
            data = encoded(flat(RED, size=size), kind)
            yield reads(f"{kind} of {size}", data, size, {(4, 4): RED}, 4)
    large = png(5000, 5000, 1, 0, (b"\0" + b"\xff" * 625) * 5000)
    yield reads(f"PNG of 5000 x 5000 in {len(large) // 1000} kB", large, (5000, 5000))


# ------------------------------------------------------------ not pictures, and files


def not_pictures() -> Iterator[Case]:
    """What lies in a folder of photographs after a download went wrong."""
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 132735\n"
    npy = io.BytesIO()
    np.save(npy, quarters())
    texts: dict[str, bytes] = {
        "zero bytes": b"",
        "HTML": b"<!DOCTYPE html><html><title>404 Not Found</title></html>",
        "HTML after blank lines": b"\n\n  <html>",
        "HTML with a byte order mark": b"\xef\xbb\xbf<html></html>",
        "JSON": json.dumps({"error": "rate limit"}).encode(),
        "git-LFS pointer": pointer,
        "SVG": b'<svg xmlns="http://www.w3.org/2000/svg" width="64" height="32"/>',
        "SVG after its XML line": b'<?xml version="1.0"?>\n<!-- by hand -->\n<svg></svg>',
        "PDF": b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n",
        "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 32\nshowpage\n",
        "PostScript that loops": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 32\n{} loop\n",
        "ZIP": b"PK\3\4" + b"\0" * 99,
        "gzip": b"\x1f\x8b\x08\0" + b"\0" * 30,
        "text": b"a photograph of a cat",
        "UTF-16 text": "a cat".encode("utf-16"),
        "spaces": b" " * 1000,
        "zeros": b"\0" * 1000,
        "ones": b"\xff" * 1000,
        "NumPy file": npy.getvalue(),
        "pickle": b"\x80\x04\x95\x0b\0\0\0\0\0\0\0]\x94(K\1K\2e.",
        "ELF": b"\x7fELF\2\1\1" + b"\0" * 99,
        "MP4": b"\0\0\0\x20ftypisom" + b"\0" * 99,
        "QuickTime": b"\0\0\0\x14ftypqt  " + b"\0" * 99,
        "MP3": b"ID3\4" + b"\0" * 99,
        "RIFF sound": b"RIFF\x24\0\0\0WAVEfmt " + b"\0" * 99,
        "AVIF header alone": b"\0\0\0\x18ftypavif\0\0\0\0mif1avif",
        "JPEG XL": b"\0\0\0\x0cJXL \r\n\x87\n" + b"\0" * 40,
        "camera raw": b"FUJIFILMCCD-RAW " + b"\0" * 99,
        "HDF5": b"\x89HDF\r\n\x1a\n" + b"\0" * 99,
        "GRIB": b"GRIB\0\0\0\1" + b"\0" * 99,
        "WMF": b"\xd7\xcd\xc6\x9a\0\0" + b"\0" * 99,
        "FITS": b"SIMPLE  =                    T" + b" " * 50,
        "MPEG": b"\0\0\1\xb3\x04\x00\x20\x13" + b"\0" * 20,
        "Photoshop header alone": b"8BPS\0\1" + b"\0" * 20,
        "XPM": b"/* XPM */ static char *x[] = {}",
        "Windows shortcut": b"L\0\0\0\x01\x14\2\0" + b"\0" * 60,
        "macOS resource fork": b"\0\5\x16\7\0\2\0\0Mac OS X" + b"\0" * 40,
    }
    for name, data in texts.items():
        yield refused(f"{name} as bytes", data)
        yield refused(f"{name} saved as .jpg", saved_as("cat.jpg", data))
    for brand in (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1", b"heif"):
        head = b"\0\0\0\x18ftyp" + brand + b"\0" * 40
        yield refused(f"HEIC, brand {brand.decode()}", saved_as("IMG_0001.HEIC", head))


def names() -> Iterator[Case]:
    """Right files under odd names, and names that are no files."""
    right = encoded(quarters(), "PNG")
    for suffix in ("jpg", "gif", "webp", "tif", "bmp", "txt", "heic", "svg", "pdf", "PNG", "exe"):
        name = f"picture.{suffix}"
        yield reads(f"PNG named .{suffix}", saved_as(name, right), colours=CORNERS)
    jpeg = encoded(quarters(), "JPEG", quality=95, subsampling=0)
    yield reads("JPEG named .png", saved_as("a.png", jpeg), colours=CORNERS, tolerance=6)
    for name in ("no suffix", " ", "Katze ü.png", "猫.png", "🐈.png", "a\nb.png", "tab\t.png",
                 "-rf.png", "%s{0}.png", "..png", "cat", "a'b\"c.png", "a" * 200 + ".png",
                 "e\u0301.png", "\u202egnp.exe"):  # fmt: skip
        yield reads(f"PNG named {name!r}", saved_as(name, right), colours=CORNERS)
        yield reads(
            f"PNG named {name!r}, as text",
            lambda folder, name=name: str(saved_as(name, right)(folder)),
            colours=CORNERS,
        )
    yield reads("PNG whose name is no UTF-8", saved_as(b"\xff\xfe.png", right), colours=CORNERS)
    yield reads("symbolic link", _link("a.png", right), colours=CORNERS)
    missing: dict[str, Any] = {
        "missing": lambda folder: folder / "missing.png",
        "in a missing folder": lambda folder: folder / "a" / "b.png",
        "under a file": lambda folder: saved_as("a.png", right)(folder) / "b.png",
        "a folder": lambda folder: folder,
        "a folder, as text": str,
        "a folder named .jpg": _folder,
        "this folder": ".",
        "a link to nowhere": _dangling,
        "a link to itself": _ring,
        "a pipe": _pipe,
        "a device": Path("/dev/zero"),
        "a file that cannot be read": _unreadable,
        "a file of a terabyte": _sparse,
        "an empty name": "",
        "a blank name": "   ",
        "a name with a zero byte": "a\0b.png",
        "a path with a zero byte": Path("a\0b.png"),
        "a name of 5,000 letters": "a" * 5000,
        "a home that nobody has": "~nobody-of-this-name/cat.png",
        "an address": "https://example.org/cat.jpg",
        "a data address": "data:image/png;base64,AAAA",
        "half a surrogate": "\ud800.png",
        "base64 of a picture": "iVBORw0KGgoAAAANSUhEUgAA" * 30,
        "a name with a newline": "cat\n",
        "nearly a bundled name": "koalla",
        "a bundled name as a path": Path("panda"),
    }
    for name, source in missing.items():
        yield refused(f"path: {name}", source)


def _link(name: str, data: bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / "link.jpg").symlink_to(saved_as(name, data)(folder))
        return folder / "link.jpg"

    return make


def _folder(folder: Path) -> Path:
    (folder / "cat.jpg").mkdir()
    return folder / "cat.jpg"


def _dangling(folder: Path) -> Path:
    (folder / "link").symlink_to(folder / "nowhere")
    return folder / "link"


def _ring(folder: Path) -> Path:
    (folder / "ring").symlink_to(folder / "ring")
    return folder / "ring"


def _pipe(folder: Path) -> Path:
    os.mkfifo(folder / "pipe")
    return folder / "pipe"


def _unreadable(folder: Path) -> Path:
    """Return a file that may not be read; root may read any, but not this one of the kernel's."""
    if os.geteuid() == 0 and Path("/proc/self/mem").exists():
        return Path("/proc/self/mem")
    path = saved_as("secret.png", b"x")(folder)
    path.chmod(0)
    return path


def _sparse(folder: Path) -> Path:
    """Return a file whose length is a terabyte and that takes no room."""
    path = folder / "large.jpg"
    path.touch()
    os.truncate(path, 10**12)
    return path


# ------------------------------------------------------------ PIL's own pictures, and uploads


def pil_images() -> Iterator[Case]:
    """Every mode that Pillow has, and pictures that were opened but not read."""
    half = {(8, 8): (128, 128, 128)}
    white = {(8, 8): WHITE}
    for mode, colour, expected, loose in (
        ("1", 255, white, 0), ("L", 128, half, 0), ("LA", (128, 255), half, 0),
        ("La", (128, 255), half, 0), ("La", (0, 0), white, 0), ("P", 0, None, 0),
        ("PA", (0, 0), white, 0), ("RGB", (128, 128, 128), half, 0), ("RGBX", (128,) * 4, half, 0),
        ("RGBA", (9, 9, 9, 0), white, 0), ("RGBa", (0, 0, 0, 0), white, 0),
        ("CMYK", (0, 0, 0, 127), half, 0), ("YCbCr", (128, 128, 128), half, 0),
        ("LAB", (255, 128, 128), white, 2), ("HSV", (0, 0, 128), half, 0), ("I", 128, None, 0),
        ("F", 128.0, None, 0), ("I;16", 32896, half, 0), ("I;16L", 32896, half, 0),
        ("I;16B", 32896, half, 0), ("I;16N", 32896, half, 0), ("I;16", 255, {(8, 8): (1, 1, 1)}, 0),
    ):  # fmt: skip
        yield reads(f"PIL image of mode {mode}, {colour}",
                    lambda _, mode=mode, colour=colour: Image.new(mode, (WIDE, HIGH), colour),
                    colours=expected, tolerance=loose)  # fmt: skip
    for size in ((0, 0), (0, 9), (9, 0), (7, 9)):
        yield refused(f"PIL image of {size}", lambda _, size=size: Image.new("RGB", size))
    cut = FILES["PNG"][:2000]
    yield refused("PIL image, opened, cut off", lambda _: Image.open(io.BytesIO(cut)))
    yield refused("PIL image, closed", _closed)
    for value in (np.nan, np.inf, -3.0, 1e9):
        yield refused(f"PIL image of mode F with {value}",
                      lambda _, value=value: Image.new("F", (WIDE, HIGH), value))  # fmt: skip


def _closed(folder: Path) -> Image.Image:
    image = Image.open(io.BytesIO(FILES["PNG"]))
    image.close()
    return image


def uploads() -> Iterator[Case]:
    """``FileUpload.value`` of ipywidgets 7 and 8, right and wrong."""
    data = encoded(quarters(), "PNG")
    eight = {"name": "a.png", "type": "image/png", "size": len(data), "last_modified": None}
    right: dict[str, Any] = {
        "ipywidgets 8": ({**eight, "content": memoryview(data)},),
        "ipywidgets 8, one entry": {**eight, "content": memoryview(data)},
        "ipywidgets 8, bytes": [{**eight, "content": data}],
        "ipywidgets 7": {"a.png": {"metadata": {"name": "a.png"}, "content": data}},
        "ipywidgets 7, no metadata": {"a.png": {"content": data}},
        "without a name": ({"content": data},),
        "metadata None": ({"metadata": None, "content": data},),
        "a name that is no text": ({"name": 7, "content": bytearray(data)},),
    }
    for name, value in right.items():
        yield reads(f"upload: {name}", lambda _, value=value: value, colours=CORNERS)
    wrong: dict[str, Any] = {
        "nothing, ipywidgets 8": (),
        "nothing, ipywidgets 7": {},
        "an empty list": [],
        "two files": ({"content": data}, {"content": data}),
        "two files, ipywidgets 7": {"a": {"content": data}, "b": {"content": data}},
        "no content": ({"name": "a.png"},),
        "content None": ({"name": "a.png", "content": None},),
        "content a number": ({"name": "a.png", "content": 10**12},),
        "content negative": ({"name": "a.png", "content": -1},),
        "content a text": ({"name": "a.png", "content": "abc"},),
        "content a list": ({"name": "a.png", "content": [1, 2, 300]},),
        "content empty": ({"name": "a.png", "content": b""},),
        "content cut off": ({"name": "a.png", "content": data[:60]},),
        "content released": ({"name": "a.png", "content": _released(data)},),
        "a list of names": ["a.png", "b.png"],
        "a list of numbers": [1, 2, 3],
        "a nested list": [[0, 1], [1, 0]],
        "a dict of names": {"a.png": "b.png"},
        "a dict of numbers": {1: 2},
        "None in a tuple": (None,),
        "metadata alone": {"metadata": {"name": "a.png"}},
    }
    for name, value in wrong.items():
        yield refused(f"upload: {name}", lambda _, value=value: value)


def _released(data: bytes) -> memoryview:
    view = memoryview(data)
    view.release()
    return view


def corpus() -> list[Case]:
    """Return all cases, always in the same order."""
    groups = (
        truncated, tails, flipped, rubbish, bombs, depths_and_modes, animated, orientations,
        damaged_metadata, sizes, not_pictures, names, pil_images, uploads,
    )  # fmt: skip
    return [case for group in groups for case in group()]
