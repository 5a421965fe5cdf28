# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Tensors out of foreign files: safetensors, and pickles read without running what is in them."""

import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from diffpixel_core.converters.tensors import ConvertError

WRAPPERS = ('segmenter', 'state_dict', 'model')
"""Entries under which training codes keep the weights: DiffPixelFormer and Gemini, mm*, Swin."""

# Older ones have known holes in `weights_only`.
_SAFE_TORCH = (2, 10)

# Training codes save their best score as a NumPy number; these make one and nothing else.
_SCALAR = np.float64(0).__reduce__()[0]
_SCALARS: list[Any] = [
    np.dtype, *(type(np.dtype(kind)) for kind in ('f4', 'f8', 'i4', 'i8', '?')),
    *((_SCALAR, f'numpy.{core}.multiarray.scalar') for core in ('core', '_core'))]


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """Return a foreign file's tensors by name; see `read_file`."""
    return read_file(path)[0]


def read_file(path: str | Path) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Return a foreign file's tensors by name, and the names of entries beside them.

    What training codes wrap around the weights is taken off: an outer entry (`WRAPPERS`) and the
    "module." of data-parallel training. Nothing in a pickle is executed.

    Args:
        path: `.safetensors`, or a file of `torch.save` (`.pth`, `.pth.tar`, `.bin`, `.ckpt`).

    Raises:
        ConvertError: If the file is missing, damaged, holds code, or holds no tensors.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise ConvertError(f'no file at {path}; give a .safetensors file or one of torch.save')
    content, others = _unwrapped(_read(path))
    strangers = [key for key in content if not isinstance(key, str)]
    if strangers:
        raise ConvertError(f'{path} holds entries that are not named by text, such as '
                           f'{strangers[0]!r}; it should hold a dict of tensors by name')
    tensors = {key: value for key, value in content.items() if isinstance(value, Tensor)}
    others += tuple(key for key in content if key not in tensors)
    if not tensors:
        raise ConvertError(f'{path} holds no weights: its entries are '
                           f'{", ".join(map(str, list(content)[:10])) or "none"}; give a state '
                           f'dict, bare or under one of {", ".join(WRAPPERS)}')
    while all(key.startswith('module.') for key in tensors):
        tensors = {key.removeprefix('module.'): value for key, value in tensors.items()}
    return tensors, others


def _unwrapped(content: Mapping[str, Any]) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    for name in WRAPPERS:
        inner = content.get(name)
        if isinstance(inner, Mapping):
            return inner, tuple(key for key in content if key != name)
    return content, ()


def _read(path: Path) -> Mapping[str, Any]:
    with path.open('rb') as file:
        start = file.read(40)
    if start.startswith(b'version https://git-lfs'):
        raise ConvertError(f'{path} is a pointer of git-LFS, not the file it points to; run '
                           '`git lfs pull`, or download it again')
    # A safetensors file starts with the length of its header, then the header's brace.
    if path.suffix == '.safetensors' or (start[8:9] == b'{' and not zipfile.is_zipfile(path)):
        try:
            return safetensors.torch.load_file(path)
        except Exception as error:  # damaged files raise what they like
            raise ConvertError(f'{path} is a damaged safetensors file ({_line(error)}); download '
                               'it again') from error
    if _version(torch.__version__) < _SAFE_TORCH:
        raise ConvertError(f'{path} is a pickle, and torch {torch.__version__} can be made to run '
                           'code in pickles (CVE-2025-32434, CVE-2026-24747); update torch to '
                           f'{".".join(map(str, _SAFE_TORCH))} or newer, or take a safetensors '
                           'file')
    try:
        with torch.serialization.safe_globals(_SCALARS), warnings.catch_warnings():
            warnings.simplefilter('ignore')  # about protocols: a refusal says what matters
            content = torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:  # damaged files raise what they like
        call = re.search(r'GLOBAL ([\w.]+)', str(error))
        if call is None and not (isinstance(error, RuntimeError) and 'TorchScript' in str(error)):
            raise ConvertError(f'{path} is no file of torch.save, or a damaged one '
                               f'({_line(error)}); download it again') from error
        what = call[1] if call else 'TorchScript'
        raise ConvertError(f'{path} is refused, nothing in it was executed: it holds more than '
                           f'tensors and plain values ({what}). Ask its publisher for a '
                           'safetensors file, or save its state dict alone') from error
    if not isinstance(content, Mapping):
        raise ConvertError(f'{path} holds a {type(content).__name__}, it should hold a dict of '
                           'tensors by name')
    return content


def _line(error: Exception) -> str:
    text = str(error).split('WeightsUnpickler error:')[-1].split('Check the documentation')[0]
    return ' '.join(text.split())[:200] or type(error).__name__


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r'\d+', text)[:2])
