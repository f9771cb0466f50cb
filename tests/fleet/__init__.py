"""Tests of the fleet: what there is, how it does, and files that are read again."""
