"""Stages by OpenAI-compatible HTTP.

::

    transcription, chat, speech   the three stages
      ├── endpoint      a stage's server: requests, retries, patience, and failures in plain words
      │     └── exchange    one request, which can be left at any moment
      ├── completion    the body of a chat answer in, thoughts out; no I/O
      │     ├── sse         server-sent events
      │     ├── thinking    what a model thinks aloud, and nobody should hear
      │     └── toolcalls   tool calls, of their pieces
      └── sound         the body of a speech answer in, PCM out; no I/O
"""

from firsthop.agent.endpoints.chat import EndpointModel
from firsthop.agent.endpoints.speech import EndpointSynthesiser
from firsthop.agent.endpoints.transcription import EndpointTranscriber

__all__ = ["EndpointModel", "EndpointSynthesiser", "EndpointTranscriber"]
