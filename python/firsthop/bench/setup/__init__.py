"""`firsthop bench setup`: how many round trips it takes until a call can be heard."""
