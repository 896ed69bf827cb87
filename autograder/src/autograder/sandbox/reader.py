"""Wire nodes as Python values: the other half of values.py. Whatever the node, a value or a WireError.

Lengths, counts and depths are checked before memory is taken: a hostile frame costs at most what its caps allow.
"""

from __future__ import annotations

import collections
import functools
import keyword
import math
from typing import Any

import numpy as np
import torch

from .values import ARRAY_DTYPES, DTYPES, MAX_INTEGER_BITS, MAX_NUMBER_KEYS, Peer
from .wire import CAPS, Caps, WireError

MAX_AXES = 25
MAX_NAMED_TUPLES = 256
_NOTHING = torch.empty(0, dtype=torch.uint8)


@functools.lru_cache(maxsize=64)
def _named_tuple_class(name: str, fields: tuple[str, ...]) -> type:
    return collections.namedtuple(name, fields, rename=True)


class Reader:
    """Rebuilds the values of one frame. Trusts nothing: any node gives a value or a WireError."""

    def __init__(self, peer: Peer, buffers: list[bytearray], caps: Caps = CAPS, *, is_reply: bool = False):
        self.peer, self.buffers, self.caps = peer, buffers, caps
        self.tensors: dict[int, torch.Tensor] = {}  # every tensor first described in this frame, by id
        self.mutable: list[Any] = []
        self.is_reply = is_reply
        self._storages: dict[int, torch.UntypedStorage] = {}
        self._live: list[int] = []
        self._nodes = self._number_keys = self._named_tuples = self._bytes = 0

    def value(self, node: Any, depth: int = 0) -> Any:
        self._nodes += 1
        if depth > self.caps.depth or self._nodes > self.caps.nodes:
            raise WireError("the value is nested too deeply or has too many parts")
        if node is None or type(node) in (bool, int, float):
            return node
        if type(node) is str:
            return self.text(node)
        if type(node) is not dict:
            raise WireError("not a value")
        kind = node.get("$")
        read = _READERS.get(kind) if type(kind) is str else None
        if read is None:
            return self.peer.read_opaque(node, self)
        try:
            return read(self, node, depth + 1)
        except (
            KeyError,
            TypeError,
            ValueError,
            OverflowError,
            RuntimeError,
            AttributeError,
            RecursionError,
        ) as error:
            raise WireError(f"not a value of kind {kind} ({type(error).__name__})") from None

    def text(self, value: Any) -> str:
        if type(value) is not str or len(value) > self.caps.text:
            raise WireError("not a string")
        return value if value.isascii() else value.encode("utf-8", "replace").decode()

    def buffer(self, index: Any) -> bytearray:
        if type(index) is not int or not 0 <= index < len(self.buffers):
            raise WireError("no such buffer")
        return self.buffers[index]

    def _items(self, node: dict[str, Any], depth: int) -> list[Any]:
        items = node["v"]
        if type(items) is not list:
            raise WireError("not a sequence")
        return [self.value(item, depth) for item in items]

    def _container(self, node: dict[str, Any], depth: int) -> Any:
        kind, number = node["$"], node.get("c")
        container = self.peer.new_container(kind, number)
        if number is None:
            self.mutable.append(container)  # before its items, as the Writer did
        else:
            self._live.append(number)
        self.fill(container, kind, node["v"], depth)
        return container

    def fill(self, container: Any, kind: str, items: Any, depth: int = 1) -> None:
        """Read the nodes of a container's items into it."""
        if type(items) is not list:
            raise WireError("not a container's contents")
        if kind == "l":
            container.extend(self.value(item, depth) for item in items)
            return
        for key, value in items:
            container[self._key(self.value(key, depth))] = self.value(value, depth)

    def settle_containers(self) -> None:
        """What the frame's live containers hold now is what both sides know."""
        for number in self._live:
            self.peer.containers.settle(number)
        self._live.clear()

    def _members(self, node: dict[str, Any], depth: int) -> set[Any]:
        return {self._key(item) for item in self._items(node, depth)}

    def _key(self, key: Any) -> Any:
        if type(key) is not str:
            self._number_keys += 1
            if self._number_keys > MAX_NUMBER_KEYS:
                raise WireError("too many keys")
        return key

    def _named_tuple(self, node: dict[str, Any], depth: int) -> tuple:
        name, fields = self.text(node["n"]), [self.text(field) for field in node["f"]]
        items = self._items(node, depth)
        names = [name, *fields]
        if len(fields) != len(items) or len(names) > 64 or any(len(text) > 64 for text in names):
            raise WireError("not a named tuple")
        self._named_tuples += 1
        if self._named_tuples > MAX_NAMED_TUPLES or not all(
            text.isidentifier() and not keyword.iskeyword(text) for text in names
        ):
            return tuple(items)
        return _named_tuple_class(name, tuple(fields))(*items)

    def _integer(self, node: dict[str, Any], depth: int) -> int:
        text = self.text(node["v"])
        if len(text) > MAX_INTEGER_BITS // 4 + 4:
            raise WireError("the integer is too large")
        return int(text, 16)

    def _special_float(self, node: dict[str, Any], depth: int) -> float:
        return {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}[node["v"]]

    def _complex(self, node: dict[str, Any], depth: int) -> complex:
        real, imaginary = (self.value(part, depth) for part in node["v"])
        return complex(float(real), float(imaginary))

    def _shape(self, node: dict[str, Any]) -> tuple[int, ...]:
        shape = node["s"]
        if type(shape) is not list or len(shape) > MAX_AXES:
            raise WireError("not a shape")
        if any(type(size) is not int or not 0 <= size < 2**40 for size in shape):
            raise WireError("not a shape")
        return tuple(shape)

    def _count_bytes(self, shape: tuple[int, ...], width: int) -> int:
        size = math.prod(shape) * width
        self._bytes += size
        if size > self.caps.tensor or self._bytes > 2 * self.caps.total:
            raise WireError("the tensor is too large")
        return size

    def _array(self, node: dict[str, Any], depth: int) -> np.ndarray:
        shape, dtype = self._shape(node), ARRAY_DTYPES[node["d"]]
        raw = self.buffer(node["b"])
        if len(raw) != self._count_bytes(shape, dtype.itemsize):
            raise WireError("the array's length does not fit its shape")
        array = np.frombuffer(bytes(raw), dtype=dtype).reshape(shape).copy()
        if node["$"] == "a":
            self.mutable.append(array)
            return array
        return array[()]

    def _tensor(self, node: dict[str, Any], depth: int) -> torch.Tensor:
        number, shape, dtype = node["i"], self._shape(node), DTYPES[node["d"]]
        strides, offset, index = node["st"], node["o"], node["b"]
        if type(number) is not int or number < 0 or number in self.tensors or type(strides) is not list:
            raise WireError("not a tensor")
        if len(strides) != len(shape) or any(
            type(n) is not int or not 0 <= n < 2**40 for n in (*strides, offset)
        ):
            raise WireError("not a tensor's layout")
        length = len(self.buffer(index))
        if self._count_bytes(shape, dtype.itemsize):
            extent = 1 + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
            if (offset + extent) * dtype.itemsize > length:
                raise WireError("the tensor's layout exceeds its storage")
        else:
            offset = 0
        storage = self._storages.get(index)
        if storage is None:
            copied = (
                torch.frombuffer(self.buffers[index], dtype=torch.uint8).clone()
                if length
                else _NOTHING.clone()
            )
            storage = self._storages[index] = copied.untyped_storage()
        tensor = torch.empty(0, dtype=dtype).set_(storage, offset, shape, strides)
        whole = tensor.nbytes == length and tensor.is_contiguous()
        raw = bytes(self.buffers[index]) if whole else None
        self.tensors[number] = self.peer.adopt_tensor(number, node, tensor, raw, self.is_reply)
        return self.tensors[number]

    def _reference(self, node: dict[str, Any], depth: int) -> torch.Tensor:
        number = node["i"]
        if type(number) is not int:
            raise WireError("not a tensor's number")
        return self.tensors[number] if number in self.tensors else self.peer.tensor_by_id(number)

    def _slice(self, node: dict[str, Any], depth: int) -> slice:
        return slice(*(self.value(part, depth) for part in node["v"]))

    def _range(self, node: dict[str, Any], depth: int) -> range:
        return range(*(int(self.value(part, depth)) for part in node["v"]))


_READERS: dict[str, Any] = {
    "f": Reader._special_float,
    "n": Reader._integer,
    "c": Reader._complex,
    "b": lambda r, n, d: bytes(r.buffer(n["b"])),
    "l": Reader._container,
    "lc": lambda r, n, d: r.peer.containers.get(n["i"]),
    "u": lambda r, n, d: tuple(r._items(n, d)),
    "Z": lambda r, n, d: torch.Size(r._items(n, d)),
    "s": Reader._members,
    "z": lambda r, n, d: frozenset(r._members(n, d)),
    "d": Reader._container,
    "nt": Reader._named_tuple,
    "a": Reader._array,
    "g": Reader._array,
    "t": Reader._tensor,
    "r": Reader._reference,
    "dt": lambda r, n, d: DTYPES[n["v"]],
    "dev": lambda r, n, d: torch.device(
        {"cpu": "cpu", "cuda": "cuda", "meta": "meta"}[n["v"].partition(":")[0]]
    ),
    "sl": Reader._slice,
    "rng": Reader._range,
    "e": lambda r, n, d: ...,
}
