"""Segmenting and measuring new scans with a trained model: what goes in, and what is written of it.

Modules are imported one by one: those that write masks, pictures, tables and the page need no jax.
"""
