"""Tests of the benchmark of set-up."""
