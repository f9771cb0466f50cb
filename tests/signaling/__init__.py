"""Tests of the signaling protocols."""
