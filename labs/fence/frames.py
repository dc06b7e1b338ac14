"""What goes over a pipe through the fence: plain values, as JSON and the bytes of their arrays.

No pickle comes from a fenced process. Whoever reads a value gets exact types alone: None, bool,
int, float, str, ``numpy.ndarray``, lists and dicts of these; and no more bytes than are allowed.
"""

import io
import json
import math
import re
from multiprocessing.connection import Connection
from typing import Any

LONGEST, LONGEST_HEAD = 64 << 20, 4 << 20  # JSON takes twenty times its length in memory
MOST_AXES, LARGEST_AXIS = 32, 1 << 40
MOST_KEYS = 5_000  # of a dict: numbers can be chosen so that each key is compared with all others
_DTYPE = re.compile(r"[<|](b1|[iuf][1248]|f16|c8|c16|U\d{1,6})")
_PLAIN = (type(None), bool, int, float, str)


class Broken(Exception):
    """The other side closed the pipe, or sent what nobody asked for.

    Its words are the same for all: a number in them could tell what a function was given.
    """


def send(pipe: Connection, head: dict[str, Any], body: bytes = b"") -> None:
    """Send a JSON object and bytes; Broken if the other side is gone."""
    try:
        pipe.send_bytes(json.dumps(head).encode())
        pipe.send_bytes(body)
    except OSError as e:
        raise Broken("the pipe is closed") from e


def receive(pipe: Connection, trusted: bool = False) -> tuple[dict[str, Any], bytes]:
    """Wait for a JSON object and bytes; Broken if what comes is none, or too long, or nothing."""
    try:
        head = json.loads(pipe.recv_bytes(None if trusted else LONGEST_HEAD))
        body = pipe.recv_bytes(None if trusted else LONGEST)
    except EOFError as e:
        raise Broken("the process ended") from e
    except (OSError, ValueError, RecursionError) as e:
        raise Broken("what came is no JSON, or too long") from e
    if not isinstance(head, dict):
        raise Broken("what came is no JSON object")
    return head, body


def pack(value: Any) -> tuple[Any, bytes]:
    """Return a plain value as JSON and the bytes of its arrays; a TypeError for anything else."""
    body = bytearray()

    def packed(value: Any) -> Any:
        kind = type(value)
        if kind in _PLAIN:
            return value
        if kind in (list, tuple):
            return [packed(one) for one in value]
        if kind is dict:
            return {"pairs": [[packed(key), packed(one)] for key, one in value.items()]}
        # NumPy is not imported: a lab without arrays need not wait for it.
        if (kind.__module__, kind.__name__) == ("numpy", "ndarray"):
            array = value.astype(value.dtype.newbyteorder("<"), order="C")
            if not _DTYPE.fullmatch(array.dtype.str):
                raise TypeError(f"An array of {value.dtype} came; give one of numbers or texts.")
            body.extend(array.tobytes())
            return {"dtype": array.dtype.str, "shape": list(array.shape)}
        raise TypeError(
            f"A value of type {type.__getattribute__(kind, '__name__')} came; give numbers, texts "
            "or arrays, or lists and dicts of these."
        )

    return packed(value), bytes(body)


def unpack(head: Any, body: bytes) -> Any:
    """Return the value that ``pack`` made these of. They may come from anybody.

    Raises:
        Broken: they do not belong together.
    """
    rest = io.BytesIO(body)

    def unpacked(head: Any) -> Any:
        if type(head) in _PLAIN:
            return head
        if type(head) is list:
            return [unpacked(one) for one in head]
        if head.keys() == {"dtype", "shape"}:
            return _array(head["dtype"], head["shape"], rest)
        if head.keys() != {"pairs"} or len(head["pairs"]) > MOST_KEYS:
            raise ValueError("neither an array nor a small dict")
        if any(type(key) not in _PLAIN for key, _ in head["pairs"]):
            raise ValueError("a key that is no text or number")
        return {key: unpacked(one) for key, one in head["pairs"]}

    try:
        value = unpacked(head)
    except (ValueError, TypeError, OverflowError, MemoryError, RecursionError) as e:
        raise Broken("what came back is no plain value") from e
    if rest.read(1):
        raise Broken("what came back has more bytes than its arrays")
    return value


def _array(dtype: Any, shape: Any, rest: io.BytesIO) -> Any:
    import numpy as np

    if type(dtype) is not str or not _DTYPE.fullmatch(dtype):
        raise ValueError("an array of something else than numbers and texts")
    if type(shape) is not list or len(shape) > MOST_AXES:
        raise ValueError(f"an array of more than {MOST_AXES} dimensions")
    if any(type(n) is not int or not 0 <= n <= LARGEST_AXIS for n in shape):
        raise ValueError("an array with a shape that is none")
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if len(data := rest.read(size)) != size:
        raise ValueError("an array that is larger than what came")
    flat = np.frombuffer(data, "u1" if dtype.endswith("b1") else dtype)
    flat = flat != 0 if dtype.endswith("b1") else flat.copy()  # a bool is 0 or 1, no other byte
    return flat.reshape(shape)
