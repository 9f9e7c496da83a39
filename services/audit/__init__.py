"""Proof afterwards: why a query went where it went, and that nobody changed the record since."""
