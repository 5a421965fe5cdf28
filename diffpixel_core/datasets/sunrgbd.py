# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""SUN RGB-D as its authors publish it: a folder for each scene, labels and splits in a toolbox.

`SUNRGBD/{kv1,kv2,realsense,xtion}/.../<scene>/{image,depth,depth_bfx}/` hold one image each; depth
is 16-bit millimetres rotated by 3 bits, `depth_bfx` is in-painted. Labels of all scenes are in
`SUNRGBDtoolbox/Metadata/SUNRGBD2Dseg.mat`; on first use they are written as PNG files beside the
toolbox. `SUNRGBDtoolbox/traintestSUNRGBD/allsplit.mat` says which scenes are for testing.

Source: S. Song et al., "SUN RGB-D", CVPR 2015; README and `readData/read3dPoints.m` of its toolbox.
"""

import logging
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from diffpixel_core.datasets.description import Description, FrameFiles, RawIds
from diffpixel_core.datasets.frames import DataError
from diffpixel_core.datasets.sunrgbd_toolbox import (
    ALLSPLIT,
    Toolbox,
    extract_labels,
    find_toolbox,
    read_splits,
)
from diffpixel_core.image_folder import IMAGE_SUFFIXES
from diffpixel_core.labels import UNLABELLED, load_label_space

logger = logging.getLogger(__name__)

CAMERAS = ('kv1', 'kv2', 'realsense', 'xtion')
FOLDERS = {'sunrgbd': 'kv1|kv2|realsense|xtion/ with scenes of image/ depth/ depth_bfx/ '
                      'intrinsics.txt'}


@dataclass(frozen=True, slots=True)
class Scene:
    """A scene on disk.

    Attributes:
        name: Its path from the camera's folder on, such as `kv1/b3dodata/img_0063`.
        folder: Where it is.
        camera: One of `CAMERAS`.
    """

    name: str
    folder: Path
    camera: str


def is_root(path: Path) -> bool:
    """Tell whether scenes lie there: in the cameras' folders, in `SUNRGBD/`, or loose."""
    return any(True for _ in _places(path))


def find_scenes(root: Path) -> list[Scene]:
    """Return the scenes below a root, by name."""
    scenes: list[Scene] = []
    for place in _places(root):
        if _is_scene(place):
            name = place.resolve().name if place == root else place.name
            scenes.append(Scene(name, place, _camera(name)))
            continue
        for base, inner, _ in os.walk(place, followlinks=True):
            if 'image' in inner and {'depth', 'depth_bfx'} & set(inner):
                inner.clear()
                folder = Path(base)
                scenes.append(Scene(f'{place.name}/{folder.relative_to(place).as_posix()}',
                                    folder, place.name))
    return sorted(scenes, key=lambda scene: scene.name)


def describe_scenes(root: Path, *, depth_unit: str | None = None, label_space: str | None = None,
                    raw_depth: bool = False) -> Description:
    """Return SUN RGB-D in its original folders; extracts the labels where that was not done yet.

    Without the toolbox's files there are no labels, or there is no split but 'all'.

    Args:
        root: The folder of the cameras' folders, or the one above; the toolbox lies in either.
        depth_unit: Unit of the depth images, if not 'sun'.
        label_space: Label space, if not 'sun37'.
        raw_depth: Take `depth`, with holes, instead of `depth_bfx`.

    Raises:
        DataError: If a scene lacks an image, a file of the toolbox is damaged, or labels cannot be
            written.
    """
    scenes = find_scenes(root)
    toolbox = find_toolbox(root)
    labels = extract_labels(toolbox, {scene.name: scene.folder for scene in scenes})
    frames = {scene.name: _files(scene, labels.get(scene.name), raw_depth=raw_depth)
              for scene in scenes}
    splits = ({'all': list(frames.values())} if toolbox.allsplit is None
              else _split(root, toolbox, frames))
    space = load_label_space(label_space or 'sun37')
    return Description('sunrgbd', 'sunrgbd', root, splits, depth_unit or 'sun', space,
                       RawIds(len(space), first=1, void=(0, UNLABELLED)))


def _split(root: Path, toolbox: Toolbox,
           frames: dict[str, FrameFiles]) -> dict[str, Sequence[FrameFiles]]:
    assert toolbox.allsplit is not None
    names = read_splits(toolbox.allsplit)
    known = {name for split in names.values() for name in split}
    stray = [name for name in frames if name not in known]
    if len(stray) == len(frames):
        raise DataError(f'{toolbox.allsplit} names none of the {len(frames)} scenes in {root}, '
                        f'{stray[0]!r} for example; keep the folders kv1/, kv2/, realsense/, '
                        f'xtion/ as they were, or remove {ALLSPLIT}')
    if stray or len(known) > len(frames):
        logger.warning('%s: %d of the %d scenes in %s are there; %d others, in no split, are left '
                       'out', root, len(frames) - len(stray), len(known), ALLSPLIT, len(stray))
    return {split: [frames[name] for name in rows if name in frames]
            for split, rows in names.items()}


def _places(root: Path) -> list[Path]:
    """Return the folders of the cameras at or below a root, or scenes that lie there loose."""
    for base in (root, root / 'SUNRGBD'):
        cameras = [base / camera for camera in CAMERAS if (base / camera).is_dir()]
        if cameras:
            return [camera for camera in cameras if _holds_scene(camera)]
    if _is_scene(root):
        return [root]
    return sorted(folder for folder in root.iterdir() if folder.is_dir() and _is_scene(folder))


def _holds_scene(folder: Path) -> bool:
    return any('image' in inner and {'depth', 'depth_bfx'} & set(inner)
               for _, inner, _ in os.walk(folder, followlinks=True))


def _is_scene(folder: Path) -> bool:
    return ((folder / 'image').is_dir() and (folder / 'intrinsics.txt').is_file()
            and ((folder / 'depth_bfx').is_dir() or (folder / 'extrinsics').is_dir()))


def _camera(name: str) -> str:
    """Return the camera in a loose scene's name, '' if it does not say."""
    found = re.match(rf'({"|".join(CAMERAS)})(?![a-z0-9])', name)
    return found[1] if found else ''


def _files(scene: Scene, label: Path | None, *, raw_depth: bool) -> FrameFiles:
    return FrameFiles(scene.name, _only_image(scene.folder / 'image'),
                      _only_image(scene.folder / ('depth' if raw_depth else 'depth_bfx')),
                      label, camera=scene.camera)


def _only_image(folder: Path) -> Path:
    try:
        found = [Path(entry) for entry in os.scandir(folder)
                 if not entry.name.startswith('.')
                 and os.path.splitext(entry.name)[1].lower() in IMAGE_SUFFIXES]
    except FileNotFoundError:
        found = []
    if len(found) != 1:
        raise DataError(f'{folder} holds {len(found)} images; a scene of SUN RGB-D has one there: '
                        'unpack it again')
    return found[0]
