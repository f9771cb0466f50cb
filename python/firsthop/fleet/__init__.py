"""The fleet: all clusters and ingress points, where they are, and how they do.

What there is comes from a file; how it does, from probes of our own and from the heartbeats of all.
None of it is needed to go on: whatever fails, the last view stays.
"""
