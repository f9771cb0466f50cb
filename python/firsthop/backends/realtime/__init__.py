"""A call with another Realtime server behind it: OpenAI, Azure, LocalAI, speaches and others.

One WebSocket connection per call. What the server lacks of the contract is made up for here, so
that clients find the same edge whoever answers.

::

    backend     one call: its tasks, connecting, connecting again
      ├── connection   the WebSocket and what can become of it
      ├── outbox       what waits to be sent, bounded
      ├── speech       what the server says, on its way to the call
      └── bridge       events of the call and of the server in, actions out; no I/O
            ├── caller      the caller's sound: what of it the server gets
            ├── responses   responses as clients have to see them, complete and in order
            ├── aliases     items that the client knows by other ids
            ├── history     what a new connection is told of the conversation
            └── dialects    how servers differ
"""

from firsthop.backends.realtime.backend import RealtimeBackend

__all__ = ["RealtimeBackend"]
