"""What both sides of the conversation do alike: write and read values, share tensors, run and follow calls."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.weak import TensorWeakRef

from .containers import ContainerTable, SharedDict, SharedList, contents, is_unchanged, refill
from .graphs import Graphs, attach, describe
from .mirror import TensorTable
from .reader import Reader
from .values import Writer
from .wire import CAPS, WireError, refusing


class Peer:
    """One side. A subclass says how a request is sent (`send_request`) and what its own objects are."""

    reader_caps = CAPS

    def __init__(self, first_id: int, strong: bool):
        self.tensors = TensorTable(first_id, strong)
        self.containers = ContainerTable(strong)
        self.graphs = Graphs()
        self._inputs: dict[
            int, TensorWeakRef
        ] = {}  # tensors that some graph of the other side may lead back to
        self.changed: list[int] = []  # the tensors that the last reply changed
        self._released_graphs: list[int] = []
        self._keeping = False  # whether the frame being read belongs to an object that may hold its tensors

    def send_request(
        self, message: dict[str, Any], buffers: list[bytes], name: str
    ) -> tuple[dict, list[bytearray]]:
        """Send a request, wait for the reply, return it with its buffers; or raise."""
        raise NotImplementedError

    # Requests to the other side

    def request(self, message: dict[str, Any], writer: Writer, name: str) -> Any:
        """The value that the other side answers with, after its changes were taken over."""
        self.tensors.begin_call()
        keep = False
        try:
            self._introduce(writer, borrowed=True)
            self._add_news(message, writer)
            reply, buffers = self.send_request(message, writer.finish(), name)
            keep = reply.get("keep") is True
            reader = Reader(self, buffers, self.reader_caps, is_reply=True)
            with refusing("not a reply"):
                return self._take_reply(reply, reader, writer, keep)
        finally:
            self.tensors.end_call(keep=keep)

    def _introduce(self, writer: Writer, *, borrowed: bool) -> None:
        for number, (tensor, _) in writer.tensors.items():
            self.tensors.add(number, tensor, writer.elements(number), borrowed=borrowed)
            if tensor.requires_grad:
                self._remember(number, tensor)

    def _remember(self, number: int, tensor: torch.Tensor) -> None:
        if len(self._inputs) > 1000:
            self._inputs = {key: ref for key, ref in self._inputs.items() if ref() is not None}
        self._inputs[number] = TensorWeakRef(tensor)

    def _take_reply(self, reply: dict[str, Any], reader: Reader, writer: Writer, keep: bool) -> Any:
        outer, self._keeping = self._keeping, keep
        try:
            leaves = self._attach(reply.get("graph"), reader)
            value = reader.value(reply.get("value"))
            self._take_contents(reply.get("contents", []), reader, writer)
            self.containers.apply(reply.get("containers", []), reader.fill)
        finally:
            self._keeping = outer
        for number, tensor in reader.tensors.items():
            if (keep or number in leaves) and tensor.is_leaf:
                self.tensors.add(number, tensor)
        self.changed = self.tensors.apply(reply.get("changes", []), reader.buffer)
        reader.settle_containers()
        return value

    def _attach(self, graph: Any, reader: Reader) -> set[int]:
        """Make the results differentiable. Returns the numbers of the leaves that the frame introduces."""
        if graph is None:
            return set()
        if not isinstance(graph, dict) or type(graph.get("id")) is not int:
            raise WireError("not a graph")
        outputs, inputs = graph.get("outputs"), graph.get("inputs")
        if not isinstance(outputs, list) or not isinstance(inputs, list):
            raise WireError("not a graph")
        results = [reader.value(node) for node in outputs]
        sources = [self._graph_input(node, reader) for node in inputs]
        if not all(
            isinstance(r, torch.Tensor) and (r.is_floating_point() or r.is_complex()) for r in results
        ):
            raise WireError("not a graph's results")
        attached = attach(self, graph["id"], results, sources, self.release_graph)
        for node, result in zip(outputs, attached, strict=True):
            reader.tensors[node["i"]] = result
        return {node["i"] for node in inputs if isinstance(node, dict) and node.get("$") == "t"}

    def _graph_input(self, node: Any, reader: Reader) -> torch.Tensor | None:
        if node is None:
            return None
        if isinstance(node, dict) and node.get("$") == "r" and type(node.get("i")) is int:
            reference = self._inputs.get(node["i"])
            if reference is not None and (tensor := reference()) is not None:
                return tensor
            try:
                return reader.value(node)
            except WireError:
                return None  # whoever made it has let it go: its gradient is nobody's
        value = reader.value(node)
        if not isinstance(value, torch.Tensor):
            raise WireError("not a graph's input")
        return value

    def _take_contents(self, contents: Any, reader: Reader, writer: Writer) -> None:
        """Copy the other side's changes of passed lists, dictionaries and arrays back."""
        originals = list(writer.mutable)
        if not isinstance(contents, list) or len(contents) > len(originals):
            raise WireError("not a list of contents")
        for entry in contents:
            if not isinstance(entry, list) or len(entry) != 2 or type(entry[0]) is not int:
                raise WireError("not a container's contents")
            if not 0 <= entry[0] < len(originals):
                raise WireError("no such container")
            refill(originals[entry[0]], reader.value(entry[1]))

    def release_graph(self, number: int, inputs: list[torch.Tensor | None]) -> None:
        """The graph is not needed any more. Its inputs may just have got gradients: they stay until these are sent."""
        self._released_graphs.append(number)
        self.tensors.hold(tensor for tensor in inputs if tensor is not None)

    def differentiate(
        self, graph: int, gradients: tuple[torch.Tensor | None, ...], create_graph: bool
    ) -> list[torch.Tensor | None]:
        """The vector-Jacobian product of a call that the other side ran."""
        writer = Writer(self)
        nodes = [writer.node(gradient) for gradient in gradients]
        message = {"op": "vjp", "graph": graph, "gradients": nodes, "create_graph": create_graph}
        return self.request(message, writer, "the gradient")

    def _add_news(self, message: dict[str, Any], writer: Writer) -> None:
        """What every frame carries: changed tensors and containers, and what is no longer needed."""
        message["containers"] = self.containers.take_changes(writer.contents)
        self._introduce(writer, borrowed=False)  # those that the containers brought
        message["changes"] = self.tensors.take_changes(writer.add_buffer)
        message["release_tensors"] = self.tensors.take_dead()
        message["release_containers"] = self.containers.take_dead()
        message["release_graphs"], self._released_graphs = self._released_graphs, []

    # Requests from the other side

    def take_news(self, message: dict[str, Any], reader: Reader) -> None:
        """Take over what a request carries, once its arguments have been read."""
        self.containers.apply(message.get("containers", []), reader.fill)
        for number, tensor in reader.tensors.items():
            self.tensors.add(number, tensor)
        self.tensors.apply(message.get("changes", []), reader.buffer)
        self.tensors.forget(_numbers(message.get("release_tensors")))
        self.containers.forget(_numbers(message.get("release_containers")))
        self.graphs.release(_numbers(message.get("release_graphs")))

    def answer_with(
        self,
        result: Any,
        mutable: list[Any],
        before: list[Any],
        stops: list[torch.Tensor],
        keep: bool | None = None,
    ) -> tuple[dict[str, Any], list[bytes]]:
        """The reply that carries a result. `before` are the pictures of the passed containers, `mutable`."""
        writer = Writer(self)
        reply: dict[str, Any] = {"value": self.write_result(result, writer)}
        reply["contents"] = [
            [place, writer.node(contents(value))]
            for place, (value, old) in enumerate(zip(mutable, before, strict=True))
            if not is_unchanged(value, old)
        ]
        differentiable = [t for t, _ in writer.tensors.values() if t.requires_grad and not t.is_leaf]
        graph = self.graphs.open(differentiable, stops)
        inputs = [self._input_node(source, writer) for source in graph.inputs] if graph else []
        reply["containers"] = self.containers.take_changes(writer.contents)
        keep = (self.keeps() if keep is None else keep) or bool(reply["containers"])
        introduced = {node["i"] for node in inputs if node["$"] == "t"}
        for number, (tensor, _) in writer.tensors.items():
            if (keep or number in introduced) and tensor.is_leaf:
                self.tensors.add(number, tensor, writer.elements(number))
        reply["keep"] = keep
        reply["changes"] = self.tensors.take_changes(writer.add_buffer)
        buffers = writer.finish()
        if graph is not None:
            reply["graph"] = describe(graph, writer, inputs)
        return reply, buffers

    def write_result(self, result: Any, writer: Writer) -> Any:
        return writer.node(result)

    def keeps(self) -> bool:
        """Whether an object of this side may hold on to the tensors of the present call."""
        return False

    def _input_node(self, source: torch.Tensor, writer: Writer) -> Any:
        number = self.graphs.stands_for(source)
        return {"$": "r", "i": number} if number is not None else writer.node(source)

    # What Writer and Reader ask

    def known_tensor(self, tensor: torch.Tensor) -> int | None:
        return self.tensors.find(tensor)

    def new_tensor_id(self) -> int:
        return self.tensors.new_id()

    def tensor_by_id(self, number: int) -> torch.Tensor:
        return self.tensors.get(number)

    def adopt_tensor(
        self, number: int, node: dict[str, Any], tensor: torch.Tensor, raw: bytes | None, is_reply: bool
    ) -> torch.Tensor:
        """What a tensor just rebuilt becomes here: followed, and a parameter or part of a graph if it was one there."""
        if not self.tensors.is_foreign(number):
            raise WireError("not a number that the other side may give")
        if node.get("p") and (self._keeping or not is_reply):
            tensor = torch.nn.Parameter(tensor, requires_grad=False)
        inner = bool(node.get("in"))
        if node.get("rg") and not (is_reply and inner):  # a reply's inner tensors are attached as results
            tensor.requires_grad_(True)
            tensor = tensor if is_reply else self.graphs.enter(number, tensor, inner=inner)
        if not is_reply:
            self.tensors.add(number, tensor, raw, borrowed=True)
        return tensor

    def live_number(self, container: Any) -> int | None:
        """A number for a container that is to live on both sides; None to send it by value."""
        return None

    def new_container(self, kind: str, number: Any) -> Any:
        """The empty container for a node, and whether it is one that lives on both sides."""
        if number is None:
            return [] if kind == "l" else {}
        container = SharedList() if kind == "l" else SharedDict()
        self.containers.add(number, container)
        return container


def _numbers(value: Any) -> list[int]:
    if not isinstance(value, list):
        return []
    return [number for number in value if type(number) is int]
