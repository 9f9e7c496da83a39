"""Recorded answers of real models played through a whole deployment, with a shift half-way: what
rings, when, why, and what stays silent.
"""
