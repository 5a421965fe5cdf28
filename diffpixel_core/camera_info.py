# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Cameras with lenses: sensor_msgs/CameraInfo in, viewing rays out.

Messages are read by their field names, so those of ROS 2 and those of a bag reader both do.

Source: the meaning of every field is sensor_msgs/msg/CameraInfo's own text (common_interfaces,
5.3.6) and REP 104 (binning and region of interest).
"""

from array import array
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from diffpixel_core.geometry import Camera, CameraError

F4 = npt.NDArray[np.float32]
F8 = npt.NDArray[np.float64]

# Coefficients a model needs and the most it has; plumb_bob without its fifth is OpenCV's habit.
_COEFFICIENTS = {'plumb_bob': (4, 5), 'rational_polynomial': (8, 8), 'equidistant': (4, 4)}
_MOST_PIXELS = 64_000_000
_FOCAL_TOLERANCE = 0.01  # of the focal length
_CENTRE_TOLERANCE = 0.01  # of the image's width
_NEWTON_STEPS = 4
_GOOD_RAY = 1e-6  # largest error of a ray put back through its lens; 0.001 pixel at 1000 pixels
_WIDEST_ANGLE = np.radians(89.0)  # x/z has no end towards 90 degrees
_SWITCHES = (
    'align depth in the camera driver (RealSense align_depth.enable:=true, Orbbec and OpenNI '
    'depth_registration:=true, Azure Kinect: take the depth_to_rgb topics) or let this node do it '
    '(depth_registration:=true, needs tf)')


@dataclass(frozen=True, slots=True)
class LensCamera:
    """A pinhole behind a lens; pixel centres lie at integer coordinates.

    Attributes:
        pinhole: Size, focal lengths and principal point.
        model: `plumb_bob`, `rational_polynomial`, `equidistant`; `''` = no distortion.
        coefficients: Of the model, in the order of CameraInfo's `d`; none for `''`.
        frame_id: The optical frame: x right, y down, z forward.

    Raises:
        CameraError: If the model is unknown, its coefficients are too few, too many or not finite,
            or the image would be larger than any camera's.
    """

    pinhole: Camera
    model: str = ''
    coefficients: tuple[float, ...] = ()
    frame_id: str = ''

    def __post_init__(self) -> None:
        """Refuse a lens nobody can compute."""
        if self.width * self.height > _MOST_PIXELS:
            raise CameraError(f'camera_info claims {self.width}x{self.height}, more than '
                              f'{_MOST_PIXELS // 1_000_000} million pixels; it is damaged')
        _check_lens(self.model, self.coefficients)

    @property
    def width(self) -> int:
        """Image width, pixels."""
        return self.pinhole.width

    @property
    def height(self) -> int:
        """Image height, pixels."""
        return self.pinhole.height

    @property
    def matrix(self) -> F8:
        """The `(3, 3)` intrinsic matrix K, pixels."""
        return self.pinhole.matrix

    def resized(self, width: int, height: int) -> 'LensCamera':
        """Return the camera whose image is this one's, resized to `width` x `height`."""
        return LensCamera(self.pinhole.resized(width, height), self.model, self.coefficients,
                          self.frame_id)

    def rays(self, stride: int = 1) -> F4:
        """Return where the pixels look, as seen through the lens.

        Computed once per camera and stride, then remembered: equal cameras share one array.

        Args:
            stride: Every so many pixels in both directions, beginning with the first: entry
                `[i, j]` belongs to pixel `[stride * i, stride * j]`, as in `image[::s, ::s]`.

        Returns:
            `(ceil(H / stride), ceil(W / stride), 2)` float32, read-only: x/z and y/z, so that the
            point is `(x/z, y/z, 1) * depth`; NaN where the lens model has no ray. Each of the two
            planes `[..., 0]` and `[..., 1]` is contiguous.
        """
        assert stride >= 1
        return _rays(self, stride)


class Alignment(NamedTuple):
    """Whether a depth image lies on its colour image, pixel on pixel.

    Attributes:
        verdict: `aligned`; `unaligned`: it does not; `doubtful`: the infos do not say.
        text: One line: what differs, in numbers, and which switch of which driver mends it.
    """

    verdict: str
    text: str


