"""Checks of a data set before anything is trained: what is wrong with it, and what training will do with it."""
