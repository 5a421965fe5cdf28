# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""The process that converts a graph for `engines.converted`: `python -m` this file, and a task.

What it writes has computed one frame as the network does as it was trained, or is not kept: a
converter that miscalculates is found here, not on a robot.
"""

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

from diffpixel_core.artefacts import ArtefactError, EngineRecord, seal, whole_folder
from diffpixel_core.checkpoints import load_model
from diffpixel_core.deploy import DeployGraph, fold, network_size
from diffpixel_core.deploy.to_onnx import to_onnx
from diffpixel_core.deploy.to_openvino import to_openvino
from diffpixel_core.engines.converted import REFUSED, UNWRITABLE, Conversion
from diffpixel_core.engines.engine import EngineError
from diffpixel_core.engines.onnxruntime_engine import OnnxruntimeEngine
from diffpixel_core.engines.openvino_engine import OpenvinoEngine
from diffpixel_core.engines.verifying import require_same_scores
from diffpixel_core.errors import DiffPixelError

# By `Conversion.half`: the largest error of all scores together, as a share of them. Rounding makes
# 1e-6 and 1e-3 of it.
_TOLERANCE = {False: 1e-4, True: 2e-2}


def main(task: str) -> int:
    """Write what a task asks for, and return the exit code; an error is the last line said."""
    rows = json.loads(task)
    try:
        _convert(Path(rows['model']), rows['settings'], Path(rows['folder']))
    except DiffPixelError as error:
        print(error, file=sys.stderr)
        return UNWRITABLE if isinstance(error, ArtefactError) else REFUSED
    return 0


def _convert(path: Path, settings: dict[str, Any], folder: Path) -> None:
    """Write the artefact; `settings` are those of a `Conversion`."""
    model, manifest = load_model(path)
    height, width = settings['frame']
    found = Conversion(path, manifest, settings['format'], (height, width), settings['batch'],
                       settings['half'])
    if found.settings != settings:
        raise EngineError(f'{path}, or this program, was changed since the model was loaded; load '
                          'it again')
    size = network_size((height, width), manifest.input_size)
    graph = DeployGraph(fold(model), manifest.normalisation, size).eval()
    precision = 'fp16' if settings['half'] and settings['format'] == 'onnx' else 'fp32'
    with whole_folder(folder) as part:
        if settings['format'] == 'onnx':
            (part / 'model.onnx').write_bytes(to_onnx(
                graph, (height, width), batch=settings['batch'], half=settings['half']))
        else:
            import openvino

            openvino.save_model(to_openvino(graph, (height, width), batch=settings['batch']),
                                part / 'model.xml', compress_to_fp16=settings['half'])
        seal(part, EngineRecord(
            format=settings['format'], precision=precision,
            frame_size=(height, width), network_size=size, batch=settings['batch'],
            weights_sha256=manifest.weights_sha256, settings=settings,
            made_with=settings['packages']), manifest)
        # ONNX for TensorRT may be made where there is nothing on the CPU to run it with.
        if settings['format'] == 'openvino' or importlib.util.find_spec('onnxruntime'):
            engine = (OpenvinoEngine if settings['format'] == 'openvino' else OnnxruntimeEngine)(
                part, 'cpu', precision)
            require_same_scores(engine.scores, model, manifest,
                                (settings['batch'], height, width), name=engine.name,
                                tolerance=_TOLERANCE[settings['half']])
            engine.close()


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:]))
