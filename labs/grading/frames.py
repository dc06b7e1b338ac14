"""What goes over a pipe: frames with a cap on their length; values without pickle.

A frame is its length, then a head in JSON, then bytes: arrays, or trusted arguments. Whoever reads
a value that a student's process sent gets only exact types back: None, bool, int, float, str,
``numpy.ndarray`` and lists and dicts of these. NumPy's own .npy format with ``allow_pickle=False``
would do as well, but it makes room for what its header asks for before anything else has come.
"""

import json
import math
import re
import select
import socket
import struct
import time
from typing import Any

LONGEST, LONGEST_HEAD = 64 << 20, 4 << 20  # JSON takes twenty times its length in memory
MOST_AXES, LARGEST_AXIS = 32, 1 << 40
NO_CAP = 1 << 32  # for what comes from a trusted process
_DEEPEST = 50
_DTYPE = re.compile(r"[<|](b1|[iuf][1248]|f16|c8|c16|U\d{1,6})")


class Broken(Exception):
    """The other side closed the pipe, or sent what nobody asked for."""


class TooLate(Exception):
    """The other side did not answer in time."""


def send(
    pipe: socket.socket, head: dict[str, Any], body: bytes = b"", seconds: float | None = None
) -> None:
    """Send one frame; TooLate if the other side does not take it, Broken if it is gone."""
    text = json.dumps(head).encode()
    pipe.settimeout(seconds)
    try:
        pipe.sendall(struct.pack(">II", len(text), len(body)) + text + body)
    except TimeoutError as e:
        raise TooLate from e
    except OSError as e:
        raise Broken(f"the pipe is closed ({e.strerror})") from e
    finally:
        pipe.settimeout(None)


def receive(
    pipe: socket.socket, seconds: float | None = None, longest: int = LONGEST
) -> tuple[dict[str, Any], bytes]:
    """Receive one frame.

    Raises:
        TooLate: it was not there after ``seconds``.
        Broken: the pipe was closed, or what came is no frame, or one that is too long.
    """
    until = None if seconds is None else time.monotonic() + seconds
    first, second = struct.unpack(">II", _read(pipe, 8, until))
    if second > longest or first > (LONGEST_HEAD if longest < NO_CAP else NO_CAP):
        raise Broken(f"a frame of {first + second} bytes; {longest} are allowed")
    try:
        head = json.loads(_read(pipe, first, until))
    except (ValueError, RecursionError) as e:
        raise Broken("a frame whose head is no JSON") from e
    if not isinstance(head, dict):
        raise Broken("a frame whose head is no object")
    return head, _read(pipe, second, until)


def _read(pipe: socket.socket, size: int, until: float | None) -> bytes:
    found = bytearray()
    while len(found) < size:
        if until is not None:
            left = max(0, until - time.monotonic())
            if not select.select([pipe], [], [], left)[0]:
                raise TooLate
        try:
            part = pipe.recv(min(size - len(found), 1 << 20))
        except OSError as e:
            raise Broken(f"the pipe is closed ({e.strerror})") from e
        if not part:
            raise Broken("the process ended")
        found += part
    return bytes(found)


def pack(value: Any) -> tuple[Any, bytes]:
    """Return a plain value as JSON and the bytes of its arrays; a TypeError for anything else."""
    body = bytearray()
    return _pack(value, body, _DEEPEST), bytes(body)


def _pack(value: Any, body: bytearray, depth: int) -> Any:
    kind = type(value)
    if value is None or kind in (bool, int, float, str):
        return value
    if depth and kind in (list, tuple):
        return [_pack(one, body, depth - 1) for one in value]
    if depth and kind is dict:
        pairs = [[_pack(k, body, 0), _pack(v, body, depth - 1)] for k, v in value.items()]
        return {"pairs": pairs}
    if _is_array(kind):
        array = value.astype(value.dtype.newbyteorder("<"), order="C")
        if not _DTYPE.fullmatch(array.dtype.str):
            raise TypeError(f"An array of {value.dtype} came; give one of numbers or texts.")
        body += array.tobytes()
        return {"dtype": array.dtype.str, "shape": list(array.shape)}
    raise TypeError(
        f"A value of type {type.__getattribute__(kind, '__name__')} came; give numbers, texts or "
        "arrays, or lists and dicts of these."
    )


def _is_array(kind: type) -> bool:
    # Without importing NumPy: a lab without arrays need not wait for it.
    return kind.__name__ == "ndarray" and kind.__module__ == "numpy"


def unpack(head: Any, body: bytes) -> Any:
    """Return the value that ``pack`` made these of. They may come from anybody.

    Raises:
        Broken: they do not belong together.
    """
    try:
        value, used = _unpack(head, body, 0, _DEEPEST)
    except (ValueError, TypeError, KeyError, OverflowError, MemoryError) as e:
        raise Broken(f"what came back is no plain value ({e})") from e
    if used != len(body):
        raise Broken("what came back has more bytes than its arrays")
    return value


def _unpack(head: Any, body: bytes, at: int, depth: int) -> tuple[Any, int]:
    if head is None or type(head) in (bool, int, float, str):
        return head, at
    if not depth:
        raise ValueError("too deep")
    if type(head) is list:
        values = []
        for one in head:
            value, at = _unpack(one, body, at, depth - 1)
            values.append(value)
        return values, at
    if head.keys() == {"pairs"}:
        found = {}
        for key, one in head["pairs"]:
            if type(key) not in (type(None), bool, int, float, str):
                raise ValueError("a key that is no text or number")
            found[key], at = _unpack(one, body, at, depth - 1)
        return found, at
    if head.keys() != {"dtype", "shape"}:
        raise ValueError("neither a dict nor an array")
    return _array(head["dtype"], head["shape"], body, at)


def _array(dtype: Any, shape: Any, body: bytes, at: int) -> tuple[Any, int]:
    import numpy as np

    if type(dtype) is not str or not _DTYPE.fullmatch(dtype):
        raise ValueError("an array of something else than numbers and texts")
    if type(shape) is not list or len(shape) > MOST_AXES:
        raise ValueError(f"an array of more than {MOST_AXES} dimensions")
    if any(type(n) is not int or not 0 <= n <= LARGEST_AXIS for n in shape):
        raise ValueError("an array with a shape that is none")
    end = at + math.prod(shape) * np.dtype(dtype).itemsize
    if end > len(body):
        raise ValueError("an array that is larger than what came")
    flat = np.frombuffer(body[at:end], "u1" if dtype.endswith("b1") else dtype)
    flat = flat != 0 if dtype.endswith("b1") else flat.copy()  # a bool is 0 or 1, no other byte
    return flat.reshape(shape), end
