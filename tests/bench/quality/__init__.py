"""Tests of `firsthop bench quality`: of its arithmetic, and not of how anything sounds."""
