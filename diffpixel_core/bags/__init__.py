# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Recordings without ROS: rosbag2 of every kind is written and read, ROS 1 bags are read.

A bag comes into being whole or not at all, and reading one either yields every message it counts,
or says what is missing: no silent halves.
"""

from diffpixel_core.bags.contents import BagError, BagMessage, TopicInfo
from diffpixel_core.bags.reader import BagReader
from diffpixel_core.bags.writer import COMPRESSIONS, STORAGES, BagWriter, message_header

__all__ = ['COMPRESSIONS', 'STORAGES', 'BagError', 'BagMessage', 'BagReader', 'BagWriter',
           'TopicInfo', 'message_header']
