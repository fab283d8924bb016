"""A study: one config, checked as a whole before any work, with all defaults filled in; and what each rule takes of it.

kinds, settings, analyses, …                            its keys, section by section: types, defaults, descriptions
config                                                  the whole, and the constraints between sections
strict_yaml                                             config files, read so that nothing is lost
"""
