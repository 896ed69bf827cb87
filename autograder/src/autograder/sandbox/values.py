"""Python values as wire nodes: plain data by value, tensors with their strides and aliasing, all else by handle.

A node is JSON: `null`, a boolean, a string, an integer below 2**63, a finite float, or an object whose "$" names
its kind (see `reader.Reader`). Only values whose exact type is known travel by value. An instance of a class that the
student wrote, a subclass of `float` that equals everything among them, is opaque: it stays and travels as a handle.

`Writer`, and `Reader` in reader.py, are used on both sides. What differs, handles and shared tensors, is in the
`Peer` that they are given.
"""

from __future__ import annotations

import collections
import math
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from .containers import ContainerTable, SharedDict, SharedList
from .wire import CAPS, Caps, WireError

if TYPE_CHECKING:
    from .reader import Reader

DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex64, torch.complex128),
        *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
    )
}
DTYPE_NAMES = {dtype: name for name, dtype in DTYPES.items()}
_NUMPY_HAS = {torch.float64, torch.float32, torch.int64, torch.bool}
ARRAY_DTYPES = {name: np.dtype(name) for name in DTYPES if name != "bfloat16"} | {
    name: np.dtype(name) for name in ("uint16", "uint32", "uint64")
}
MAX_INTEGER_BITS = 8192
MAX_NUMBER_KEYS = 10_000  # numbers as keys can be chosen to collide; strings cannot
_PLAIN = (bool, str, float, int)


class Peer(Protocol):
    """What one side knows of the other."""

    def known_tensor(self, tensor: torch.Tensor) -> int | None:
        """The id under which the other side holds this tensor's twin, if it does."""

    def new_tensor_id(self) -> int: ...
    def tensor_by_id(self, number: int) -> torch.Tensor:
        """The tensor of that id. Raises WireError if there is none."""

    def adopt_tensor(
        self, number: int, node: dict[str, Any], tensor: torch.Tensor, raw: bytes | None, is_reply: bool
    ) -> torch.Tensor:
        """What a tensor just rebuilt, of those bytes if known, becomes on this side.

        Raises WireError for an id the other side may not give.
        """

    containers: ContainerTable

    def live_number(self, container: Any) -> int | None:
        """A number for a container that is to live on both sides; None to send it by value."""

    def new_container(self, kind: str, number: Any) -> Any:
        """The empty container for a node of that kind."""

    def write_opaque(self, value: Any, writer: Writer) -> Any:
        """The node of a value that does not travel as data."""

    def read_opaque(self, node: dict[str, Any], reader: Reader) -> Any: ...


