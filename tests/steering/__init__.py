"""Tests of firsthop.steering."""
