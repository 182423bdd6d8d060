"""Trained networks: what travels with them, and applying them to scans."""
