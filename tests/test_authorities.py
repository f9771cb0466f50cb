"""Whose certificates are trusted."""

from __future__ import annotations

import ssl

from firsthop.authorities import authorities


def test_one_context_checks_certificates_and_names_for_all() -> None:
    context = authorities()
    assert context is authorities()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.get_ca_certs()
