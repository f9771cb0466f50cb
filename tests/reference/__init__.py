"""A second implementation of firsthop's wire formats, written from `docs/wire-format.md` alone.

It exists to disagree: the vectors in `tests/vectors/` come from here, and the shipped Rust code
must reproduce them. It is slow and clear on purpose, and nothing outside the tests imports it.
"""
