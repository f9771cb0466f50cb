"""`firsthop bench global`: calls from afar, in three ways, and what breaks in the middle of one."""
