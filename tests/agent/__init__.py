"""Tests of `firsthop.agent`."""
