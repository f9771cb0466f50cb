"""The flow cache: in a real Redis that fails in every way."""
