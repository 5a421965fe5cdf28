# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""The root of every error a user can cause and mend."""


class DiffPixelError(Exception):
    """A mistake its reader can mend: the message names the thing, what is wrong and what to do.

    The command line turns it into one line on standard error and exit code 2; the ROS node counts
    it, shows it in diagnostics and goes on.
    """


class StoppedError(DiffPixelError):
    """Work that was asked to stop and can go on; the message says how. Exit code 130."""


class DeviceMemoryError(DiffPixelError):
    """The device that computes has not enough memory left; another one, or less work, may help."""
