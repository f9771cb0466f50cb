"""Whose certificates are trusted."""

from __future__ import annotations

import ssl
from functools import cache

import httpx


@cache
def authorities() -> ssl.SSLContext:
    """Return a context for TLS that trusts those that browsers trust.

    One for all clients of the process: loading it takes 20 ms.
    """
    return httpx.create_ssl_context(trust_env=False)
