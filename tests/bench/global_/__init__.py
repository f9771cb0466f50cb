"""Tests of `firsthop.bench.global_`."""
