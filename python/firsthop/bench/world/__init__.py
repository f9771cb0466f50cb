"""A world on one machine: regions of network namespaces, and the distances between them.

`places` says who is where and how far apart, `router` is the network between all of them, `world`
is what benchmarks and tests use. Linux, and root.
"""
