"""Tests of RTVI without a network."""
