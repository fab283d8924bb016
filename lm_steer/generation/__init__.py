"""Sample continuations in blocks, each individually reproducible."""