class Writer:
    """Writes values into nodes and buffers; one Writer per frame."""

    def __init__(self, peer: Peer, caps: Caps = CAPS):
        self.peer, self.caps = peer, caps
        self.buffers: list[bytes] = []
        self.tensors: dict[
            int, tuple[torch.Tensor, dict[str, Any]]
        ] = {}  # those first described in this frame
        self.mutable: list[Any] = []  # containers, arrays and generators, in the order the Reader meets them
        self._ids: dict[int, int] = {}
        self._elements: dict[int, bytes] = {}
        self._pending: dict[int, list[tuple[dict[str, Any], torch.Tensor]]] = {}
        self._nodes = self._number_keys = 0

    def node(self, value: Any, depth: int = 0) -> Any:
        self._nodes += 1
        if depth > self.caps.depth or self._nodes > self.caps.nodes:
            raise WireError("the value is nested too deeply or has too many parts")
        if value is None or type(value) in _PLAIN:
            return self._scalar(value)
        if isinstance(value, torch.Tensor):
            return self._tensor(value)
        if type(value) in _WRITERS:
            return _WRITERS[type(value)](self, value, depth + 1)
        if isinstance(value, np.generic) and type(value).__module__ == "numpy":
            return self._array("g", np.asarray(value))
        if isinstance(value, tuple):
            if type(value).__module__ == "torch.return_types":
                return self._items("u", tuple(value), depth + 1)
            if _is_plain_named_tuple(type(value)):
                return self._named_tuple(value, depth + 1)
        return self.peer.write_opaque(value, self)

    def add_buffer(self, raw: bytes) -> int:
        self.buffers.append(raw)
        return len(self.buffers) - 1

    def elements(self, number: int) -> bytes:
        """`raw_bytes` of a tensor first described in this frame; copied once for the frame and whoever asks."""
        if number not in self._elements:
            self._elements[number] = raw_bytes(self.tensors[number][0])
        return self._elements[number]

    def finish(self) -> list[bytes]:
        """The buffers, with each storage that tensors share written once."""
        for group in self._pending.values():
            self._write_storage(group)
        self._pending.clear()
        return self.buffers

    def _scalar(self, value: Any) -> Any:
        if type(value) is float and not math.isfinite(value):
            return {"$": "f", "v": repr(value)}
        if type(value) is int and not -(2**63) <= value < 2**63:
            if value.bit_length() > MAX_INTEGER_BITS:
                raise WireError("the integer is too large")
            return {"$": "n", "v": hex(value)}
        if type(value) is str and len(value) > self.caps.text:
            raise WireError("the string is too long")
        return value

    def _items(self, kind: str, value: Any, depth: int) -> dict[str, Any]:
        return {"$": kind, "v": [self.node(item, depth) for item in value]}

    def _container(self, kind: str, value: Any, depth: int) -> dict[str, Any]:
        """A list or dictionary: by reference if it lives on both sides, else its contents."""
        number = self.peer.containers.find(value)
        if number is not None:
            return {"$": "lc", "i": number}
        node: dict[str, Any] = {"$": kind}
        number = self.peer.live_number(value)
        if number is not None:
            self.peer.containers.add(number, value)
            node["c"] = number
        else:
            self.mutable.append(value)
        node["v"] = self.contents(value, depth)
        return node

    def contents(self, value: Any, depth: int = 1) -> list[Any]:
        """The nodes of a container's items."""
        if isinstance(value, dict):
            self._number_keys += sum(type(key) is not str for key in value)
            if self._number_keys > MAX_NUMBER_KEYS:
                raise WireError(f"a dictionary has more than {MAX_NUMBER_KEYS} keys that are not strings")
            return [[self.node(k, depth), self.node(v, depth)] for k, v in list(value.items())]
        return [self.node(item, depth) for item in list(value)]

    def _named_tuple(self, value: tuple, depth: int) -> dict[str, Any]:
        cls = type(value)
        items = [self.node(item, depth) for item in tuple(value)]
        return {"$": "nt", "n": cls.__name__, "f": list(cls._fields), "v": items}

    def _array(self, kind: str, value: np.ndarray) -> dict[str, Any]:
        if value.dtype.name not in ARRAY_DTYPES or not value.dtype.isnative:
            raise WireError(f"an array of dtype {str(value.dtype)[:40]} cannot leave the notebook")
        if value.nbytes > self.caps.tensor:
            raise WireError(f"the array is too large: {value.nbytes} bytes")
        if kind == "a":
            self.mutable.append(value)
        raw = self.add_buffer(np.ascontiguousarray(value).tobytes())
        return {"$": kind, "d": value.dtype.name, "s": list(value.shape), "b": raw}

    def _tensor(self, value: torch.Tensor) -> dict[str, Any]:
        number = self.peer.known_tensor(value)
        if number is None:
            number = self._ids.get(id(value))
        if number is not None:
            return {"$": "r", "i": number}
        number = self.peer.new_tensor_id()
        plain = plain_tensor(value)
        name = dtype_name(plain)
        if plain.nbytes > self.caps.tensor:
            raise WireError(f"the tensor is too large: {plain.numel()} elements")
        if not plain.is_contiguous():
            plain = _bounded_span(plain)
        node: dict[str, Any] = {"$": "t", "i": number, "d": name, "s": list(plain.shape)}
        if value.requires_grad:
            node["rg"] = 1
            if not value.is_leaf:
                node["in"] = 1  # inside a graph
        if type(value) is not torch.Tensor and isinstance(value, torch.nn.Parameter):
            node["p"] = 1
        self._ids[id(value)], self.tensors[number] = number, (value, node)
        self._pending.setdefault(plain.untyped_storage().data_ptr() or -number, []).append((node, plain))
        return node

    def _write_storage(self, group: list[tuple[dict[str, Any], torch.Tensor]]) -> None:
        """One buffer with the bytes that the group's tensors cover, then each tensor's place in it."""
        if len(group) == 1 and group[0][1].is_contiguous():  # nearly always
            node, tensor = group[0]
            node.update(b=self.add_buffer(self.elements(node["i"])), o=0, st=list(tensor.stride()))
            return
        used = [
            (t.storage_offset() * t.element_size(), _extent(t) * t.element_size())
            for _, t in group
            if t.numel()
        ]
        start = min((offset for offset, _ in used), default=0) // 16 * 16
        stop = max((offset + extent for offset, extent in used), default=start)
        storage = torch.empty(0, dtype=torch.uint8).set_(group[0][1].untyped_storage())
        index = self.add_buffer(storage[start:stop].numpy().tobytes())
        for node, tensor in group:
            offset = tensor.storage_offset() - start // tensor.element_size() if tensor.numel() else 0
            node.update(b=index, o=offset, st=list(tensor.stride()))


