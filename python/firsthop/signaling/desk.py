"""What signaling protocols are given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Self

from firsthop.calls.calls import Calls
from firsthop.config import Settings
from firsthop.signaling.clientsecret import ClientSecrets
from firsthop.signaling.forwarding import Forwarding
from firsthop.signaling.placing import Placing
from firsthop.signaling.sealed import Seal
from firsthop.telemetry.metrics import Metrics


@dataclass(frozen=True, slots=True)
class Desk:
    """The transceiver as its signaling sees it."""

    calls: Calls
    placing: Placing
    secrets: ClientSecrets
    forwarding: Forwarding
    metrics: Metrics
    seal: Callable[[str], Seal]
    """Makes a seal for a purpose of a protocol's own."""

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
            partial(Seal.of, settings),
        )
