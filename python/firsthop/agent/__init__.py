"""The agent service: hears, thinks and speaks, and talks to its callers in the Realtime API.

`voice` is the agent, which joins three stages: a transcriber, a model and a synthesiser (`stages`).
Each is an OpenAI-compatible endpoint (`endpoints`), or works offline (`offline`). `tools` are what
the model may call. `service` serves it all by WebSocket.
"""
