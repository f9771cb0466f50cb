"""Tests of `firsthop.bench.endpoints`."""
