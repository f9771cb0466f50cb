"""Tests of the chart and of what runs by it."""
