# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Folders of generated frames: single views of many rooms, or a walk through one.

A frame is a pure function of the seed and its number, so the number of processes changes nothing
and an interrupted run goes on where it stopped.
"""

import json
import logging
import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from diffpixel_core.depth import depth_in_millimetres
from diffpixel_core.errors import DiffPixelError
from diffpixel_core.geometry import NYU_CAMERA, Camera
from diffpixel_core.image_folder import read_label, write_camera
from diffpixel_core.labels import load_label_space
from diffpixel_core.rgbd_bags import RgbdSample
from diffpixel_core.synthetic.cameras import CameraPathError, viewpoint, walk
from diffpixel_core.synthetic.noise import SENSORS, sense
from diffpixel_core.synthetic.photo import Look
from diffpixel_core.synthetic.render import Renderer, View
from diffpixel_core.synthetic.scenes import ROOM_KINDS, build_room
from diffpixel_core.whole_file import write_whole

logger = logging.getLogger(__name__)

FORMAT_VERSION = 1  # grows whenever the same seed gives other pictures

_DONE, _STARTED = 'synth.json', 'synth.partial.json'
_CHUNK = 30  # frames of a walk that one process renders at a time
_CANDIDATES = 3  # views tried for one that is kept
_ATTEMPTS = 10  # rooms tried until a camera fits
_ENCODING = {'.jpg': [cv2.IMWRITE_JPEG_QUALITY, 95], '.png': [cv2.IMWRITE_PNG_COMPRESSION, 1]}
_PREVIEW = NYU_CAMERA.resized(40, 30)

Counts = npt.NDArray[np.int64]


class SynthError(DiffPixelError):
    """Frames that cannot be generated as asked, or not into that folder."""


@dataclass(frozen=True, slots=True)
class SynthReport:
    """What has been generated.

    Attributes:
        folder: Where the frames are.
        frames: Number of frames.
        sensor: Depth sensor, one of `noise.SENSORS`.
        classes: Pixels of each NYU40 class, by name, in the order of the label space.
    """

    folder: Path
    frames: int
    sensor: str
    classes: dict[str, int]


@dataclass(frozen=True, slots=True)
class _Settings:
    """All that decides what the frames look like; kept in the folder."""

    version: int
    kind: str  # 'frames' or 'walk'
    count: int
    seed: int
    sensor: str
    camera: Camera
    jitter_camera: float  # largest relative change of the focal length
    views_per_room: int  # 0 for a walk
    fps: float  # 0 for frames
    room_kinds: tuple[str, ...]
    lossless: bool

    def as_json(self) -> dict[str, Any]:
        """Return plain types, as JSON gives them back."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain


@dataclass(frozen=True, slots=True)
class _Frame:
    """A view, its depth as measured (metres, 0 = not measured) and the pose of the camera."""

    view: View
    depth_m: npt.NDArray[np.float32]
    pose: npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Job:
    """Neighbouring frames of one room, for one process."""

    folder: Path
    settings: _Settings
    first: int
    count: int


def generate_frames(output: Path, *, count: int, seed: int, sensor: str = 'kinect_v1',
                    camera: Camera | None = None, jitter_camera: float = 0.0,
                    views_per_room: int = 4, workers: int = 2,
                    kinds: Sequence[str] | None = None, lossless: bool = False) -> SynthReport:
    """Write single views of many rooms into a folder that `image_folder.find_frames` reads.

    With the sensor `perfect` each frame also gets `X.cosine.png`, so that `sense` can be applied
    later. A folder that was begun with the same settings is completed.

    Args:
        output: The folder; made if need be.
        count: Number of frames.
        seed: Draws everything.
        sensor: Depth sensor, one of `noise.SENSORS`.
        camera: Size and intrinsics; None means NYUDv2's camera at 320 x 240.
        jitter_camera: Largest relative change of the focal length, such as 0.15; the camera of
            each frame then lies beside it as `X.camera.json`, the one without change in
            `camera.json`.
        views_per_room: Views of one room before the next is built.
        workers: Number of processes.
        kinds: Kinds of rooms, from `scenes.ROOM_KINDS`; None means all in their usual shares.
        lossless: Colour as PNG instead of JPEG of quality 95.

    Raises:
        SynthError: If a setting is impossible or the folder holds something else.
    """
    settings = _checked(_Settings(
        FORMAT_VERSION, 'frames', count, seed, sensor, camera or NYU_CAMERA.resized(320, 240),
        jitter_camera, views_per_room, 0.0, tuple(kinds or ()), lossless))
    return _generate(output, settings, views_per_room, workers)


