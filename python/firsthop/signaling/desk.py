"""What signaling protocols are given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from fastapi import Request, WebSocket

from firsthop import keyring
from firsthop.calls.calls import Calls
from firsthop.calls.terms import Terms
from firsthop.config import Settings
from firsthop.signaling.access import Access, caller_of
from firsthop.signaling.clientsecret import ClientSecrets
from firsthop.signaling.forwarding import Forwarding
from firsthop.signaling.handover import Handovers
from firsthop.signaling.placing import Placing
from firsthop.signaling.sealed import Seals
from firsthop.signaling.steering import Steering
from firsthop.telemetry.metrics import Metrics


@dataclass(frozen=True, slots=True)
class Desk:
    """The transceiver as its signaling sees it."""

    calls: Calls
    placing: Placing
    secrets: ClientSecrets
    forwarding: Forwarding
    handovers: Handovers
    metrics: Metrics
    seal: Seals
    """Makes a seal for a purpose of a protocol's own."""
    access: Access
    """Decides who is let in."""
    steering: Steering | None = None
    """Chooses ingress points; None: answers name those of the settings."""

    @classmethod
    def of(
        cls,
        settings: Settings,
        calls: Calls,
        metrics: Metrics,
        steering: Steering | None = None,
    ) -> Self:
        """Set up the desk of a transceiver.

        Raises:
            ConfigError: A setting names what there is not.
        """
        secrets = ClientSecrets.of(settings)
        forwarding = Forwarding(settings, calls, metrics)
        return cls(
            calls,
            Placing(settings),
            secrets,
            forwarding,
            Handovers(calls, forwarding),
            metrics,
            Seals(settings),
            Access(settings, secrets),
            steering,
        )

    def use(self, settings: Settings) -> None:
        """Take over keys that have changed; of nothing that was sealed before is any refused.

        That is, while `settings` still have its key.
        """
        if (ring := keyring.of_secrets(settings)) is not None:
            self.secrets.use(*ring)
        self.seal.use(settings)
        self.access.use(settings)
        self.forwarding.use(settings)

    async def terms(
        self,
        connection: Request | WebSocket,
        session: Mapping[str, Any],
        model: str | None = None,
    ) -> Terms:
        """Return the terms of a call that is asked for; its client is steered.

        Of a call that goes on with another one, that one is asked for the conversation first.

        Args:
            connection: What asks for it.
            session: The request's session.
            model: What is taken if neither the session nor the caller's secret names one.

        Raises:
            AccessError: 403: the caller's secret does not allow this session.
            SignalingError: The session's list of events is wrong.
        """
        caller = await self.handovers.continued(caller_of(connection))
        terms = self.placing.terms(caller, session, model)
        if self.steering is None or not isinstance(connection, Request):
            return terms
        return replace(terms, steered=self.steering.steer(connection))
