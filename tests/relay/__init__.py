"""Tests of `firsthop.relay`."""