def generate_walk(output: Path, *, count: int, seed: int, sensor: str = 'kinect_v1',
                  camera: Camera = NYU_CAMERA, fps: float = 30.0, workers: int = 2,
                  kind: str | None = None) -> SynthReport:
    """Write the frames of a robot's walk through one room, like `generate_frames`, as PNG.

    Args:
        output: The folder; made if need be.
        count: Number of frames.
        seed: Draws everything.
        sensor: Depth sensor, one of `noise.SENSORS`.
        camera: Size and intrinsics.
        fps: Frames per second.
        workers: Number of processes.
        kind: Kind of room, one of `scenes.ROOM_KINDS`; None means any.

    Raises:
        SynthError: If a setting is impossible or the folder holds something else.
    """
    settings = _walk_settings(count, seed, sensor, camera, fps, kind)
    return _generate(output, settings, _CHUNK, workers)


def walk_samples(*, count: int, seed: int, sensor: str = 'kinect_v1', camera: Camera = NYU_CAMERA,
                 fps: float = 30.0, kind: str | None = None, start_ns: int = 1_000_000_000
                 ) -> Iterator[RgbdSample]:
    """Yield what `generate_walk` writes, for `rgbd_bags.write_rgbd_bag`; no files, no processes.

    Args:
        count: Number of frames.
        seed: Draws everything.
        sensor: Depth sensor, one of `noise.SENSORS`.
        camera: Size and intrinsics.
        fps: Frames per second.
        kind: Kind of room, one of `scenes.ROOM_KINDS`; None means any.
        start_ns: Stamp of the first frame; not 0, which means "no time" in ROS.

    Raises:
        SynthError: If a setting is impossible.
    """
    settings = _walk_settings(count, seed, sensor, camera, fps, kind)
    for index, frame in _walked(settings, range(count)):
        yield RgbdSample(start_ns + round(index * 1e9 / fps), frame.view.rgb, frame.depth_m,
                         frame.view.labels, frame.pose)


def _walk_settings(count: int, seed: int, sensor: str, camera: Camera, fps: float,
                   kind: str | None) -> _Settings:
    return _checked(_Settings(FORMAT_VERSION, 'walk', count, seed, sensor, camera, 0.0, 0, fps,
                              (kind,) if kind else (), True))


def _checked(settings: _Settings) -> _Settings:
    """Return the settings unless they are impossible."""
    if settings.sensor not in SENSORS:
        raise SynthError(f'sensor {settings.sensor!r} is unknown; '
                         f'choose one of {", ".join(SENSORS)}')
    unknown = [kind for kind in settings.room_kinds if kind not in ROOM_KINDS]
    if unknown:
        raise SynthError(f'room kind {unknown[0]!r} is unknown; '
                         f'choose from {", ".join(ROOM_KINDS)}')
    if settings.count < 1 or settings.seed < 0:
        raise SynthError(f'count is {settings.count} and seed {settings.seed}; the count must be '
                         'at least 1, the seed at least 0')
    if not 0 <= settings.jitter_camera < 0.5:
        raise SynthError(f'jitter_camera is {settings.jitter_camera}; '
                         'it must be a share from 0 to 0.5')
    if settings.kind == 'frames' and settings.views_per_room < 1:
        raise SynthError(f'views_per_room is {settings.views_per_room}; it must be at least 1')
    if settings.kind == 'walk' and not settings.fps > 0:
        raise SynthError(f'fps is {settings.fps}; it must be positive')
    return settings


