"""Sources of labelled texts, a module each, named after the source."""
