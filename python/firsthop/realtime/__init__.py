"""The Realtime contract without I/O: events, the session, the conversation, what is being played.

Events come in and go out as JSON-like mappings, in the shapes of the Realtime API as it is
generally available. Who sends them where is the transceiver's and the backends' matter.
"""
