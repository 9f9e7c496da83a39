"""The savings and the risk alarm, and looks at a bundle after a ring."""
