# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Folders of RGB-D images: which files belong together, and what is in them.

Three ways of naming are read: `X.color.png` + `X.depth.png` (7-Scenes, 3DMatch, our generator),
`X-color.png` + `X-depth.png` (RealSense tools), and `rgb/X.png` + `depth/X.png` (NYUv2 exports,
SUN RGB-D). Labels are optional.
"""

import io
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from diffpixel_core.depth import DepthError, depth_in_metres, picture_steps, require_unit
from diffpixel_core.errors import DiffPixelError
from diffpixel_core.geometry import Camera, CameraError

_COLOUR_FOLDERS = ('rgb', 'color', 'colour', 'image')
_LABEL_FOLDERS = ('label', 'labels')
_COLOUR_SUFFIXES = ('.png', '.jpg', '.jpeg', '.bmp', '.ppm')
_DEPTH_SUFFIXES = ('.png', '.tif', '.tiff', '.npy')  # the last three hold float metres too
IMAGE_SUFFIXES = tuple(dict.fromkeys(_COLOUR_SUFFIXES + _DEPTH_SUFFIXES))
_LOOKED_FOR = ("'X.color.png' (or .jpg) + 'X.depth.png', 'X-color.png' + 'X-depth.png', "
               "'rgb|color|image/X.png' + 'depth/X.png'")


class ImageFolderError(DiffPixelError):
    """A folder of images that is incomplete, damaged or not what it was said to be."""


@dataclass(frozen=True, slots=True)
class RgbdFile:
    """The files of one frame.

    Attributes:
        name: What the names of its files have in common, such as `000017`.
        colour: The colour image.
        depth: The depth image.
        label: The label image, or None.
        pose: The text file with the camera's pose, or None.
    """

    name: str
    colour: Path
    depth: Path
    label: Path | None = None
    pose: Path | None = None


def holds_frames(folder: Path) -> bool:
    """Tell whether `find_frames` would find something there, complete or not."""
    if not folder.is_dir():
        return False
    for separator in ('.', '-'):
        if (_by_name(folder, f'{separator}color', _COLOUR_SUFFIXES)
                or _by_name(folder, f'{separator}depth', _DEPTH_SUFFIXES)):
            return True
    colour_folder = _first_folder(folder, _COLOUR_FOLDERS)
    return (colour_folder is not None and (folder / 'depth').is_dir()
            and bool(_by_name(colour_folder, '', _COLOUR_SUFFIXES)
                     or _by_name(folder / 'depth', '', _DEPTH_SUFFIXES)))


def find_frames(folder: Path) -> list[RgbdFile]:
    """Return the frames of a folder in natural order (`frame2` before `frame10`).

    Raises:
        ImageFolderError: If there is no such folder, no frame in it, or a frame lacks its colour
            or its depth image.
    """
    if not folder.is_dir():
        what = 'is a file' if folder.exists() else 'does not exist'
        raise ImageFolderError(f'image folder {folder} {what}; give a folder that holds '
                               f'{_LOOKED_FOR}')
    for separator in ('.', '-'):
        colours = _by_name(folder, f'{separator}color', _COLOUR_SUFFIXES)
        depths = _by_name(folder, f'{separator}depth', _DEPTH_SUFFIXES)
        if colours or depths:
            labels = _by_name(folder, f'{separator}label', ('.png',))
            poses = _by_name(folder, f'{separator}pose', ('.txt',))
            return _joined(folder, colours, depths, labels, poses)
    colour_folder = _first_folder(folder, _COLOUR_FOLDERS)
    if colour_folder and (folder / 'depth').is_dir():
        label_folder = _first_folder(folder, _LABEL_FOLDERS)
        colours = _by_name(colour_folder, '', _COLOUR_SUFFIXES)
        depths = _by_name(folder / 'depth', '', _DEPTH_SUFFIXES)
        labels = _by_name(label_folder, '', ('.png',)) if label_folder else {}
        if colours or depths:
            return _joined(folder, colours, depths, labels, {})
    present = sorted(path.name + '/' * path.is_dir() for path in folder.iterdir())
    there = ', '.join(present[:5]) + ', ...' * (len(present) > 5) if present else 'nothing'
    raise ImageFolderError(f'{folder} holds no RGB-D frames: looked for {_LOOKED_FOR}, '
                           f'found {there}')


def load_pair(file: RgbdFile, unit: str) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
    """Return colour and depth of a frame, which are of one size.

    Args:
        file: The frame, from `find_frames`.
        unit: Unit of the depth image, one of `depth.DEPTH_UNITS`.

    Returns:
        `(H, W, 3)` uint8 RGB and `(H, W)` float32 metres, 0 = not measured.

    Raises:
        ImageFolderError: If an image is damaged, not of the declared unit, or the sizes differ.
    """
    rgb, depth_m = read_colour(file.colour), read_depth(file.depth, unit)
    if rgb.shape[:2] != depth_m.shape:
        raise ImageFolderError(f'depth {file.depth} has {_size(depth_m)} pixels but colour '
                               f'{file.colour.name} has {_size(rgb)}; register the depth to the '
                               'colour camera first')
    return rgb, depth_m


def read_colour(path: Path) -> npt.NDArray[np.uint8]:
    """Return an image as `(H, W, 3)` uint8 RGB; a grey one three times.

    Raises:
        ImageFolderError: If the file is missing or damaged.
    """
    # Depth knows no EXIF orientation: colour turned by it would no longer lie on the depth.
    bgr = decode(read_bytes(path), path, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)


def read_depth(path: Path, unit: str) -> npt.NDArray[np.float32]:
    """Return a depth image as `(H, W)` float32 metres, 0 = not measured.

    Args:
        path: As for `read_raw_depth`.
        unit: One of `depth.READABLE_UNITS`.

    Raises:
        ImageFolderError: If the file is missing, damaged, or not of this unit.
    """
    return depth_in_metres(read_raw_depth(path, unit), unit)


def read_raw_depth(path: Path, unit: str) -> npt.NDArray[Any]:
    """Return a depth image as stored, `(H, W)`, once it is known to be of its unit.

    Args:
        path: A PNG (16 bit; 8 bit for `relative`), TIFF (16 bit or float) or NumPy file.
        unit: One of `depth.READABLE_UNITS`; for `relative`, what `depth.picture_steps` makes.

    Raises:
        ImageFolderError: If the file is missing, damaged, or not of this unit.
    """
    raw = _stored(path)
    try:
        if unit == 'relative':
            raw = picture_steps(raw)
        require_unit(raw, unit)
    except DepthError as error:
        raise ImageFolderError(f'{path}: {error}') from error
    return raw


def stored_type(path: Path) -> str:
    """Return the type of the values in an image file: 'uint8', 'uint16', 'float32', ...

    Raises:
        ImageFolderError: If the file is missing or damaged, a PNG only where its header is.
    """
    data = read_bytes(path)
    if data.startswith(b'\x89PNG') and len(data) > 24:
        return 'uint16' if data[24] == 16 else 'uint8'  # bits of a channel
    return str(_stored(path).dtype)


def read_label(path: Path) -> npt.NDArray[np.uint8]:
    """Return a label image as stored: `(H, W)` uint8 class ids, 255 = unlabelled.

    Raises:
        ImageFolderError: If the file is missing, damaged, or not one channel of 8 bits.
    """
    labels = decode(read_bytes(path), path, cv2.IMREAD_UNCHANGED)
    if labels.ndim != 2 or labels.dtype != np.uint8:
        raise ImageFolderError(f'label image {path} is {labels.dtype} of shape {labels.shape}; '
                               'it must be one channel of 8-bit class ids')
    return np.asarray(labels, np.uint8)


def read_pose(path: Path) -> npt.NDArray[np.float64]:
    """Return the `(4, 4)` camera-to-world matrix in a text file: metres, OpenCV camera axes.

    Raises:
        ImageFolderError: If the file is missing or holds no rigid motion.
    """
    pose = _numbers(path, 16).reshape(4, 4)
    rotation = pose[:3, :3]
    # Public poses carry six digits or come from float32 solvers; a percent tells typos from these.
    rigid = (np.allclose(rotation @ rotation.T, np.eye(3), atol=0.01)
             and np.linalg.det(rotation) > 0 and np.allclose(pose[3], (0, 0, 0, 1), atol=1e-6))
    if not rigid:
        raise ImageFolderError(f'{path} is no camera pose; it must be a 4x4 matrix of a rotation, '
                               'a translation in metres and the last row 0 0 0 1')
    return pose


def read_camera(folder: Path, *, width: int, height: int) -> Camera | None:
    """Return the camera of a folder's images, or None if none is described.

    Read are, the first that exists: `camera.json` (ours), `camera_params.json` (RealSense tools),
    `camera-intrinsics.txt` and `intrinsics.txt` (nine numbers of K, row by row).

    Args:
        folder: The image folder.
        width: Width of its images, pixels.
        height: Height of its images, pixels.

    Raises:
        ImageFolderError: If the description is damaged or of images of another size.
    """
    readers: dict[str, Callable[[Path], Camera]] = {
        'camera.json': lambda path: Camera(**_json(path, Camera.__dataclass_fields__)),
        'camera_params.json': _realsense_camera,
        'camera-intrinsics.txt': lambda path: _matrix_camera(path, width, height),
        'intrinsics.txt': lambda path: _matrix_camera(path, width, height),
    }
    for name, read in readers.items():
        path = folder / name
        if not path.is_file():
            continue
        try:
            camera = read(path)
        except (CameraError, TypeError) as error:
            raise ImageFolderError(f'{path} describes no camera: {error}') from error
        if (camera.width, camera.height) != (width, height):
            raise ImageFolderError(f'{path} describes images of {camera.width}x{camera.height} '
                                   f'pixels but those in {folder} have {width}x{height}; correct '
                                   'or remove it')
        return camera
    return None


def write_camera(folder: Path, camera: Camera) -> None:
    """Leave `camera.json` in a folder that exists, for `read_camera`."""
    (folder / 'camera.json').write_text(json.dumps(asdict(camera), indent=2) + '\n')


def _by_name(folder: Path, ending: str, suffixes: Iterable[str]) -> dict[str, Path]:
    """Return the files whose name is `X`, `ending` and one of the suffixes, keyed by X."""
    suffixes = tuple(suffixes)
    return {path.stem.removesuffix(ending): path for path in folder.iterdir()
            if path.suffix.lower() in suffixes and path.stem.endswith(ending)
            and len(path.stem) > len(ending) and not path.name.startswith('.')}


def _first_folder(folder: Path, names: Iterable[str]) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_dir()), None)


def _joined(folder: Path, colours: dict[str, Path], depths: dict[str, Path],
            labels: dict[str, Path], poses: dict[str, Path]) -> list[RgbdFile]:
    for lacking, has, lacks in ((colours.keys() - depths.keys(), 'colour', 'depth'),
                                (depths.keys() - colours.keys(), 'depth', 'colour')):
        if lacking:
            first = (colours | depths)[min(lacking, key=natural_order)]
            raise ImageFolderError(f'{folder}: {len(lacking)} of {len(colours | depths)} frames '
                                   f'have {has} but no {lacks}, the first is {first.name}; add '
                                   f'the {lacks} images or remove these')
    return [RgbdFile(name, colours[name], depths[name], labels.get(name), poses.get(name))
            for name in sorted(colours, key=natural_order)]


def natural_order(name: str) -> list[tuple[int, str]]:
    """Return a sorting key under which numbers compare as numbers."""
    return [(int(part), '') if part.isdecimal() else (-1, part)
            for part in re.split(r'(\d+)', name)]


def read_bytes(path: Path) -> bytes:
    """Return what is in an image file.

    Raises:
        ImageFolderError: If it is missing or cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise ImageFolderError(f'cannot read image {path}: {error.strerror}') from error


