"""A playground in the browser, which shows unsteered and steered text side by side. Nothing leaves the machine.

lm-steer demo                                # the model and the steers of the last run, on 127.0.0.1
"""
