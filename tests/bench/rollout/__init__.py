"""Tests of `firsthop.bench.rollout`."""
