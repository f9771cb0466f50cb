"""How tests ask over HTTP."""

from __future__ import annotations

from typing import Any

import httpx


def client(**more: Any) -> httpx.AsyncClient:
    """Return a client for what is on this machine.

    There is no TLS, and reading certificates for it would take more time than most requests do.
    """
    return httpx.AsyncClient(trust_env=False, verify=False, **more)
