"""Tests of `firsthop.transceiver`."""
