"""`firsthop bench media`: what a call costs the server that answers it, beside other servers."""
