"""`firsthop plan`."""
