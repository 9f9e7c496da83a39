"""The HTTP API: decisions and labels in, verdicts, assignments and bundles out."""
