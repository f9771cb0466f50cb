"""Tests of `firsthop.telemetry`."""
