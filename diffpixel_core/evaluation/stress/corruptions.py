# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""The faults a model is tried with: which, how much, what that means on a robot, what helps.

Pixels are those of the frame as it is stored: one pixel of 320x240 is two of 640x480.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from diffpixel_core.evaluation.stress import colour_faults, depth_faults
from diffpixel_core.geometry import Camera

Colour = npt.NDArray[np.uint8]
Depth = npt.NDArray[np.float32]
# Image, severity, source of random numbers -> image.
Fault = Callable[[npt.NDArray[Any], float, np.random.Generator], npt.NDArray[Any]]

_TURN = 30.0  # degrees a second: a robot that turns without hurry
_EXPOSURE_MS = 20.0  # indoors, by lamps
_OFFICE_LUX = 500.0  # Source: EN 12464-1, offices


@dataclass(frozen=True)
class Corruption:
    """One fault of one image.

    Attributes:
        name: Key in `stress.json`.
        title: What it is called on the sheet.
        modality: The image it spoils; the other is left as it is.
        unit: What a severity counts.
        severities: In the order in which they are drawn; `clean` is one of them. The last is the
            strongest.
        clean: The severity that changes nothing.
        fault: What it does.
        amount: The unit within a sentence, `{}` where the tick goes.
        tick: A severity as it stands on the axis.
        meaning: A severity in physical words, for a camera.
        cause: Where it comes from on a robot.
        remedy: What helps.
    """

    name: str
    title: str
    modality: Literal['depth', 'colour']
    unit: str
    amount: str
    severities: tuple[float, ...]
    clean: float
    fault: Fault
    tick: Callable[[float], str]
    meaning: Callable[[float, Camera], str]
    cause: str
    remedy: str

    def apply(self, rgb: Colour, depth_m: Depth, severity: float,
              rng: np.random.Generator) -> tuple[Colour, Depth]:
        """Return both images, one of them spoiled; those passed are left alone.

        Args:
            rgb: `(H, W, 3)` uint8.
            depth_m: `(H, W)` float32 metres, 0 = not measured.
            severity: In `unit`; also ones that are not in `severities`.
            rng: Source of randomness; the same state gives the same images.
        """
        if self.modality == 'depth':
            return rgb, self.fault(depth_m, severity, rng)
        return self.fault(rgb, severity, rng), depth_m

    def amount_of(self, severity: float) -> str:
        """Return a severity within a sentence: '8× a Kinect’s noise'."""
        return self.amount.format(self.tick(severity))

    def at(self, severity: float) -> str:
        """Return title and severity; the title alone of what is there or not."""
        if len(self.severities) == 2:
            return self.title
        return f'{self.title}, {self.amount_of(severity)}'

    @property
    def extent(self) -> str:
        """How far the severities go, within a sentence: '±10 %'."""
        first, last = self.severities[0], self.severities[-1]
        if first == self.clean:
            return self.amount_of(last)
        if first == -last:
            return self.amount.format(f'±{last:g}')
        return f'{self.amount_of(first)} to {self.amount_of(last)}'

    def strength(self, severity: float) -> int:
        """Return how many steps a severity is away from the clean image."""
        return abs(self.severities.index(severity) - self.severities.index(self.clean))


def _signed(number: float) -> str:
    return f'{number:+g}'.replace('-', '−') if number else '0'


def _degrees(pixels: float, camera: Camera) -> float:
    return math.degrees(math.atan(abs(pixels) / camera.fx))


def _shift_words(towards: tuple[str, str], late: str) -> Callable[[float, Camera], str]:
    def words(pixels: float, camera: Camera) -> str:
        if pixels == 0:
            return 'depth lies on its colour'
        degrees = _degrees(pixels, camera)
        return (f'{abs(pixels):g} px {towards[pixels > 0]}: the cameras {degrees:.2f}° against '
                f'each other, {2000 * abs(pixels) / camera.fx:.0f} mm at 2 m; or depth '
                f'{1000 * degrees / _TURN:.0f} ms late while the robot {late} at {_TURN:.0f}°/s')
    return words


def _noise_words(times: float, camera: Camera) -> str:
    del camera
    if times == 0:
        return 'as stored'
    near, far = 1000 * times * depth_faults.kinect_sigma(np.array([2, 4], np.float32))
    return f'± {near:.0f} mm at 2 m and ± {far:.0f} mm at 4 m (one standard deviation)'