def camera_from_info(info: Any, *, rectified: bool = False) -> LensCamera:
    """Return the camera a CameraInfo describes, for the image as it is sent.

    Region of interest and binning are applied: width, height and K of a CameraInfo are those of
    the full sensor. Binned pixels are means, hence the half-pixel shift of `Camera.resized`.

    Args:
        info: sensor_msgs/CameraInfo of ROS 2, or a bag reader's.
        rectified: The images are rectified: read `p` and no distortion, instead of `k` and `d`.

    Raises:
        CameraError: If the camera is not calibrated, or the message cannot be true.
    """
    width, height = int(info.width), int(info.height)
    matrix = _matrix(info.p, (3, 4), 'p') if rectified else _matrix(info.k, (3, 3), 'k')
    fx, fy, cx, cy = (float(matrix[place]) for place in ((0, 0), (1, 1), (0, 2), (1, 2)))
    skew = float(matrix[0, 1])
    name = f'camera_info ({width}x{height}, frame {info.header.frame_id[:40]!r})'
    if width < 1 or height < 1:
        raise CameraError(f'{name} has no pixels; the driver must fill in width and height')
    if not (fx > 0 and fy > 0):
        raise CameraError(
            f'{name} has focal lengths {fx:g} and {fy:g}: the camera is not calibrated '
            f'({"p" if rectified else "k"} must be filled in); calibrate it (camera_calibration) '
            'or give the driver its calibration file')
    if abs(skew) > 1e-6 * fx:
        raise CameraError(f'{name} has skew {skew:g}; only cameras with square axes are known, '
                          'calibrate without skew')
    x, y, width, height, bin_x, bin_y = _window(info)
    pinhole = Camera(width // bin_x, height // bin_y, fx / bin_x, fy / bin_y,
                     (cx - x + 0.5) / bin_x - 0.5, (cy - y + 0.5) / bin_y - 0.5)
    model, coefficients = ('', ()) if rectified else _lens(info)
    return LensCamera(pinhole, model, coefficients, str(info.header.frame_id))


def fill_info(message: Any, info: Any, *, width: int, height: int) -> None:
    """Write the CameraInfo of a colour image resized to `width` x `height` into a message.

    Where the size is the colour image's own, every field is passed on. Otherwise `k` and `p` are
    scaled, and region of interest and binning, which `k` and `p` then contain, are cleared. The
    header is the caller's.

    Args:
        message: sensor_msgs/CameraInfo of ROS 2 to write to; it may have been filled before.
        info: The colour camera's, as received.
        width: Of the image the message goes with, pixels.
        height: Of that image.

    Raises:
        CameraError: If the region of interest or the binning of `info` does not fit its image.
    """
    x, y, wide, high, bin_x, bin_y = _window(info)
    wide, high = wide // bin_x, high // bin_y
    message.distortion_model = str(info.distortion_model)
    message.d = array('d', info.d)
    message.r = np.array(info.r, np.float64)
    k, p = np.array(info.k, np.float64), np.array(info.p, np.float64)
    if (width, height) == (wide, high):
        message.width, message.height = int(info.width), int(info.height)
        message.binning_x, message.binning_y = int(info.binning_x), int(info.binning_y)
        x, y, wide, high = (info.roi.x_offset, info.roi.y_offset, info.roi.width, info.roi.height)
        rectify = bool(info.roi.do_rectify)
    else:
        # From pixels of the full sensor to those of the resized image; matrices that a driver
        # left at zero stay so, and a stereo pair's fourth column grows with the focal length.
        scale_x, scale_y = width / (wide * bin_x), height / (high * bin_y)
        pixels = np.array([[scale_x, 0.0, (0.5 - x) * scale_x - 0.5],
                           [0.0, scale_y, (0.5 - y) * scale_y - 0.5],
                           [0.0, 0.0, 1.0]])
        k, p = (pixels @ k.reshape(3, 3)).ravel(), (pixels @ p.reshape(3, 4)).ravel()
        message.width, message.height = width, height
        message.binning_x = message.binning_y = 0
        x = y = wide = high = 0
        rectify = False
    message.k, message.p = k, p
    roi = message.roi
    roi.x_offset, roi.y_offset, roi.width, roi.height = int(x), int(y), int(wide), int(high)
    roi.do_rectify = rectify


def alignment(colour_info: Any, depth_info: Any) -> Alignment:
    """Tell from two CameraInfos whether depth lies on colour, pixel on pixel.

    Aligned depth is the colour camera's view: same size, same intrinsics, same frame (RealSense,
    Azure Kinect and Orbbec drivers say so). Equal intrinsics in another frame may be two cameras
    side by side, so they are doubtful.
    """
    try:
        colour, depth = camera_from_info(colour_info), camera_from_info(depth_info)
    except CameraError as error:
        return Alignment('doubtful', f'cannot tell whether depth is aligned to colour: {error}')
    if (colour.width, colour.height) != (depth.width, depth.height):
        return Alignment('unaligned', f'depth is {depth.width}x{depth.height} but colour is '
                         f'{colour.width}x{colour.height}: {_SWITCHES}')
    a, b = colour.pinhole, depth.pinhole
    if any(abs(mine - other) > _FOCAL_TOLERANCE * mine
           for mine, other in ((a.fx, b.fx), (a.fy, b.fy))):
        return Alignment('unaligned', f'depth has focal length {b.fx:.1f}, {b.fy:.1f} pixels but '
                         f'colour has {a.fx:.1f}, {a.fy:.1f}: {_SWITCHES}')
    if max(abs(a.cx - b.cx), abs(a.cy - b.cy)) > _CENTRE_TOLERANCE * a.width:
        return Alignment('unaligned', f'depth has its principal point at {b.cx:.1f}, {b.cy:.1f} '
                         f'but colour at {a.cx:.1f}, {a.cy:.1f}: {_SWITCHES}')
    if colour.frame_id.lstrip('/') != depth.frame_id.lstrip('/'):
        return Alignment('doubtful', f'depth and colour have the same intrinsics but depth is in '
                         f'frame {depth.frame_id!r}, colour in {colour.frame_id!r}; unless the '
                         f'driver only kept the name, {_SWITCHES}')
    return Alignment('aligned', f'depth and colour are both {a.width}x{a.height}, focal length '
                     f'{a.fx:.1f}, in {colour.frame_id!r}')


