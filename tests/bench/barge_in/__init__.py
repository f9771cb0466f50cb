"""Tests of the barge-in benchmark."""
