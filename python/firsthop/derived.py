"""Keys for one purpose each, made from a cluster key: none of them tells of another."""

from __future__ import annotations

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF


def derived(master: bytes, label: str, length: int = 32) -> bytes:
    """Derive the key of a purpose by HKDF-SHA256 (RFC 5869).

    Args:
        master: A cluster key, 32 bytes.
        label: The purpose.
        length: Of the key, in bytes.
    """
    hkdf = HKDF(algorithm=SHA256(), length=length, salt=b"firsthop", info=label.encode())
    return hkdf.derive(master)
