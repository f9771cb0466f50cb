"""What signaling protocols are given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from firsthop.config import Settings
from firsthop.telemetry.metrics import Metrics
from firsthop.transceiver.calls import Calls
from firsthop.transceiver.signaling.clientsecret import ClientSecrets
from firsthop.transceiver.signaling.forwarding import Forwarding
from firsthop.transceiver.signaling.placing import Placing


@dataclass(frozen=True, slots=True)
class Desk:
    """The transceiver as its signaling sees it."""

    calls: Calls
    placing: Placing
    secrets: ClientSecrets
    forwarding: Forwarding
    metrics: Metrics

    @classmethod
    def of(cls, settings: Settings, calls: Calls, metrics: Metrics) -> Self:
        """Set up the desk of a transceiver.

        Raises:
            ConfigError: A setting names what there is not.
        """
        return cls(
            calls,
            Placing(settings),
            ClientSecrets.of(settings),
            Forwarding(settings, calls, metrics),
            metrics,
        )