def _matrix(values: Any, shape: tuple[int, int], name: str) -> F8:
    matrix = np.asarray(values, np.float64)
    if matrix.size != shape[0] * shape[1] or not np.isfinite(matrix).all():
        raise CameraError(f'camera_info has {name} = {matrix.ravel().tolist()}; it must be '
                          f'{shape[0] * shape[1]} finite numbers, the camera is not calibrated')
    return matrix.reshape(shape)


def _window(info: Any) -> tuple[int, int, int, int, int, int]:
    """Return what of the full sensor is sent.

    Returns:
        x, y, width and height of the region of interest, pixels of the full sensor; then how many
        of these make a pixel sent, in x and in y.
    """
    width, height, roi = int(info.width), int(info.height), info.roi
    x, y = int(roi.x_offset), int(roi.y_offset)
    # 0 means all there is, and 0 binned is not binned, by the message's own text.
    wide, high = int(roi.width) or width - x, int(roi.height) or height - y
    if x < 0 or y < 0 or wide < 1 or high < 1 or x + wide > width or y + high > height:
        raise CameraError(f'camera_info ({width}x{height}) has a region of interest {wide}x{high} '
                          f'at {x}, {y} that reaches out of the image; the driver must mend its '
                          'roi')
    bin_x, bin_y = max(int(info.binning_x), 1), max(int(info.binning_y), 1)
    if bin_x > wide or bin_y > high:
        raise CameraError(f'camera_info ({width}x{height}) is binned {bin_x}x{bin_y}, more than '
                          'it has pixels; the driver must mend binning_x and binning_y')
    return x, y, wide, high, bin_x, bin_y


def _lens(info: Any) -> tuple[str, tuple[float, ...]]:
    """Return distortion model and coefficients, `''` and none where nothing is distorted."""
    model = str(info.distortion_model)
    coefficients = tuple(float(value) for value in info.d)
    most = _COEFFICIENTS.get(model, (0, 0))[1]
    if not any(coefficients[most:]):
        coefficients = coefficients[:most]
    if model in ('plumb_bob', 'rational_polynomial') and not any(coefficients):
        return '', ()  # an empty d, too, as image_geometry reads it
    return model, coefficients


def _check_lens(model: str, coefficients: tuple[float, ...]) -> None:
    found = f'camera_info has {len(coefficients)} distortion coefficients'
    if not np.isfinite(coefficients).all():
        raise CameraError(f'{found}, {list(coefficients)}; they must be finite, calibrate the '
                          'camera again')
    if model == '':
        if coefficients:
            raise CameraError(f'{found} but no distortion_model; the driver must name it, '
                              'usually plumb_bob')
        return
    if model not in _COEFFICIENTS:
        raise CameraError(f'distortion model {model!r} is unknown; known are '
                          f'{", ".join(_COEFFICIENTS)}: rectify the images (image_proc) or '
                          'calibrate with one of these')
    least, most = _COEFFICIENTS[model]
    if not least <= len(coefficients) <= most:
        raise CameraError(f'{found}, {model} has {most}; calibrate the camera again, or let the '
                          'driver name the model it means')


