"""A store that processes share and do not trust: it sees sealed values under hashed names."""
