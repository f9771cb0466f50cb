"""Client secrets: what a call may be, sealed, so that a browser can hold it and nobody keeps it.

A secret holds the session that its calls begin with and the events that its callers may send; one
by which a call goes on elsewhere names that call, too. Any transceiver with its key opens it,
whichever made it, in any cluster; none remembers it, so it can be used again until it expires, and
is revoked only by changing keys.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final, Self

from firsthop import keyring
from firsthop.calls.terms import Terms
from firsthop.config import Settings
from firsthop.errors import AccessError, SignalingError
from firsthop.signaling.sealed import MAX_SEALED, Seal
from firsthop.values import CLIENT_SECRET

#: Longest secret, in characters.
MAX_SECRET: Final = MAX_SEALED


class ClientSecrets:
    """Seals and opens client secrets.

    Args:
        keys: Keys by id, 32 bytes each: of all clusters, or of one.
        key_id: The key to seal under, one of `keys`.
    """

    def __init__(self, keys: Mapping[int, bytes], key_id: int) -> None:
        self._seal = Seal(keys, key_id, "client secret", CLIENT_SECRET)

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Make those of a cluster with these settings; without keys, good for this object."""
        return cls(*(keyring.of_secrets(settings) or keyring.of_this_process()))

    def use(self, keys: Mapping[int, bytes], key_id: int) -> None:
        """Take other keys from now on."""
        self._seal.use(keys, key_id)

    def seal(self, terms: Terms, expires_at: int) -> str:
        """Return a secret that is good for calls on these terms before `expires_at` (Unix seconds).

        Raises:
            SignalingError: The session is too large to travel in a header.
        """
        events = None if terms.client_events is None else sorted(terms.client_events)
        held: list[object] = [terms.session, events]
        if terms.continues is not None:
            held.append(terms.continues)
        secret = self._seal.close(held, expires_at)
        if len(secret) > MAX_SECRET:
            raise SignalingError(
                f"the session is too large for a client secret, which travels in a header: it "
                f"would have {len(secret)} characters, and {MAX_SECRET} fit. Leave parts of it to "
                "a session.update, or place the call with an API key",
                code="session_too_large",
                param="session",
            )
        return secret

    def open(self, secret: str, now: float) -> Terms:
        """Return what a secret holds at the time `now`, in Unix seconds.

        Raises:
            AccessError: 401: it was not made under our keys, was changed, or is expired.
        """
        opened = self._seal.open(secret)
        if opened is None:
            message = (
                "the client secret is none of this server's: damaged, forged, or its key is retired"
            )
            raise AccessError(message, status=401, code="invalid_client_secret")
        (session, events, *more), expires_at = opened
        if now >= expires_at:
            ago = math.floor(now - expires_at)
            message = f"the client secret expired {ago} s ago; ask your server for a new one"
            raise AccessError(message, status=401, code="expired_client_secret")
        return Terms(
            session=session,
            client_events=None if events is None else frozenset(events),
            continues=more[0] if more else None,
        )