def _stored(path: Path) -> npt.NDArray[Any]:
    """Return the values of an image or NumPy file as they are."""
    data = read_bytes(path)
    if path.suffix.lower() != '.npy':
        return decode(data, path, cv2.IMREAD_UNCHANGED)
    try:
        array: npt.NDArray[Any] = np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise ImageFolderError(f'array {path} is damaged or no NumPy file ({len(data)} bytes); '
                               'copy or write it again') from error
    return array


def decode(data: bytes, path: Path, flags: int) -> npt.NDArray[Any]:
    """Return the pixels of an image, all of them.

    Args:
        data: What is in its file.
        path: The file, for the message.
        flags: `cv2.IMREAD_...`.

    Raises:
        ImageFolderError: If it is cut short or no image.
    """
    # Before OpenCV 5 a file cut short is decoded as far as it goes, the rest grey or zero.
    if _is_complete(data):
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
        if image is not None:
            return np.asarray(image)
    raise ImageFolderError(f'image {path} is damaged or no image ({len(data)} bytes); copy or '
                           'record it again')


def _is_complete(data: bytes) -> bool:
    """Tell whether a PNG or JPEG has its end; of other formats only that there is something."""
    if data.startswith(b'\x89PNG'):
        return data[-32:].find(b'IEND\xaeB`\x82') >= 0
    if data.startswith(b'\xff\xd8'):
        return data.rfind(b'\xff\xd9') > data.rfind(b'\xff\xda')  # End of image, start of scan.
    return bool(data)


