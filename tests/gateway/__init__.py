"""Tests of firsthop.gateway."""
