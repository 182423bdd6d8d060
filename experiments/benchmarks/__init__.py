"""What experiments.benchmark runs: one module per subcommand, and what they share. None imports jax when imported,
except those whose docstring says so."""
