"""Tests of `firsthop.realtime`."""