_EXACT = (torch.Tensor, torch.nn.Parameter)


def plain_tensor(value: torch.Tensor) -> torch.Tensor:
    """The tensor's data as a dense CPU tensor of torch's own class, sharing memory where that is possible."""
    # Nearly always; and every frame asks it of each tensor that it has to do with.
    simple = (
        type(value) in _EXACT and value.is_cpu and value.layout is torch.strided and not value.is_quantized
    )
    if simple and not value.is_conj() and not value.is_neg():
        return value.detach()
    with torch.no_grad(), torch._C.DisableTorchFunctionSubclass():
        plain = torch.Tensor.detach(value)
        if plain.layout is not torch.strided or plain.is_quantized or plain.is_meta:
            raise WireError("only dense tensors with data can leave the notebook")
        if plain.device.type != "cpu":
            plain = torch.Tensor.cpu(plain)
        return torch.Tensor.resolve_neg(torch.Tensor.resolve_conj(plain)).as_subclass(torch.Tensor)


def raw_bytes(tensor: torch.Tensor) -> bytes:
    """The elements in logical order, as bytes."""
    plain = plain_tensor(tensor)
    if plain.dtype in _NUMPY_HAS:
        return plain.numpy().tobytes()
    plain = plain.contiguous()
    flat = plain.as_strided((plain.numel(),), (1,))  # an expanded single element counts as contiguous
    return flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""


def dtype_name(tensor: torch.Tensor) -> str:
    """The name under which the tensor's dtype travels. Raises WireError for one that does not."""
    name = DTYPE_NAMES.get(tensor.dtype)
    if name is None:
        shown = str(tensor.dtype).removeprefix("torch.")[:40]
        raise WireError(f"a tensor of dtype {shown} cannot leave the notebook")
    return name


def _extent(tensor: torch.Tensor) -> int:
    """Elements from the tensor's first to its last one in storage, both included."""
    return 1 + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))


def _bounded_span(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor itself, or a compact copy where sending its strides would send far more than its elements."""
    count, extent = tensor.numel(), _extent(tensor)
    if count and extent > max(4 * count, (8 << 20) // tensor.element_size()):
        return tensor.contiguous()
    return tensor


def _is_plain_named_tuple(cls: type) -> bool:
    """Whether `cls` is what collections.namedtuple makes, or one of torch's result tuples."""
    fields = getattr(cls, "_fields", None)
    if cls.__bases__ != (tuple,) or not isinstance(fields, tuple) or "__eq__" in vars(cls):
        return False
    return "__iter__" not in vars(cls) and all(type(field) is str for field in fields)


_WRITERS: dict[type, Any] = {
    list: lambda w, v, d: w._container("l", v, d),
    SharedList: lambda w, v, d: w._container("l", v, d),
    tuple: lambda w, v, d: w._items("u", v, d),
    torch.Size: lambda w, v, d: w._items("Z", v, d),
    set: lambda w, v, d: {"$": "s", "v": [w.node(i, d) for i in v]},
    frozenset: lambda w, v, d: {"$": "z", "v": [w.node(i, d) for i in v]},
    dict: lambda w, v, d: w._container("d", v, d),
    collections.OrderedDict: lambda w, v, d: w._container("d", v, d),
    collections.defaultdict: lambda w, v, d: w._container("d", v, d),
    SharedDict: lambda w, v, d: w._container("d", v, d),
    complex: lambda w, v, d: {"$": "c", "v": [w.node(v.real, d), w.node(v.imag, d)]},
    bytes: lambda w, v, d: {"$": "b", "b": w.add_buffer(v)},
    bytearray: lambda w, v, d: {"$": "b", "b": w.add_buffer(bytes(v))},
    np.ndarray: lambda w, v, d: w._array("a", v),
    torch.dtype: lambda w, v, d: {"$": "dt", "v": str(v).removeprefix("torch.")},
    torch.device: lambda w, v, d: {"$": "dev", "v": str(v)},
    slice: lambda w, v, d: {"$": "sl", "v": [w.node(p, d) for p in (v.start, v.stop, v.step)]},
    range: lambda w, v, d: {"$": "rng", "v": [w.node(p, d) for p in (v.start, v.stop, v.step)]},
    type(...): lambda w, v, d: {"$": "e"},
}