_UNIT_WORDS = {
    0.001: 'metres taken for millimetres: all of the room within 1 cm',
    0.1: 'millimetres taken for tenths of a millimetre: a wall at 3 m reads 0.3 m',
    0.2: 'millimetres taken for metres × 5000: a wall at 3 m reads 0.6 m',
    1.0: 'the right unit',
    5.0: 'metres × 5000 taken for millimetres: a wall at 3 m reads 15 m',
    10.0: 'tenths of a millimetre taken for millimetres: a wall at 3 m reads 30 m',
    1000.0: 'millimetres taken for metres: everything beyond the range of the sensor',
}

_ALIGN = ('Calibrate the cameras, then look at edges of depth over colour; honest stamps, a small '
          'tolerance of pairing.')

CORRUPTIONS: tuple[Corruption, ...] = (
    Corruption(
        name='depth_missing', title='depth missing', modality='depth', unit='', amount='{}',
        severities=(0, 1), clean=0, fault=depth_faults.missing,
        tick=lambda s: 'missing' if s else 'there',
        meaning=lambda s, camera: 'no depth in the whole image' if s else 'as stored',
        cause='The depth camera hangs, is unplugged, looks into the sun or stands too near.',
        remedy='Watch the diagnostics for missing depth; test whether colour alone will do.'),
    Corruption(
        name='depth_shift_x', title='depth shifted sideways', modality='depth', unit='px right',
        amount='{} px', severities=(-6, -3, -2, -1, 0, 1, 2, 3, 6), clean=0,
        fault=depth_faults.shifted_sideways, tick=_signed,
        meaning=_shift_words(('left', 'right'), 'turns'),
        cause='Calibration that is off, a knock, a bent mount; depth that is late while turning.',
        remedy=_ALIGN),
    Corruption(
        name='depth_shift_y', title='depth shifted up or down', modality='depth', unit='px down',
        amount='{} px', severities=(-6, -3, -2, -1, 0, 1, 2, 3, 6), clean=0,
        fault=depth_faults.shifted_vertically, tick=_signed,
        meaning=_shift_words(('up', 'down'), 'pitches'),
        cause='Calibration that is off, a knock; depth that is late on rough ground.',
        remedy=_ALIGN),
    Corruption(
        name='depth_noise', title='depth noisy', modality='depth', unit='times a Kinect’s noise',
        amount='{} a Kinect’s noise', severities=(0, 1, 2, 4, 8, 16), clean=0,
        fault=depth_faults.noisy, tick=lambda s: f'{s:g}×', meaning=_noise_words,
        cause='A weak projector, daylight, dark or shiny surfaces, stereo without texture.',
        remedy='Switch on the sensor’s filters, shade it, stay within its range.'),
    Corruption(
        name='depth_holes', title='depth with holes', modality='depth',
        unit='% of the measured pixels', amount='{} % of the measured pixels',
        severities=(0, 10, 25, 50, 75, 90), clean=0, fault=depth_faults.holes,
        tick=lambda s: f'{s:g}',
        meaning=lambda s, camera: f'{s:g} % of the measured pixels lost, in patches' if s
        else 'as stored',
        cause='Glass, mirrors, black cloth, polished floors, sunlight.',
        remedy='Watch the share of measured pixels; leave holes at 0, fill nothing in.'),
    Corruption(
        name='depth_patch', title='depth with one large hole', modality='depth',
        unit='% of width and height', amount='{} % of width and height', severities=(0, 25, 50, 75),
        clean=0, fault=depth_faults.patch, tick=lambda s: f'{s:g}',
        meaning=lambda s, camera: f'a rectangle of {s * s / 100:.0f} % of the image not measured'
        if s else 'as stored',
        cause='A window, something too near the sensor, the robot’s own arm.',
        remedy='Keep the robot out of the picture; know what the sensor cannot see.'),
    Corruption(
        name='depth_scale', title='depth too long or too short', modality='depth', unit='%',
        amount='{} %', severities=(-10, -5, 0, 5, 10), clean=0, fault=depth_faults.scaled,
        tick=_signed,
        meaning=lambda s, camera: f'a wall at 3 m reads {3 * (1 + s / 100):.2f} m' if s
        else 'as stored',
        cause='A sensor that is cold, old or calibrated at another distance.',
        remedy='Measure a wall at a known distance.'),
    Corruption(
        name='depth_unit', title='depth in a wrong unit', modality='depth',
        unit='times the true distance', amount='{}', severities=(0.001, 0.1, 0.2, 1, 5, 10, 1000),
        clean=1, fault=depth_faults.in_wrong_unit, tick=lambda s: f'×{s:g}',
        meaning=lambda s, camera: _UNIT_WORDS[s],
        cause='A driver or a data set that stores another unit than was set.',
        remedy='Run “diffpixel doctor”: it says which unit the depth looks like.'),
    Corruption(
        name='depth_steps', title='depth in coarse steps', modality='depth', unit='mm a step',
        amount='{} mm a step', severities=(0, 10, 40, 100, 250), clean=0,
        fault=depth_faults.in_steps, tick=lambda s: f'{s:g}',
        meaning=lambda s, camera: f'steps of {s:g} mm' + (' (10 m in 8 bits)' if s == 40 else '')
        if s else 'as stored',
        cause='Depth kept in 8 bits, lossy compression, stereo with few disparities.',
        remedy='Record and send depth in 16 bits, without loss.'),
    Corruption(
        name='colour_missing', title='colour missing', modality='colour', unit='', amount='{}',
        severities=(0, 1), clean=0, fault=colour_faults.missing,
        tick=lambda s: 'missing' if s else 'there',
        meaning=lambda s, camera: 'a black image' if s else 'as stored',
        cause='A covered lens, a dead camera, full darkness.',
        remedy='Watch the brightness of the image; test whether depth alone will do.'),
    Corruption(
        name='colour_dark', title='colour dark', modality='colour', unit='of the light',
        amount='{} of the light', severities=(1, 1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 64), clean=1,
        fault=colour_faults.dark, tick=lambda s: f'1/{1 / s:g}' if s < 1 else '1',
        meaning=lambda s, camera: f'an office of {_OFFICE_LUX:.0f} lux at {_OFFICE_LUX * s:.0f} '
        'lux, exposure unchanged, with the noise of so little light' if s < 1 else 'as stored',
        cause='Evening, lamps off, under tables; automatic exposure off or at its end.',
        remedy='Add a lamp; let the exposure adapt, but mind the blur of long exposures.'),
    Corruption(
        name='colour_bright', title='colour over-exposed', modality='colour',
        unit='times the light', amount='{} the light', severities=(1, 2, 4, 8), clean=1,
        fault=colour_faults.bright, tick=lambda s: f'{s:g}×',
        meaning=lambda s, camera: f'{math.log2(s):.0f} stop{"s" if s > 2 else ""} over: bright '
        'parts turn white' if s > 1 else 'as stored',
        cause='Windows and lamps in view; leaving a dark room before the exposure adapts.',
        remedy='Let automatic exposure weigh the middle; wait for it after a doorway.'),
    Corruption(
        name='colour_motion', title='colour blurred by motion', modality='colour',
        unit='px of smear', amount='{} px of smear', severities=(1, 3, 5, 9, 15), clean=1,
        fault=colour_faults.motion_blurred, tick=lambda s: f'{s:g}',
        meaning=lambda s, camera: f'smeared over {s:g} px: turning at '
        f'{1000 * _degrees(s, camera) / _EXPOSURE_MS:.0f}°/s with an exposure of '
        f'{_EXPOSURE_MS:.0f} ms' if s > 1 else 'as stored',
        cause='Turning quickly, rough ground, long exposures in dim rooms.',
        remedy='Shorten the exposure and add light; turn more slowly.'),
    Corruption(
        name='colour_defocus', title='colour out of focus', modality='colour', unit='px radius',
        amount='a radius of {} px', severities=(0, 1, 2, 3, 5), clean=0,
        fault=colour_faults.defocused, tick=lambda s: f'{s:g}',
        meaning=lambda s, camera: f'a point becomes a disc {2 * s + 1:g} px wide, '
        f'{_degrees(2 * s + 1, camera):.1f}° of the view' if s else 'as stored',
        cause='A lens out of focus, greasy, wet or fogged.',
        remedy='Clean the lens; fix its focus.'),
    Corruption(
        name='colour_noise', title='colour noisy', modality='colour', unit='± of 255',
        amount='± {} of 255', severities=(0, 5, 10, 20, 40), clean=0, fault=colour_faults.noisy,
        tick=lambda s: f'{s:g}',
        meaning=lambda s, camera: f'every value off by ± {s:g} of 255 (one standard deviation)'
        if s else 'as stored',
        cause='High gain in dim rooms; a cheap or hot sensor.',
        remedy='Add light; let the exposure grow before the gain.'),
    Corruption(
        name='colour_jpeg', title='colour compressed', modality='colour', unit='JPEG quality',
        amount='quality {}', severities=(100, 50, 30, 15, 5), clean=100,
        fault=colour_faults.compressed, tick=lambda s: f'{s:g}' if s < 100 else 'none',
        meaning=lambda s, camera: f'JPEG at quality {s:g}' if s < 100 else 'as stored',
        cause='Compressed transport over a weak radio link; recordings made small.',
        remedy='Raise the quality of the compressed topic.'),
)
