"""`firsthop bench fleet`: a planned fleet, and what becomes of it when parts of it go."""
