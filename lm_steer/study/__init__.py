"""A study: one config, checked whole before any work, with every default filled in; and what each rule is given of it.

kinds, settings, analyses, …                            its keys, section by section: types, defaults, descriptions
config                                                  the whole, and what must hold between sections
strict_yaml                                             config files, read so that nothing is lost
"""
