"""Tests of the backend that is another Realtime server."""
