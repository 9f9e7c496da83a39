"""Decisions of a window, each with its tiers side by side; and those that came late."""
