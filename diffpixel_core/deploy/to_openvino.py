# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""The deployable graph for OpenVINO, straight from PyTorch."""

from typing import TYPE_CHECKING

import torch

from diffpixel_core.deploy.graph import DeployGraph
from diffpixel_core.deploy.packages import needed, quiet, without_telemetry
from diffpixel_core.deploy.to_onnx import ANY_BATCH, INPUTS, OUTPUT

if TYPE_CHECKING:
    import openvino


def to_openvino(graph: DeployGraph, frame: tuple[int, int], *, batch: int = 1
                ) -> 'openvino.Model':
    """Return an OpenVINO model: `rgb` `(B, H, W, 3)` uint8, `x` `(B, H, W)` float32 -> `scores`.

    Its weights are float32. In which precision it computes is said when it is compiled
    (`INFERENCE_PRECISION_HINT`); OpenVINO's own choice is bfloat16 where the CPU has it.

    Args:
        graph: The graph, in eval mode, on the CPU.
        frame: `(H, W)` of the camera images, pixels.
        batch: Frames in one run; 0 = any number.

    Raises:
        ConversionError: If OpenVINO is not installed.
    """
    without_telemetry()
    with needed('openvino', extra='engines'):
        import openvino
        from openvino.passes import ConstantFolding, Manager
    any_batch = batch == ANY_BATCH
    count = 2 if any_batch else batch
    example = torch.zeros(count, *frame, 3, dtype=torch.uint8), torch.ones(count, *frame)
    shapes = [[-1 if any_batch else count, *image.shape[1:]] for image in example]
    with quiet('openvino', 'torch'), torch.no_grad():
        model = openvino.convert_model(graph, example_input=example, input=shapes)
    for port, name in zip((*model.inputs, model.output()), (*INPUTS, OUTPUT), strict=True):
        port.set_names({name})
    folding = Manager()
    folding.register_pass(ConstantFolding())
    folding.run_passes(model)
    model.validate_nodes_and_infer_types()
    return model
