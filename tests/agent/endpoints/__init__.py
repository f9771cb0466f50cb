"""Tests of `firsthop.agent.endpoints`."""
