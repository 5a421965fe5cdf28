# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""The process that converts a graph for `engines.converted`: `python -m` this file, and a task."""

import json
import sys
from pathlib import Path
from typing import Any

from diffpixel_core.artefacts import ArtefactError, EngineRecord, seal, whole_folder
from diffpixel_core.checkpoints import load_model
from diffpixel_core.deploy import DeployGraph, fold, network_size
from diffpixel_core.deploy.to_onnx import to_onnx
from diffpixel_core.deploy.to_openvino import to_openvino
from diffpixel_core.engines.converted import REFUSED, UNWRITABLE, Conversion, with_hash
from diffpixel_core.engines.engine import EngineError
from diffpixel_core.errors import DiffPixelError


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
    manifest = with_hash(path, manifest)
    height, width = settings['frame']
    found = Conversion(path, manifest, settings['format'], (height, width), settings['batch'],
                       settings['half'])
    if found.settings != settings:
        raise EngineError(f'{path}, or this program, was changed since the model was loaded; load '
                          'it again')
    size = network_size((height, width), manifest.input_size)
    graph = DeployGraph(fold(model), manifest.normalisation, size).eval()
    with whole_folder(folder) as part:
        if settings['format'] == 'onnx':
            (part / 'model.onnx').write_bytes(to_onnx(
                graph, (height, width), batch=settings['batch'], half=settings['half']))
        else:
            import openvino

            openvino.save_model(to_openvino(graph, (height, width), batch=settings['batch']),
                                part / 'model.xml', compress_to_fp16=False)
        seal(part, EngineRecord(
            format=settings['format'], precision='fp16' if settings['half'] else 'fp32',
            frame_size=(height, width), network_size=size, batch=settings['batch'],
            weights_sha256=manifest.weights_sha256, settings=settings,
            made_with=settings['packages']), manifest)


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:]))
