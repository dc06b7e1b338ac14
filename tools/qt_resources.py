"""Read files out of a Qt resource container (.rcc), as far as this project needs it."""

import struct
import zlib
from collections.abc import Iterator

_DIRECTORY, _ZLIB, _ZSTD = 2, 1, 4


def read_resources(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield (path, contents) of every file in a container.

    The layout, all numbers big-endian: the magic ``qres``; version, and the offsets of tree, data
    and names. A tree node is name offset, flags, then for a folder the number and the index of
    its children, for a file territory, language and data offset; from version 2 on a time stamp
    follows. Contents are stored, or compressed with zlib.

    Raises:
        ValueError: not a container, or a file compressed in another way.
    """
    if data[:4] != b"qres":
        raise ValueError(f"Not a Qt resource container: it begins with {data[:4]!r}.")
    version, tree, contents, names = struct.unpack(">IIII", data[4:20])
    size = 14 if version < 2 else 22

    def walk(node: int, folder: str) -> Iterator[tuple[str, bytes]]:
        offset = tree + node * size
        name_at, flags = struct.unpack(">IH", data[offset : offset + 6])
        path = folder + _name(data, names + name_at) if node else ""
        if flags & _DIRECTORY:
            count, first = struct.unpack(">II", data[offset + 6 : offset + 14])
            for child in range(first, first + count):
                yield from walk(child, f"{path}/" if path else "")
        else:
            (at,) = struct.unpack(">I", data[offset + 10 : offset + 14])
            yield path, _contents(data, contents + at, flags, path)

    yield from walk(0, "")


def _name(data: bytes, at: int) -> str:
    (length,) = struct.unpack(">H", data[at : at + 2])
    return data[at + 6 : at + 6 + 2 * length].decode("utf-16-be")  # two bytes length, four a hash


def _contents(data: bytes, at: int, flags: int, path: str) -> bytes:
    (length,) = struct.unpack(">I", data[at : at + 4])
    body = data[at + 4 : at + 4 + length]
    if flags & _ZSTD:
        raise ValueError(f"{path} is compressed with zstd, which this reader does not know.")
    return zlib.decompress(body[4:]) if flags & _ZLIB else body  # four bytes: the length inside
