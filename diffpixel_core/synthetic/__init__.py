# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Procedural RGB-D rooms: shapes, materials, rooms, a ray caster, sensor noise and camera walks.

Rooms are made from a seed, so a newcomer can train, evaluate and replay offline with exact labels.
They never stand in for a real data set: every number measured on them must say so.
"""
