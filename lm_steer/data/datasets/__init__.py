"""Sources of labelled texts: one module each, named after the source."""
