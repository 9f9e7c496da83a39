"""Figures with bounds: pure functions from arrays of outcomes to records, and nothing else.

No clock, no database, no file and no randomness live here; whoever calls brings rows that are
joined, mature and in order. What a figure means and where its formula comes from stands at its
function.
"""
