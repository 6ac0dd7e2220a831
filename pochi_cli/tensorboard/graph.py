"""The graph of a model, as TensorBoard draws it."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from tensorboard.compat.proto.attr_value_pb2 import AttrValue
from tensorboard.compat.proto.graph_pb2 import GraphDef
from tensorboard.compat.proto.node_def_pb2 import NodeDef
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.compat.proto.versions_pb2 import VersionDef
from torch import Tensor, nn
from torch.fx import Node

_PRODUCER = 22
"""The version that torch's own graphs carry."""


def model_graph(model: nn.Module, images: Tensor) -> GraphDef:
    """Trace a model's operations, nested as its modules are, without computing anything.

    `torch.export` does it: what torch's own `add_graph` uses, `torch.jit.trace`, is deprecated. The model
    stays as it is.

    Args:
        model: The model.
        images: Some input, (batch, 3, height, width), on the model's device.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        exported = torch.export.export(model, (images,), strict=False)
    finally:
        for module, training in modes:
            module.training = training
    inputs = set(exported.graph_signature.user_inputs)
    names: dict[Node, str] = {}
    for node in exported.graph.nodes:
        if node.op == "call_function" or node.name in inputs or node.op == "output":
            names[node] = "/".join((*_scope(node), node.name))
    return GraphDef(
        node=[_definition(node, name, names) for node, name in names.items()],
        versions=VersionDef(producer=_PRODUCER),
    )


def _scope(node: Node) -> Iterator[str]:
    """The modules in which an operation is done, from the outermost."""
    stack = list(node.meta.get("nn_module_stack", {}).values())
    if stack:
        path, _ = stack[-1]
        yield from path.split(".") if path else ()


def _definition(node: Node, name: str, names: dict[Node, str]) -> NodeDef:
    operation = getattr(node.target, "_opname", None) or node.op
    definition = NodeDef(
        name=name, op=operation, input=[names[of] for of in node.all_input_nodes if of in names]
    )
    value = node.meta.get("val")
    if isinstance(value, Tensor):
        shape = TensorShapeProto(dim=[TensorShapeProto.Dim(size=int(size)) for size in value.shape])
        definition.attr["_output_shapes"].CopyFrom(AttrValue(list=AttrValue.ListValue(shape=[shape])))
    return definition
