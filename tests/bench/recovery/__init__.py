"""Tests of `firsthop bench recovery`: of what it says, and not of how long anything takes."""
