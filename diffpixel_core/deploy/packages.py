# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Packages that only some machines have: missed in one line, and quiet while they work."""

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from diffpixel_core.errors import DiffPixelError


class ConversionError(DiffPixelError):
    """A graph that cannot be made here, or not as asked."""


@contextmanager
def needed(package: str, *, extra: str) -> Iterator[None]:
    """Turn a failed import in the block into a `ConversionError` that says what to install.

    Args:
        package: Name of the package that is imported.
        extra: The extra of ours that installs it.
    """
    try:
        yield
    except ImportError as error:
        raise ConversionError(f'this needs the package {package}, which cannot be imported here '
                              f"({error}); install it with: pip install 'diffpixel_ros[{extra}]'") \
            from error


def without_telemetry() -> None:
    """Keep OpenVINO and NNCF from telling their makers what they convert: they ask nobody.

    To be called before either is imported.
    """
    # None: an import of it fails, and both go on without.
    sys.modules.setdefault('openvino_telemetry', None)  # type: ignore[arg-type]


@contextmanager
def quiet(*names: str) -> Iterator[None]:
    """Keep warnings, and what these loggers say below an error, to themselves in the block.

    Exporters warn about what they do not need and about their own dependencies; a check of the
    result says more.
    """
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
