"""Whose certificates are trusted, wherever this process connects to."""

from __future__ import annotations

import os
import ssl
from functools import cache

import httpx


@cache
def authorities() -> ssl.SSLContext:
    """Return the context for TLS of all connections that begin here, by HTTP and by WebSocket.

    Trusted are those that ``SSL_CERT_FILE`` and ``SSL_CERT_DIR`` name, as OpenSSL reads them; where
    neither is set, those of the system, and those that browsers trust.

    One for the whole process: loading it takes tens of milliseconds.
    """
    if os.environ.get("SSL_CERT_FILE") or os.environ.get("SSL_CERT_DIR"):
        context = ssl.create_default_context()
    else:
        context = httpx.create_ssl_context(trust_env=False)
        context.load_default_certs()
    # httpx would say so at its first connection: WebSockets are not to differ before and after.
    context.set_alpn_protocols(["http/1.1"])
    return context
