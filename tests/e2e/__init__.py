"""The whole edge as its users meet it: real processes, real clients, a network of its own."""
