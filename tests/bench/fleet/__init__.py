"""Tests of `firsthop bench fleet`: of the simulation's rules, and that chance is seeded."""
