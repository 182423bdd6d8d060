"""What a study will take before it runs: steps, memory, time and room on disk.

The doctor's estimate needs a data set alone (estimate); the plan of a study counts its runs and measures the very
programs that they would use (study_plan). Modules are imported one by one, as most of them import jax.
"""
