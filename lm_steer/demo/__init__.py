"""A playground in the browser: one prompt, one slider per dimension, unsteered and steered text streamed side by side.

    lm-steer demo                                # the model and the steers of the last run, on 127.0.0.1

It also shows evidence in a text and the words of a steer's directions. Nothing leaves the machine.
"""
