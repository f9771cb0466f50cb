"""Tests of `firsthop.backends`."""
