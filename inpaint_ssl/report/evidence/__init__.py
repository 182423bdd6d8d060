"""RESULTS.md: collecting what studies of the evidence wrote, and writing it up from these files alone. No jax here."""