def _generate(folder: Path, settings: _Settings, chunk: int, workers: int) -> SynthReport:
    """Render all frames that the folder lacks and describe it."""
    _claim(folder, settings)
    jobs = [_Job(folder, settings, first, min(chunk, settings.count - first))
            for first in range(0, settings.count, chunk)]
    logger.info('generating %d frames in %s', settings.count, folder)
    counts = np.zeros(256, np.int64)
    with Progress(TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(),
                  TimeRemainingColumn(), console=Console(stderr=True)) as progress:
        task = progress.add_task(f'rendering {folder.name}', total=settings.count)
        for job, found in zip(jobs, _run(jobs, workers), strict=True):
            counts += found
            progress.advance(task, job.count)
    names = load_label_space('nyu40').names
    classes = {name: int(counts[label]) for label, name in enumerate(names)}
    summary = settings.as_json()
    summary |= {'classes': classes, 'unlabelled': int(counts[len(names):].sum())}
    write_whole(folder / _DONE, json.dumps(summary, indent=2).encode() + b'\n')
    (folder / _STARTED).unlink(missing_ok=True)
    return SynthReport(folder, settings.count, settings.sensor, classes)


def _claim(folder: Path, settings: _Settings) -> None:
    """Make the folder ours, or see that it is the one begun with these settings."""
    if folder.exists() and not folder.is_dir():
        raise SynthError(f'output {folder} is a file; name a folder')
    folder.mkdir(parents=True, exist_ok=True)
    for name in (_DONE, _STARTED):
        if not (folder / name).is_file():
            continue
        try:
            there = json.loads((folder / name).read_text())
        except ValueError as error:
            raise SynthError(f'{folder / name} is damaged ({error}); empty the folder') from error
        wanted = settings.as_json()
        other = [key for key in wanted if there.get(key) != wanted[key]]
        if other:
            raise SynthError(f'{folder} holds frames of {other[0]} {there.get(other[0])}, not '
                             f'{wanted[other[0]]}; name another folder or empty this one')
        return
    if any(folder.iterdir()):
        raise SynthError(f'{folder} is not empty and was not generated; name another folder')
    write_whole(folder / _STARTED, json.dumps(settings.as_json(), indent=2).encode() + b'\n')
    write_camera(folder, settings.camera)


def _run(jobs: list[_Job], workers: int) -> Iterator[Counts]:
    """Yield the class counts of the jobs in their order."""
    if workers <= 1 or len(jobs) == 1:
        yield from map(_render_job, jobs)
        return
    # Forking a process in which Embree's threads run would leave the child without them.
    context = multiprocessing.get_context('spawn')
    with ProcessPoolExecutor(min(workers, len(jobs)), context, _settle) as pool:
        yield from pool.map(_render_job, jobs)


def _settle() -> None:
    """Keep a worker process on one core."""
    cv2.setNumThreads(1)


def _render_job(job: _Job) -> Counts:
    """Write the frames of a job that are not there yet; return its pixels by label, `(256,)`."""
    counts = np.zeros(256, np.int64)
    missing = []
    for index in range(job.first, job.first + job.count):
        label = job.folder / f'{index:06d}.label.png'  # the last file of a frame
        if label.is_file():
            counts += np.bincount(read_label(label).ravel(), minlength=256)
        else:
            missing.append(index)
    if not missing:
        return counts
    settings = job.settings
    if settings.kind == 'walk':
        for index, frame in _walked(settings, missing):
            counts += _write_frame(job, index, frame, settings.camera)
    else:
        for index, frame, camera in _views(settings, missing):
            counts += _write_frame(job, index, frame, camera)
    return counts


