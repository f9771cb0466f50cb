"""Tests of `firsthop.agent.offline`."""
