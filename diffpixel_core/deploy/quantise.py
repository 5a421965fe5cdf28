# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Products and convolutions in 8-bit integers: NNCF finds their ranges on calibration frames.

Two things decide about the result, both measured on `rooms_t` and real frames. The smoothing NNCF
does for transformers by default changes more labels than it saves, so it is off (on networks with
random weights it ruined most of them). And the convolution that sees the images stays as it is:
with it in int8, three times as many labels change. int8 remains an approximation: whoever makes it
measures its agreement before using it.
"""

import contextlib
import io
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from diffpixel_core.deploy.packages import ConversionError, needed, quiet, without_telemetry

if TYPE_CHECKING:
    import onnx
    import openvino

Sample = tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]
"""`(H, W, 3)` uint8 colour and `(H, W)` float32 of the second modality."""

FEWEST = 4  # frames; ranges of fewer are those of the scene, not of the network


def quantise_openvino(model: 'openvino.Model', samples: Sequence[Sample], *, batch: int = 1
                      ) -> 'openvino.Model':
    """Return an OpenVINO model with 8-bit products.

    Args:
        model: Of `to_openvino`.
        samples: Calibration frames, such as the robot will see.
        batch: Frames the model takes in one run; 0 = any number.

    Raises:
        ConversionError: If NNCF is not installed, or there are too few frames.
    """
    first = next((node.get_friendly_name() for node in model.get_ordered_ops()
                  if node.get_type_name() == 'Convolution'), None)
    return _quantised(model, samples, batch, first)


def quantise_onnx(graph: bytes, samples: Sequence[Sample], *, batch: int = 1) -> bytes:
    """Return an ONNX file with 8-bit products, as pairs of QuantizeLinear and DequantizeLinear.

    Symmetric and signed, as TensorRT demands, and one scale for each weight: ONNX Runtime takes
    no scale per channel where a weight is one per modality.

    Args:
        graph: Of `to_onnx`, in float32.
        samples: Calibration frames, such as the robot will see.
        batch: Frames the graph takes in one run; 0 = any number.

    Raises:
        ConversionError: If NNCF is not installed, or there are too few frames.
    """
    without_telemetry()
    with needed('onnx', extra='export'):
        import onnx
    with needed('nncf', extra='export'):
        from nncf.common.quantization.structs import QuantizationScheme
        from nncf.quantization.advanced_parameters import QuantizationParameters
    symmetric = QuantizationScheme.SYMMETRIC
    model = onnx.load_from_string(graph)
    first = next((node.name for node in model.graph.node if node.op_type == 'Conv'), None)
    model = _quantised(
        model, samples, batch, first,
        weights_quantization_params=QuantizationParameters(mode=symmetric, per_channel=False),
        activations_quantization_params=QuantizationParameters(mode=symmetric, per_channel=False))
    _all_signed(model)
    onnx.checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def _all_signed(model: 'onnx.ModelProto') -> None:
    """Make unsigned steps of what is never negative signed ones: 0..127 instead of 0..255."""
    import onnx
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    done = set()
    for node in model.graph.node:
        if node.op_type not in ('QuantizeLinear', 'DequantizeLinear'):
            continue
        scale, zero = tensors[node.input[1]], tensors[node.input[2]]
        if zero.data_type != onnx.TensorProto.UINT8 or zero.name in done:
            continue
        done.add(zero.name)
        assert not onnx.numpy_helper.to_array(zero).any(), 'symmetric'
        steps = onnx.numpy_helper.to_array(scale) * np.float32(255 / 127)
        scale.CopyFrom(onnx.numpy_helper.from_array(steps, scale.name))
        zero.CopyFrom(onnx.numpy_helper.from_array(np.zeros(steps.shape, np.int8), zero.name))
    del model.graph.value_info[:]  # noted types of the steps


def _quantised(model: Any, samples: Sequence[Sample], batch: int, left_alone: str | None,
               **parameters: Any) -> Any:
    """Return a quantised model of whatever kind; `left_alone` names the node that stays."""
    without_telemetry()
    with needed('nncf', extra='export'):
        import nncf
        from nncf.quantization.advanced_parameters import (
            AdvancedQuantizationParameters,
            AdvancedSmoothQuantParameters,
        )
    if len(samples) < FEWEST:
        raise ConversionError(f'int8 is calibrated on frames, and {len(samples)} are too few; give '
                              f'at least {FEWEST}, better 50')
    advanced = AdvancedQuantizationParameters(
        smooth_quant_alphas=AdvancedSmoothQuantParameters(matmul=-1, convolution=-1), **parameters)
    data = [{'rgb': np.repeat(rgb[None], batch or 1, axis=0),
             'x': np.repeat(x[None], batch or 1, axis=0)} for rgb, x in samples]
    with quiet('nncf', 'onnx', 'openvino'), _silent():
        return nncf.quantize(
            model, nncf.Dataset(data), model_type=nncf.ModelType.TRANSFORMER,
            subset_size=len(data), advanced_parameters=advanced,
            ignored_scope=nncf.IgnoredScope(names=[left_alone]) if left_alone else None)


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Keep NNCF's progress bars off standard output, where results belong."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield
