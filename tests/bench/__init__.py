"""Tests of the benchmarks: not of what they measure."""
