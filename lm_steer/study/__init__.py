"""A study: one config, checked whole before any work, with every default filled in; and what each rule is given of it.

fields, kinds, settings, analyses, …                    its keys, section by section: types, defaults, descriptions
config                                                  the whole, and what must hold between sections
messages                                                what is said of a config that is wrong
strict_yaml                                             config files, read so that nothing is lost
"""
