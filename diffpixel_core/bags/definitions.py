# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Message types: as a bag describes them, or as the releases of ROS 2 define them."""

from collections.abc import Iterable, Iterator
from functools import cache

from rosbags.interfaces import MessageDefinition, MessageDefinitionFormat
from rosbags.interfaces.typing import Typesdict
from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

# Recordings before Iron carry no definitions; a message is read by the first release that fits.
_RELEASES = (Stores.ROS2_JAZZY, Stores.ROS2_HUMBLE, Stores.ROS2_GALACTIC, Stores.ROS2_FOXY)
# Separates the definitions of a type and of those it is made of.
_IDL_RULE = '=' * 80 + '\n'


@cache
def release(name: Stores) -> Typestore:
    """Return the types of a release; shared, so nothing may be registered in it."""
    return get_typestore(name)


def jazzy() -> Typestore:
    """Return the types of ROS 2 Jazzy, which is what the rest of DiffPixel speaks."""
    return release(Stores.ROS2_JAZZY)


def store_of(types: Typesdict) -> Typestore:
    """Return a store with these types alone."""
    store = get_typestore(Stores.EMPTY)
    store.register(types)
    return store


def described(definition: MessageDefinition, kind: str) -> Typesdict:
    """Return a type and those it is made of, as a bag describes them; empty if it does not.

    Source of the layout: rosbag2 (jazzy), local_message_definition_source.cpp.
    """
    if not definition.data.strip():
        return {}
    if definition.format is MessageDefinitionFormat.MSG:
        return get_types_from_msg(definition.data, kind)
    types: Typesdict = {}
    if definition.format is MessageDefinitionFormat.IDL:
        for part in definition.data.split(_IDL_RULE):
            # Each part but a lone one begins with a line that names it.
            text = part.partition('\n')[2] if part.startswith('IDL: ') else part
            if text.strip():
                types.update(get_types_from_idl(text))
    return types


def stores_for(kind: str, definitions: Iterable[MessageDefinition],
               distro: str) -> Iterator[Typestore]:
    """Yield stores that may decode messages of a type, the likeliest first.

    Args:
        kind: The type, such as `sensor_msgs/msg/Image`.
        definitions: What the bag says about it.
        distro: Release that recorded it, such as `humble`, or ''.

    Raises:
        Exception: If the bag's own definition cannot be parsed and no release knows the type.
    """
    named = [store for store in Stores if store.value == f'ros2_{distro}']
    releases = [release(store) for store in dict.fromkeys([*named, *_RELEASES])]
    known = [store for store in releases if kind in store.types]
    for definition in definitions:
        try:
            types = described(definition, kind)
        except Exception:
            if not known:
                raise
            continue
        if kind in types:
            yield store_of(types)
    yield from known
