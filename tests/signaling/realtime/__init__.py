"""Tests of the Realtime API: over HTTP, by WebSocket."""