def _size(image: npt.NDArray[Any]) -> str:
    return f'{image.shape[1]}x{image.shape[0]}'


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ImageFolderError(f'cannot read {path}: {error}') from error


def _numbers(path: Path, count: int) -> npt.NDArray[np.float64]:
    try:
        numbers = np.array([float(word) for word in _text(path).split()])
    except ValueError as error:
        raise ImageFolderError(f'{path}: {error}; it must hold {count} numbers') from error
    if numbers.size != count or not np.isfinite(numbers).all():
        raise ImageFolderError(f'{path} holds {numbers.size} numbers, {np.isfinite(numbers).sum()} '
                               f'of them finite; it must hold {count}')
    return numbers


def _json(path: Path, keys: Iterable[str]) -> dict[str, Any]:
    try:
        values = json.loads(_text(path))
    except json.JSONDecodeError as error:
        raise ImageFolderError(f'{path} is no JSON: {error}') from error
    missing = [key for key in keys if not isinstance(values, dict) or key not in values]
    if missing:
        raise ImageFolderError(f'{path} lacks {", ".join(missing)}')
    return {key: values[key] for key in keys}


def _realsense_camera(path: Path) -> Camera:
    names = ('img_width', 'img_height', 'fx', 'fy', 'x_offset', 'y_offset')
    return Camera(*_json(path, names).values())


def _matrix_camera(path: Path, width: int, height: int) -> Camera:
    matrix = _numbers(path, 9).reshape(3, 3)
    return Camera(width, height, fx=float(matrix[0, 0]), fy=float(matrix[1, 1]),
                  cx=float(matrix[0, 2]), cy=float(matrix[1, 2]))
