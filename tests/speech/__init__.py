"""Tests of `firsthop.speech`."""
