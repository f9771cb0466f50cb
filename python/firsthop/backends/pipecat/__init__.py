"""A call with a Pipecat bot behind it: a pipeline that takes WebSockets.

One WebSocket connection per call, as `FastAPIWebsocketTransport` takes them. The bot hears turns,
interrupts and paces what it says; here its sound becomes speech on the call, and its RTVI messages
become what clients of either kind understand.

::

    backend     one call: its tasks, connecting, and how it ends
      ├── connection   the WebSocket and what can become of it
      ├── outbox       what waits to be sent, bounded
      ├── speech       what the bot says in one turn, on its way to the call
      ├── frames       the bytes; no I/O
      └── rtvi         the bot's messages and the client's events, each in the other's words; no I/O
"""

from firsthop.backends.pipecat.backend import PipecatBackend

__all__ = ["PipecatBackend"]
