"""How fast this machine does the work."""
