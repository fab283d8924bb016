"""Sources of texts and prompts: downloaded, checked, and put into one form."""
