# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""What each input modality is: channels, unit, missing value and normalisation."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any


@dataclass(frozen=True, slots=True)
class Modality:
    """One kind of input image.

    Attributes:
        name: Key in `MODALITIES`.
        unit: Physical unit of a value after decoding.
        channels: Channels as they arrive; networks get one channel copied three times.
        maximum: Values above are clipped to it before normalising, in `unit`.
        mean: Per-channel mean, in `unit`; the network sees (value - mean) / std.
        std: Per-channel standard deviation, in `unit`.
    """

    name: str
    unit: str
    channels: int
    maximum: float
    mean: tuple[float, ...]
    std: tuple[float, ...]


MODALITIES: Mapping[str, Modality] = MappingProxyType({
    # Source: ImageNet channel statistics, as every MiT and Swin checkpoint expects, on 0..255.
    'rgb': Modality('rgb', '0..255', 3, 255.0, (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
    # 0 m = not measured lies 1.7 standard deviations below the mean, nearer than any sensor sees.
    'depth': Modality('depth', 'm', 1, 10.0, (2.5,), (1.5,)),
})


def normalisation(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return the rows of modalities as plain types, in the order given: a manifest's record."""
    return {name: asdict(MODALITIES[name]) for name in names}
