# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Memory of one engine, in a process that holds nothing else.

`python -m diffpixel_core.bench.memory MODEL ENGINE ...` is that process, `measure_memory` starts
it. Counted from the moment everything is imported: how far above it the peak is after loading and a
few frames, and what is left after `close`.
"""

import argparse
import gc
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

from diffpixel_core.errors import DiffPixelError
from diffpixel_core.threads import let_waiting_threads_sleep

FRAMES = 3
_STATUS, _CLEAR = Path('/proc/self/status'), Path('/proc/self/clear_refs')
_RESET_PEAK = '5'
_RUNTIMES = ('openvino', 'onnxruntime', 'tensorrt')  # imported beforehand by engines of that name


class MemoryMeasureError(DiffPixelError):
    """A process whose memory could not be measured."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory of a process above its imports, MiB.

    Attributes:
        peak_mib: The most that was resident while loading and running.
        released_mib: What is left after `close`, without the pages of libraries' files, which the
            system can drop.
        device_mib: The most that torch held on a GPU; 0 on a CPU.
    """

    peak_mib: float
    released_mib: float
    device_mib: float


def measure_memory(model: Path, engine: str, *, cache: Path, frame: tuple[int, int], batch: int,
                   device: str, threads: int) -> Memory:
    """Return the memory of an engine, measured in a process of its own.

    Args:
        model: Model directory, or an exported engine.
        engine: Key of `contenders.NAMES`.
        cache: Folder of converted graphs, where its own already lies.
        frame: `(height, width)` of the frames, pixels.
        batch: Frames a call.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        threads: Of the CPU.

    Raises:
        MemoryMeasureError: If the process failed; with its last words.
    """
    command = [sys.executable, '-m', __name__, str(model), engine, '--cache', str(cache),
               '--frame', f'{frame[0]}x{frame[1]}', '--batch', str(batch), '--device', device,
               '--threads', str(threads)]
    paths = [str(Path(__file__).parents[2]), os.environ.get('PYTHONPATH', '')]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={
        **os.environ, 'PYTHONPATH': os.pathsep.join(filter(None, paths))})
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f'exit code {done.returncode}'])[-1]
        raise MemoryMeasureError(f'{engine}: {last}')
    return Memory(**json.loads(done.stdout.splitlines()[-1]))


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure this process; print the figures as JSON."""
    parser = argparse.ArgumentParser(prog='python -m diffpixel_core.bench.memory')
    parser.add_argument('model', type=Path)
    parser.add_argument('engine')
    parser.add_argument('--frame', required=True)
    parser.add_argument('--cache', type=Path, required=True)
    parser.add_argument('--batch', type=int, default=1)
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--threads', type=int, default=1)
    options = parser.parse_args(arguments)
    let_waiting_threads_sleep()
    import torch

    from diffpixel_core.bench import contenders
    from diffpixel_core.bench.frames import drawn_frames
    torch.set_num_threads(options.threads)
    for name in _RUNTIMES:
        if options.engine.startswith(name) and find_spec(name) is not None:
            importlib.import_module(name)
    height, width = map(int, options.frame.split('x'))
    frames = drawn_frames(FRAMES, (height, width), modality='depth', seed=0)
    try:
        before, own = _mib('VmRSS'), _mib('RssAnon')
        _CLEAR.write_text(_RESET_PEAK)
        # Unfilled: filling the baseline takes more memory than running it.
        contender = contenders.open_contender(options.engine, options.model,
                                              device=options.device, cache=options.cache,
                                              filled=False)
        for frame in frames:
            if options.batch == 1:
                contender.tail(contender.scores(frame.rgb, frame.x), frame.x.shape)
            else:
                contender.scores(*contenders.stacked([frame] * options.batch))
        peak = _mib('VmHWM') - before
        contender.close()
        gc.collect()
        after = _mib('RssAnon') - own
    except (DiffPixelError, OSError) as error:
        print(' '.join(str(error).split()), file=sys.stderr)
        return 2
    device = torch.cuda.max_memory_reserved() / 2 ** 20 if torch.cuda.is_initialized() else 0.0
    print(json.dumps(asdict(Memory(round(peak, 1), round(after, 1), round(device, 1)))))
    return 0


def _mib(row: str) -> float:
    """Return one row of this process's status, MiB."""
    rows = dict(line.split(':', 1) for line in _STATUS.read_text().splitlines())
    return int(rows[row].split()[0]) / 1024


if __name__ == '__main__':
    sys.exit(main())
