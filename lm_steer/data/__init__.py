"""Sources of texts and prompts: downloaded, checked, and brought into one form."""
