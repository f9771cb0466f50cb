"""Tests of `firsthop.bench.world`."""
