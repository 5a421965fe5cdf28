# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""The deployable graph as ONNX: one file, the same bytes for the same weights.

Opset 18: every runtime of today reads it, TensorRT since 10.0 and so every JetPack 6.
"""

import copy
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from diffpixel_core.deploy.graph import DeployGraph
from diffpixel_core.deploy.packages import ConversionError, needed, quiet

if TYPE_CHECKING:
    import onnx
    import onnx_ir

OPSET = 18
INPUTS = ('rgb', 'x')
OUTPUT = 'scores'
ANY_BATCH = 0
_LARGEST_OPSET = 20  # what TensorRT 10.0 to 10.8 reads at most
# Sums over channels or keys, which half precision would round at every step.
_IN_SINGLE = ('LayerNormalization', 'Softmax')


def to_onnx(graph: DeployGraph, frame: tuple[int, int], *, batch: int = 1, half: bool = False,
            opset: int = OPSET) -> bytes:
    """Return a checked ONNX file: `rgb` `(B, H, W, 3)` uint8, `x` `(B, H, W)` float32 -> `scores`.

    Args:
        graph: The graph, in eval mode, on the CPU; left as it is.
        frame: `(H, W)` of the camera images, pixels.
        batch: Frames in one run; 0 = any number.
        half: The network in float16; resizing, normalising, layer norms, softmaxes, the inputs
            and `scores` stay what they are.
        opset: 18 to 20.

    Raises:
        ConversionError: If the exporter is not installed, the opset not supported, or a weight
            overflows float16.
    """
    if not OPSET <= opset <= _LARGEST_OPSET:
        raise ConversionError(f'opset {opset} is not supported; use {OPSET} to {_LARGEST_OPSET}, '
                              'which every TensorRT 10 and 11 reads')
    with needed('onnx', extra='export'):
        import onnx
        import onnxscript  # noqa: F401  the exporter needs it, and would fail late without
    graph = _in_half(graph) if half else graph
    any_batch = batch == ANY_BATCH
    example = _example(2 if any_batch else batch, frame)
    shapes = tuple({0: torch.export.Dim('batch')} for _ in INPUTS) if any_batch else None
    with quiet('torch.onnx', 'onnxscript', 'onnx_ir'):
        program = torch.onnx.export(
            _FloatFirst(graph).eval(), example, dynamo=True, opset_version=opset, verbose=False,
            input_names=list(INPUTS), output_names=[OUTPUT], dynamic_shapes=shapes,
            optimize=False)
        assert program is not None
        _simplify(program.model)
        model = program.model_proto
    _forget_origins(model)
    if half:
        _sums_in_single(model)
    onnx.checker.check_model(model, full_check=True)
    onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def _example(batch: int, frame: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Return images to trace with; only their shapes matter."""
    return torch.zeros(batch, *frame, 3, dtype=torch.uint8), torch.ones(batch, *frame)


class _FloatFirst(nn.Module):
    """The graph, its colour made float before anything else: TensorRT's uint8 can only be cast."""

    def __init__(self, graph: DeployGraph) -> None:
        super().__init__()
        self.inner = graph  # not `graph`: an exported module has one of its own

    def forward(self, rgb: Tensor, x: Tensor) -> Tensor:
        scores: Tensor = self.inner(rgb.float(), x)
        return scores


class _HalfNetwork(nn.Module):
    """A network in float16 between images and scores of whatever type."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.half()

    def forward(self, rgb: Tensor, x: Tensor) -> Tensor:
        scores: Tensor = self.network(rgb.half(), x.half())
        return scores


def _in_half(graph: DeployGraph) -> DeployGraph:
    """Return a copy of the graph whose network computes in float16.

    Raises:
        ConversionError: If a weight is too large for that.
    """
    graph = copy.deepcopy(graph)
    graph.network = _HalfNetwork(graph.network)
    broken = [name for name, tensor in graph.network.state_dict().items()
              if tensor.is_floating_point() and not torch.isfinite(tensor).all()]
    if broken:
        raise ConversionError(f'these weights do not fit float16: {", ".join(broken[:5])}; use '
                              'fp32')
    return graph


def _simplify(model: 'onnx_ir.Model') -> None:
    """Fold constants and drop what is not needed, without the exporter's rewriting of patterns.

    One of its rules takes the reshapes around a product away wherever shapes allow it. With two
    frames in a batch they do, and a frame would be multiplied by the other modality's weights
    (onnxscript 0.7). Runtimes do what the other rules would.
    """
    import onnxscript.optimizer
    import onnxscript.rewriter
    from onnx_ir.passes import Sequential
    from onnx_ir.passes.common import (
        CommonSubexpressionEliminationPass,
        DeduplicateInitializersPass,
        InlinePass,
        LiftConstantsToInitializersPass,
        NameFixPass,
        OutputFixPass,
        RemoveUnusedNodesPass,
        RemoveUnusedOpsetsPass,
    )
    from onnxscript.rewriter.rules.common import mul_by_1_rule  # PyTorch's alpha and beta

    InlinePass()(model)
    onnxscript.optimizer.fold_constants(model, onnx_shape_inference=True)
    onnxscript.rewriter.rewrite(model, mul_by_1_rule.commute())
    Sequential(RemoveUnusedNodesPass(), RemoveUnusedOpsetsPass(),
               LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
               DeduplicateInitializersPass(), CommonSubexpressionEliminationPass(),
               RemoveUnusedNodesPass(), OutputFixPass(), NameFixPass())(model)


def _forget_origins(model: 'onnx.ModelProto') -> None:
    """Remove what the exporter notes about our files and lines: paths of this machine."""
    model.producer_name, model.doc_string = 'diffpixel', ''
    del model.metadata_props[:]
    model.graph.doc_string = ''
    for part in (model.graph, *model.graph.node, *model.graph.initializer, *model.graph.value_info,
                 *model.graph.input, *model.graph.output):
        part.doc_string = ''
        del part.metadata_props[:]


def _sums_in_single(model: 'onnx.ModelProto') -> None:
    """Let layer norms and softmaxes of float16 tensors compute in float32."""
    import onnx
    inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
    known = (*inferred.graph.value_info, *inferred.graph.input, *inferred.graph.output)
    types = {value.name: value.type.tensor_type.elem_type for value in known}
    types |= {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    nodes = list(model.graph.node)
    del model.graph.node[:]
    for node in nodes:
        if node.op_type not in _IN_SINGLE or types[node.input[0]] != onnx.TensorProto.FLOAT16:
            model.graph.node.append(node)
            continue
        assert len(node.output) == 1, 'only the normalised tensor is asked for'
        (output,) = node.output
        for i, name in enumerate(node.input):
            node.input[i] = f'{output}_single_{i}'
            model.graph.node.append(onnx.helper.make_node(
                'Cast', [name], [node.input[i]], f'{node.name}_single_{i}',
                to=onnx.TensorProto.FLOAT))
        node.output[0] = f'{output}_single'
        model.graph.node.append(node)
        model.graph.node.append(onnx.helper.make_node(
            'Cast', [node.output[0]], [output], f'{node.name}_half', to=onnx.TensorProto.FLOAT16))
    # Types noted for the old outputs hold still; those of the new ones are inferred.