@lru_cache(maxsize=16)
def _rays(camera: LensCamera, stride: int) -> F4:
    pinhole = camera.pinhole
    x = (np.arange(0, camera.width, stride) - pinhole.cx) / pinhole.fx
    y = (np.arange(0, camera.height, stride) - pinhole.cy) / pinhole.fy
    planes = np.empty((2, len(y), len(x)), np.float32)
    rows = max(1, 16384 // len(x))  # what stays in the cache while Newton's method runs
    with np.errstate(all='ignore'):  # a lens that makes no sense ends in NaN
        for first in range(0, len(y), rows):
            block = slice(first, first + rows)
            columns, lines = np.meshgrid(x, y[block])
            planes[:, block] = _undistorted(columns, lines, camera.model, camera.coefficients)
    planes.setflags(write=False)
    return np.moveaxis(planes, 0, -1)


def _undistorted(x: F8, y: F8, model: str, coefficients: tuple[float, ...]) -> tuple[F8, F8]:
    """Return the rays that a lens bends to x and y, NaN where there is none."""
    if not any(coefficients) and model != 'equidistant':
        return x, y
    distorted, straight = _curve(model, coefficients)
    radius = np.hypot(x, y)
    # The right one of several solutions is the first; a table of the curve finds it safely.
    start = np.interp(radius, distorted, straight, right=np.nan)
    safe = np.where(radius > 0, radius, 1.0)
    if model == 'equidistant':
        theta = _angles(start, radius, coefficients)
        scale = np.where(radius > 0, np.tan(theta) / safe, 1.0)
        return x * scale, y * scale
    scale = np.where(radius > 0, start / safe, 1.0)
    return _newton(x, y, x * scale, y * scale, coefficients)


@lru_cache(maxsize=16)
def _curve(model: str, coefficients: tuple[float, ...]) -> tuple[F8, F8]:
    """Return distorted and straight radii (angles of `equidistant`) up to where they fold back."""
    straight = np.linspace(0, _WIDEST_ANGLE, 4097)
    if model == 'equidistant':
        distorted = straight * _polynomial(straight ** 2, coefficients)[0]
    else:
        straight = np.tan(straight)
        distorted = straight * _radial(straight ** 2, coefficients)[0]
    grows = np.diff(distorted) > 0
    end = len(grows) if grows.all() else int(np.argmin(grows))
    return distorted[:end + 1], straight[:end + 1]


def _angles(theta: F8, distorted: F8, coefficients: tuple[float, ...]) -> F8:
    """Return the angles an equidistant lens shows at radius `distorted`, from near guesses.

    Source: the Kannala-Brandt model of OpenCV's fisheye module.
    """
    for _ in range(_NEWTON_STEPS):
        value, slope = _polynomial(theta ** 2, coefficients)
        theta = theta - (theta * value - distorted) / (value + 2 * theta ** 2 * slope)
    error = theta * _polynomial(theta ** 2, coefficients)[0] - distorted
    return np.where(np.abs(error) < _GOOD_RAY, theta, np.nan)


def _newton(x_seen: F8, y_seen: F8, x: F8, y: F8,
            coefficients: tuple[float, ...]) -> tuple[F8, F8]:
    """Return the rays a plumb_bob or rational lens bends to `x_seen`, `y_seen`.

    Own inverse: OpenCV's ends after five steps of a slower method, several pixels away at the
    corners of a wide lens, and asks for more steps in one way in version 4, in another in 5.

    Source: the distortion model of OpenCV's calib3d, differentiated.
    """
    p1, p2 = coefficients[2:4]
    for step in range(_NEWTON_STEPS + 1):
        square = x * x + y * y
        radial, slope = _radial(square, coefficients)
        error_x = x * radial + 2 * p1 * x * y + p2 * (square + 2 * x * x) - x_seen
        error_y = y * radial + p1 * (square + 2 * y * y) + 2 * p2 * x * y - y_seen
        if step == _NEWTON_STEPS:
            break
        xx = radial + 2 * x * x * slope + 2 * p1 * y + 6 * p2 * x
        xy = 2 * x * y * slope + 2 * p1 * x + 2 * p2 * y
        yy = radial + 2 * y * y * slope + 6 * p1 * y + 2 * p2 * x
        determinant = xx * yy - xy * xy
        x, y = (x - (yy * error_x - xy * error_y) / determinant,
                y - (xx * error_y - xy * error_x) / determinant)
    good = (np.abs(error_x) < _GOOD_RAY) & (np.abs(error_y) < _GOOD_RAY)
    return np.where(good, x, np.nan), np.where(good, y, np.nan)


def _radial(square: F8, coefficients: tuple[float, ...]) -> tuple[F8, F8]:
    """Return the radial factor at squared radii, and its derivative by the squared radius."""
    k1, k2, _, _, k3, k4, k5, k6 = (*coefficients, 0, 0, 0, 0)[:8]
    above, above_slope = _polynomial(square, (k1, k2, k3))
    below, below_slope = _polynomial(square, (k4, k5, k6))
    return above / below, (above_slope * below - above * below_slope) / (below * below)


def _polynomial(square: F8, coefficients: tuple[float, ...]) -> tuple[F8, F8]:
    """Return 1 + c1 s + c2 s^2 + ... and its derivative by s."""
    value, slope = np.zeros_like(square), np.zeros_like(square)
    for coefficient in reversed(coefficients):
        slope = slope * square + value
        value = value * square + coefficient
    return value * square + 1.0, slope * square + value
