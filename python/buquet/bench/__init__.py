"""``buquet bench``: what a queue does on this machine, measured and counted."""
