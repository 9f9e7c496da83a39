"""Graders: labels that a machine makes, from a gold file or from a judge."""
