"""Frames on a socket: a length-capped JSON header and raw buffers. Never pickle.

A frame is `magic (4 bytes) | header length (4, big endian) | header | buffers`. The header is a JSON object
`{"buffers": [lengths], "message": {...}}`. The reader trusts nothing: every length is capped before memory is taken,
every wait has a deadline, and whatever the bytes are, the outcome is a message or a WireError.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import select
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

MAGIC = b"GSB1"
_PREFIX = struct.Struct("!4sI")
_IN_ONE_PIECE = 1 << 18  # bytes of a frame that are worth a copy to be sent at once


class WireError(Exception):
    """The bytes are not a frame, or a value in it breaks a rule."""


@contextlib.contextmanager
def refusing(what: str) -> Iterator[None]:
    """Turn whatever goes wrong inside while bytes are interpreted into a WireError."""
    try:
        yield
    except WireError:
        raise
    except Exception as error:
        raise WireError(f"{what} ({type(error).__name__})") from error


class Closed(WireError):
    """The other side closed the connection."""


@dataclass(frozen=True)
class Caps:
    """The most that one frame may ask of its reader."""

    header: int = 4 << 20  # bytes of JSON
    buffers: int = 4096  # count
    total: int = 128 << 20  # bytes in all buffers together
    tensor: int = 128 << 20  # bytes of one tensor once rebuilt, whatever its strides
    depth: int = 32  # nesting of values
    nodes: int = 200_000  # values in all
    text: int = 2 << 20  # characters of one string


CAPS = Caps()
#: What the worker sends is held in several copies until it is compared; with these caps they fit in 200 MB.
WORKER_CAPS = Caps(total=32 << 20, tensor=32 << 20)


class Deadline:
    """A point in time, and what happens there: `expire` may prolong it by returning more seconds, once."""

    def __init__(self, seconds: float):
        self.until = time.monotonic() + seconds
        self.expired = False

    def remaining(self) -> float:
        """Seconds left, at most 0 when the time is up."""
        left = self.until - time.monotonic()
        if left > 0:
            return left
        more = self.expire()
        self.until += more
        return max(0.0, self.until - time.monotonic()) if more > 0 else 0.0

    def expire(self) -> float:
        """Called when the time is up. The seconds to go on waiting; 0 gives up."""
        self.expired = True
        return 0.0


def pack(message: dict[str, Any], buffers: Sequence[bytes] = (), caps: Caps = CAPS) -> list[bytes]:
    """The frame as a list of byte strings. Raises WireError where the reader would refuse it."""
    lengths = [len(buffer) for buffer in buffers]
    if len(lengths) > caps.buffers or sum(lengths) > caps.total:
        raise WireError(f"the values are too large: {sum(lengths)} bytes in {len(lengths)} arrays")
    try:
        header = _ENCODER.encode({"buffers": lengths, "message": message})
    except (ValueError, TypeError, RecursionError) as error:
        raise WireError(f"the values cannot be written: {type(error).__name__}") from None
    encoded = header.encode("utf-8", "surrogatepass")
    if len(encoded) > caps.header:
        raise WireError(f"the values are too large: {len(encoded)} bytes of text and numbers")
    return [_PREFIX.pack(MAGIC, len(encoded)) + encoded, *buffers]


def unpack_header(encoded: bytes, caps: Caps = CAPS) -> tuple[dict[str, Any], list[int]]:
    """The message and the lengths of the buffers that follow it."""
    try:
        header = _DECODER.decode(encoded.decode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError, MemoryError):
        raise WireError("the header is not JSON") from None
    if not isinstance(header, dict):
        raise WireError("the header is not an object")
    lengths, message = header.get("buffers"), header.get("message")
    if not isinstance(lengths, list) or len(lengths) > caps.buffers or not isinstance(message, dict):
        raise WireError("the header lacks its fields")
    if any(type(length) is not int or not 0 <= length <= caps.total for length in lengths):
        raise WireError("a buffer's length is out of range")
    if sum(lengths) > caps.total:
        raise WireError("the buffers are too large")
    return message, lengths


def _refuse_constant(name: str) -> Any:
    raise ValueError(name)  # NaN and Infinity are not JSON; they travel as tagged text


# Made once: a frame is written and read several hundred times a submission.
_ENCODER = json.JSONEncoder(allow_nan=False, separators=(",", ":"))
_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def send(sock: socket.socket, parts: Sequence[bytes], deadline: Deadline | None = None) -> None:
    """Write a frame. Raises TimeoutError when the reader does not read until `deadline`."""
    if sum(map(len, parts)) <= _IN_ONE_PIECE:
        parts = [b"".join(parts)]  # the reader then wakes once, and finds all of it
    for part in parts:
        view = memoryview(part)
        while view:
            try:
                view = view[sock.send(view[: 1 << 20], socket.MSG_DONTWAIT) :]
            except BlockingIOError:
                _wait(sock, select.POLLOUT, deadline)
            except OSError as error:
                raise Closed(f"the connection is closed ({type(error).__name__})") from None


def receive(
    sock: socket.socket, deadline: Deadline | None = None, caps: Caps = CAPS
) -> tuple[dict[str, Any], list[bytearray]]:
    """Read one frame. Raises Closed, WireError, or TimeoutError at `deadline`."""
    magic, length = _PREFIX.unpack(_read(sock, _PREFIX.size, deadline, awaited=True))
    if magic != MAGIC or length > caps.header:
        raise WireError("not a frame")
    message, lengths = unpack_header(bytes(_read(sock, length, deadline)), caps)
    total = sum(lengths)
    if len(lengths) < 2 or total > _IN_ONE_PIECE:
        return message, [_read(sock, size, deadline) for size in lengths]
    received, ends = _read(sock, total, deadline), itertools.accumulate(lengths)
    return message, [received[end - size : end] for size, end in zip(lengths, ends, strict=True)]


def _read(sock: socket.socket, size: int, deadline: Deadline | None, awaited: bool = False) -> bytearray:
    """The next `size` bytes. Waits first where they are `awaited`, else only when they are not there yet."""
    received = bytearray()
    while len(received) < size:
        if awaited:
            _wait(sock, select.POLLIN, deadline)
        try:
            chunk = sock.recv(min(size - len(received), 1 << 20), 0 if awaited else socket.MSG_DONTWAIT)
        except BlockingIOError:
            awaited = True
            continue
        except OSError as error:
            raise Closed(f"the connection is closed ({type(error).__name__})") from None
        if not chunk:
            raise Closed("the connection is closed")
        received += chunk
        awaited = False
    return received


def _wait(sock: socket.socket, event: int, deadline: Deadline | None) -> None:
    if deadline is None and event == select.POLLIN:
        return  # a blocking read waits by itself
    poll = select.poll()
    poll.register(sock, event)
    while not poll.poll(None if deadline is None else deadline.remaining() * 1000):
        if deadline.remaining() <= 0:
            raise TimeoutError("the deadline has passed")
