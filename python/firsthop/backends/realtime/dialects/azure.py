"""OpenAI's models as Azure serves them: the same protocol at another door."""

from __future__ import annotations

from firsthop.backends.realtime.dialects.base import with_query
from firsthop.backends.realtime.dialects.beta import Beta
from firsthop.backends.realtime.dialects.openai import OpenAI


def _key_header(api_key: str | None) -> dict[str, str]:
    return {} if api_key is None else {"api-key": api_key}


class Azure(OpenAI):
    """``/openai/v1/realtime``; the model is a deployment."""

    def headers(self, api_key: str | None) -> dict[str, str]:
        """Return the headers of the handshake. They hold the key: not for logs."""
        return _key_header(api_key)


class AzurePreview(Beta):
    """``/openai/realtime?api-version=...``: the dated API from before that."""

    speaks = Beta.speaks | {"semantic_vad"}

    def url(self, url: str, model: str | None) -> str:
        """Return where to connect to; the api-version is part of the setting."""
        return with_query(url, "deployment", model)

    def headers(self, api_key: str | None) -> dict[str, str]:
        """Return the headers of the handshake. They hold the key: not for logs."""
        return _key_header(api_key)
