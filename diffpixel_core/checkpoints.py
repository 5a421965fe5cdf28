# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Models on disk: weights as safetensors, everything else in a manifest beside them.

A model is a directory with `model.safetensors` and `model.json`. Nothing is unpickled, and
nothing is loaded that does not fit to the last tensor.
"""

import dataclasses
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import file_digest, sha256
from importlib import resources
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from diffpixel_core.artefacts import RECORD_FILE
from diffpixel_core.errors import DiffPixelError
from diffpixel_core.labels import LabelSpace, load_label_space, own_label_space
from diffpixel_core.modalities import MODALITIES, normalisation
from diffpixel_core.models import MODELS, build_model
from diffpixel_core.whole_file import write_whole

MANIFEST_VERSION = 1
WEIGHTS_FILE = 'model.safetensors'
MANIFEST_FILE = 'model.json'


class CheckpointError(DiffPixelError):
    """A model file that is missing, damaged, or does not fit."""


@dataclass(frozen=True)
class Manifest:
    """What one needs to know to run a set of weights.

    Attributes:
        model: Key of `models.MODELS`; it also says which fusion the weights were trained with.
        label_space: Name of the label space the head predicts.
        label_classes: Its classes, `name`, `rgb` and `group` each, where it is none of those that
            come with the program.
        modalities: Names of the two inputs, colour first.
        input_size: `(height, width)` in pixels the network was trained at.
        normalisation: For each modality its unit, maximum, mean and std.
        metrics: Figures measured on held-out data, with the protocol.
        provenance: Where the weights come from: data, steps, commit, settings.
        weights_sha256: Hash of the weights file; filled in when saving.
        version: Layout of this file.
    """

    model: str
    label_space: str
    label_classes: tuple[dict[str, Any], ...] = ()
    modalities: tuple[str, str] = ('rgb', 'depth')
    input_size: tuple[int, int] = (480, 640)
    normalisation: dict[str, dict[str, Any]] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    weights_sha256: str = ''
    version: int = MANIFEST_VERSION

    def __post_init__(self) -> None:
        """Reject a manifest that contradicts itself; fill in the default normalisation."""
        if self.version != MANIFEST_VERSION:
            raise CheckpointError(f'manifest version {self.version} is not the one this program '
                                  f'reads ({MANIFEST_VERSION}); update diffpixel or convert again')
        if self.model not in MODELS:
            raise CheckpointError(f'manifest names the model {self.model!r}, which does not exist; '
                                  f'known: {", ".join(MODELS)}')
        unknown = [name for name in self.modalities if name not in MODALITIES]
        if unknown:
            raise CheckpointError(f'manifest names unknown modalities {unknown}; '
                                  f'known: {", ".join(MODALITIES)}')
        _ = self.space  # raises if there is none
        if len(self.modalities) != 2 or len(self.input_size) != 2 or not all(
                isinstance(side, int) and side >= 32 for side in self.input_size):
            raise CheckpointError(f'manifest has modalities {self.modalities} and input_size '
                                  f'{self.input_size}; give two modalities, colour first, and '
                                  '[height, width], at least 32 pixels each')
        if not self.normalisation:
            object.__setattr__(self, 'normalisation', normalisation(self.modalities))
        wanted = {name: set(row) for name, row in normalisation(self.modalities).items()}
        found = {name: set(row) for name, row in self.normalisation.items()}
        if found != wanted or list(found) != list(wanted):
            raise CheckpointError(f'manifest normalises {found}; give for each of '
                                  f'{", ".join(wanted)}, in this order, '
                                  f'{", ".join(sorted(wanted[self.modalities[0]]))}')

    @cached_property
    def space(self) -> LabelSpace:
        """The label space the head predicts."""
        if self.label_classes:
            return own_label_space(self.label_space, self.label_classes)
        return load_label_space(self.label_space)

    @property
    def classes(self) -> int:
        """Number of classes the head predicts."""
        return len(self.space)


def shipped_models() -> dict[str, Path]:
    """Return the directories of the models that came with the package, by name."""
    root = Path(str(resources.files('diffpixel_core').joinpath('weights')))
    return {path.parent.name: path.parent for path in sorted(root.glob(f'*/{MANIFEST_FILE}'))}


def find_model(path: str | Path) -> Path:
    """Return the model directory a user means: a directory, its weights file or a shipped name.

    Raises:
        CheckpointError: If there is no such model.
    """
    shipped = shipped_models()
    if str(path) in shipped:
        return shipped[str(path)]
    given = Path(path).expanduser()
    directory = given.parent if given.name in (WEIGHTS_FILE, MANIFEST_FILE) else given
    if not directory.is_dir():
        names = ', '.join(shipped) or 'there is none'
        raise CheckpointError(f'no model at {given}; give a directory with {WEIGHTS_FILE} and '
                              f'{MANIFEST_FILE}, or the name of a shipped model: {names}')
    if (directory / RECORD_FILE).is_file() and not (directory / WEIGHTS_FILE).is_file():
        raise CheckpointError(f'{directory} is an exported engine; give the model it was made of')
    for name in (WEIGHTS_FILE, MANIFEST_FILE):
        if not (directory / name).is_file():
            raise CheckpointError(f'{directory} has no {name}; a model is a directory with both '
                                  f'{WEIGHTS_FILE} and {MANIFEST_FILE}')
    return directory


def read_manifest(path: str | Path) -> Manifest:
    """Return the manifest of a model.

    Raises:
        CheckpointError: If it is missing, no JSON, or has unknown or missing keys.
    """
    file = find_model(path) / MANIFEST_FILE
    try:
        rows = json.loads(file.read_text())
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CheckpointError(f'{file} cannot be read as JSON ({error}); copy the model again') \
            from error
    known = {row.name for row in dataclasses.fields(Manifest)}
    required = {'model', 'label_space'}
    if not isinstance(rows, dict) or set(rows) - known or required - set(rows):
        found = sorted(rows) if isinstance(rows, dict) else type(rows).__name__
        raise CheckpointError(f'{file} is no manifest: it has {found}, it should have '
                              f'{sorted(required)} and may have {sorted(known - required)}')
    for name in ('modalities', 'input_size', 'label_classes'):
        if name in rows:
            if not isinstance(rows[name], list):
                raise CheckpointError(f'{file} has {name} {rows[name]!r}; it should be a list')
            rows[name] = tuple(rows[name])
    return Manifest(**rows)


def require_same_tensors(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], *,
                         name: str, remedy: str = 'Use the model and label space it was trained '
                         'with') -> None:
    """Check that two state dicts have the same keys and shapes.

    Raises:
        CheckpointError: Naming every missing, unexpected and differently shaped tensor.
    """
    faults = [f'missing: {key}' for key in wanted if key not in found]
    faults += [f'unexpected: {key}' for key in found if key not in wanted]
    faults += [f'{key} is {tuple(found[key].shape)}, should be {tuple(tensor.shape)}'
               for key, tensor in wanted.items()
               if key in found and found[key].shape != tensor.shape]
    if faults:
        raise CheckpointError(f'{name} does not fit the model: ' + '; '.join(faults)
                              + f'. {remedy}')


def load_model(path: str | Path) -> tuple[nn.Module, Manifest]:
    """Return a model in eval mode, float32 on the CPU, and its manifest, with the weights' hash.

    Args:
        path: A model directory, its weights file or the name of a shipped model.

    Raises:
        CheckpointError: If anything is missing, damaged, or does not fit to the last tensor.
    """
    directory = find_model(path)
    file = directory / WEIGHTS_FILE
    content = file.read_bytes()
    manifest = _with_hash(read_manifest(directory), file, sha256(content).hexdigest())
    with _reading(file):
        tensors = safetensors.torch.load(content)
    del content  # before there is a third copy of the weights
    model = build_model(manifest.model, classes=manifest.classes)
    require_same_tensors(tensors, model.state_dict(), name=str(file))
    model.load_state_dict(tensors)  # strict; floats are widened to float32
    return model.eval(), manifest


def check_model(path: str | Path) -> tuple[Path, Manifest]:
    """Return a model's directory and manifest, after all checks of `load_model`, for less memory.

    Args:
        path: As for `load_model`.

    Raises:
        CheckpointError: As `load_model`.
    """
    directory = find_model(path).resolve()
    file = directory / WEIGHTS_FILE
    with file.open('rb') as stream:
        digest = file_digest(stream, 'sha256').hexdigest()
    manifest = _with_hash(read_manifest(directory), file, digest)
    with _reading(file), safetensors.safe_open(file, framework='pt') as weights:
        found = {key: torch.empty(weights.get_slice(key).get_shape(), device='meta')
                 for key in weights.keys()}  # noqa: SIM118 - no mapping
    # On the device meta, building it would import 150 MiB of PyTorch.
    wanted = build_model(manifest.model, classes=manifest.classes).state_dict()
    require_same_tensors(found, wanted, name=str(file))
    return directory, manifest


def _with_hash(manifest: Manifest, file: Path, digest: str) -> Manifest:
    """Return a manifest that knows its weights' hash, which an older one need not.

    Raises:
        CheckpointError: If it knows another.
    """
    if manifest.weights_sha256 and digest != manifest.weights_sha256:
        raise CheckpointError(f'{file} has hash {digest[:12]}..., its manifest says '
                              f'{manifest.weights_sha256[:12]}...; the file was changed or cut '
                              'short: copy the model again')
    return dataclasses.replace(manifest, weights_sha256=digest)


@contextmanager
def _reading(file: Path) -> Iterator[None]:
    try:
        yield
    except safetensors.SafetensorError as error:
        raise CheckpointError(f'{file} is no safetensors file ({error}); copy the model again') \
            from error


def save_model(directory: str | Path, model: nn.Module, manifest: Manifest, *,
               half: bool = False) -> Path:
    """Write a model directory, each file whole or not at all.

    Args:
        directory: Where to; created if need be, an older model in it is replaced.
        model: The network; its weights are checked against the model the manifest names.
        manifest: What to write beside it; its hash is filled in.
        half: Store floating-point tensors as float16.

    Returns:
        The directory.

    Raises:
        CheckpointError: If the weights are not those of the manifest's model, or not finite.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    with torch.device('meta'):  # shapes only; draws no random numbers from a run that goes on
        wanted = build_model(manifest.model, classes=manifest.classes).state_dict()
    state = model.state_dict()
    require_same_tensors(state, wanted, name='the model in memory')
    tensors = {key: (tensor.half() if half and tensor.is_floating_point() else tensor)
               .detach().cpu().contiguous() for key, tensor in state.items()}
    broken = [key for key, tensor in tensors.items() if not torch.isfinite(tensor).all()]
    if broken:
        raise CheckpointError(f'these weights are not finite: {", ".join(broken[:5])}; the '
                              'training diverged' + (' or overflows float16' if half else ''))
    content = safetensors.torch.save(tensors)
    manifest = dataclasses.replace(manifest, weights_sha256=sha256(content).hexdigest())
    write_whole(directory / WEIGHTS_FILE, content)
    text = json.dumps(dataclasses.asdict(manifest), indent=2) + '\n'
    write_whole(directory / MANIFEST_FILE, text)
    return directory
