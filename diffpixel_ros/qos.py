# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""AdaptiveSubscription: subscribe as reliably as the publishers allow.

Best-effort VGA images lose 26 to 90 % on one host under Fast DDS defaults, so reliable where
possible; but a reliable subscriber hears nothing at all from a best-effort publisher.
"""

from collections.abc import Callable
from typing import Any

from rclpy.event_handler import (
    QoSMessageLostInfo,
    QoSRequestedIncompatibleQoSInfo,
    SubscriptionEventCallbacks,
)
from rclpy.qos import DurabilityPolicy, QoSPolicyKind, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions

from diffpixel_ros.lifecycle import GuardedLifecycleNode

# Room for a third of a second at 30 Hz. On two cores kept busy by a training run, 2 lost 47 of 240
# images before they could be counted and 10 lost 22; waiting images add no delay, since only the
# newest pair is worked on.
INPUT_DEPTH = 10
OUTPUT_QOS = QoSProfile(depth=2, reliability=ReliabilityPolicy.RELIABLE)
STATIC_QOS = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE,
                        durability=DurabilityPolicy.TRANSIENT_LOCAL)


class AdaptiveSubscription:
    """A subscription that is reliable if every publisher is, else best effort.

    It starts reliable, falls back at the incompatible-QoS event and looks again at `adapt`.

    Args:
        node: The node that subscribes.
        message_type: ROS message class.
        topic: Relative topic name.
        callback: Called with each message; its exceptions are guarded.
        reliability: `auto`, `reliable` or `best_effort`.
        raw: Hand over messages as they were serialised.
        on_lost: Called with the number of messages newly lost in transport; camera_infos that get
            lost do not matter, the next one says the same.
    """

    def __init__(self, node: GuardedLifecycleNode, message_type: Any, topic: str,
                 callback: Callable[[Any], None], *, reliability: str, raw: bool = False,
                 on_lost: Callable[[int], None] | None = None) -> None:
        self._node = node
        self._message_type = message_type
        self._raw = raw
        self._callback = node.guarded(callback)
        self._on_lost = on_lost
        self._subscription: Any = None
        self._name = topic  # remapped once, by rcl; a resolved name would be remapped again
        self.topic = node.resolve_topic_name(topic)
        # Somebody who overrides the policy by hand has decided; `auto` must not fight that.
        self._fixed = reliability != 'auto' or node.has_parameter(
            f'qos_overrides.{self.topic}.subscription.reliability')
        self._reliable = reliability != 'best_effort'
        if not self._fixed:
            self._reliable = self._publishers_are_reliable()
        self._subscribe()

    @property
    def description(self) -> str:
        """The QoS in use and the number of publishers, for diagnostics."""
        policy = self._subscription.qos_profile.reliability.name.lower()
        kind = 'fixed' if self._fixed else 'auto'
        return f'{policy} ({kind}), {self._subscription.get_publisher_count()} publishers'

    def adapt(self) -> None:
        """Subscribe anew if the publishers now allow or demand the other reliability."""
        if self._fixed or self._subscription is None:
            return
        reliable = self._publishers_are_reliable()
        if reliable != self._reliable:
            self.destroy()
            self._reliable = reliable
            self._subscribe()
            self._node.get_logger().info(f'{self.topic}: subscribed anew as {self.description}')

    def destroy(self) -> None:
        """Unsubscribe."""
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
            self._subscription = None

    def _publishers_are_reliable(self) -> bool:
        """Tell whether all publishers are; while there is none, the policy stays as it is."""
        publishers = self._node.get_publishers_info_by_topic(self.topic)
        if not publishers:
            return self._reliable
        return all(publisher.qos_profile.reliability != ReliabilityPolicy.BEST_EFFORT
                   for publisher in publishers)

    def _subscribe(self) -> None:
        kinds = [QoSPolicyKind.DEPTH, QoSPolicyKind.HISTORY]
        if self._fixed:
            kinds.append(QoSPolicyKind.RELIABILITY)
        profile = QoSProfile(depth=INPUT_DEPTH, reliability=(
            ReliabilityPolicy.RELIABLE if self._reliable else ReliabilityPolicy.BEST_EFFORT))
        self._subscription = self._node.create_subscription(
            self._message_type, self._name, self._callback, profile, raw=self._raw,
            event_callbacks=SubscriptionEventCallbacks(
                incompatible_qos=self._node.guarded(self._incompatible),
                message_lost=self._node.guarded(self._lost)),
            qos_overriding_options=QoSOverridingOptions(kinds))

    def _incompatible(self, event: QoSRequestedIncompatibleQoSInfo) -> None:
        if self._fixed:
            self._node.get_logger().warning(
                f'{self.topic}: a publisher offers a QoS that does not go with the '
                f'{self.description} subscription; nothing is received from it. Set input_qos '
                'to auto or best_effort')
        self.adapt()

    def _lost(self, event: QoSMessageLostInfo) -> None:
        if self._on_lost is not None:
            self._on_lost(event.total_count_change)
