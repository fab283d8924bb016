"""The idea itself: a steer, put on a model, folded into it, and shared."""
