"""Command lines: flags to configuration to package."""