def _views(settings: _Settings, indices: Sequence[int]) -> Iterator[tuple[int, _Frame, Camera]]:
    """Yield single views of one room: their numbers, the frames and their cameras."""
    number = indices[0] // settings.views_per_room
    for attempt in range(_ATTEMPTS):
        rng = np.random.default_rng([settings.seed, 0, number, attempt])
        kind = str(rng.choice(settings.room_kinds)) if settings.room_kinds else None
        room = build_room(int(rng.integers(1 << 31)), kind)
        try:
            viewpoint(room, rng)
        except CameraPathError:
            continue  # another room in its place, the same one for everybody
        break
    else:
        raise SynthError(f'seed {settings.seed} gives no room {number} with space for a camera; '
                         'take another seed')
    renderer = Renderer(room, seed=int(rng.integers(1 << 31)))
    for index in indices:
        rng = np.random.default_rng([settings.seed, 1, index])
        candidates = [viewpoint(room, rng) for _ in range(_CANDIDATES)]
        shown = [_variety(renderer.survey(_PREVIEW, pose)) for pose in candidates]
        pose = candidates[int(np.argmax(shown))]
        zoom = 1 + settings.jitter_camera * float(rng.uniform(-1, 1))
        base = settings.camera
        camera = Camera(base.width, base.height, base.fx * zoom, base.fy * zoom, base.cx, base.cy)
        view = renderer.render(camera, pose, rng=rng)
        depth_m = sense(view.depth_m, cosine=view.cosine, labels=view.labels, camera=camera,
                        sensor=settings.sensor, rng=rng)
        yield index, _Frame(view, depth_m, pose), camera


def _variety(labels: npt.NDArray[np.uint8]) -> float:
    """Return how much there is to see: the entropy of the classes, nats."""
    share = np.bincount(labels.ravel(), minlength=256) / labels.size
    share = share[share > 0]
    return float(-(share * np.log(share)).sum())


def _walked(settings: _Settings, indices: Sequence[int]) -> Iterator[tuple[int, _Frame]]:
    """Yield frames of a walk with their numbers."""
    for attempt in range(_ATTEMPTS):
        rng = np.random.default_rng([settings.seed, 2, attempt])
        room = build_room(int(rng.integers(1 << 31)), *settings.room_kinds)
        try:
            poses = walk(room, settings.count, settings.fps, rng)
        except CameraPathError:
            continue  # another room in its place, the same one for everybody
        break
    else:
        raise SynthError(f'seed {settings.seed} gives no room with floor for a robot; '
                         'take another seed')
    look = Look.draw(rng)
    renderer = Renderer(room, seed=int(rng.integers(1 << 31)))
    for index in indices:
        frame_rng = np.random.default_rng([settings.seed, 3, index])
        view = renderer.render(settings.camera, poses[index], rng=frame_rng, look=look)
        depth_m = sense(view.depth_m, cosine=view.cosine, labels=view.labels, rng=frame_rng,
                        camera=settings.camera, sensor=settings.sensor)
        yield index, _Frame(view, depth_m, poses[index])


def _write_frame(job: _Job, index: int, frame: _Frame, camera: Camera) -> Counts:
    """Write the files of a frame, its labels last; return its pixels by label."""
    stem, view = f'{index:06d}', frame.view
    colour = '.color.png' if job.settings.lossless else '.color.jpg'
    images: dict[str, npt.NDArray[Any]] = {
        colour: view.rgb[..., ::-1],
        '.depth.png': depth_in_millimetres(frame.depth_m),
    }
    if job.settings.sensor == 'perfect':
        images['.cosine.png'] = np.rint(view.cosine * 255).astype(np.uint8)
    pose = '\n'.join(' '.join(f'{value:.9f}' for value in row) for row in frame.pose)
    write_whole(job.folder / f'{stem}.pose.txt', pose.encode() + b'\n')
    if job.settings.jitter_camera:
        write_whole(job.folder / f'{stem}.camera.json', json.dumps(asdict(camera)).encode() + b'\n')
    for ending, image in (*images.items(), ('.label.png', view.labels)):
        suffix = Path(ending).suffix
        encoded, data = cv2.imencode(suffix, image, _ENCODING[suffix])
        assert encoded, ending
        write_whole(job.folder / f'{stem}{ending}', data.tobytes())
    return np.bincount(view.labels.ravel(), minlength=256).astype(np.int64)
