"""Benchmarks: `firsthop bench`. They run from a checkout, whose folder `bench/` has their sources.

`report`, `plot` and `machine` know nothing of what is measured. `relay` is one benchmark, and
everything else here serves it. See ``docs/benchmarks.md`` for the method and how to read it.
"""
