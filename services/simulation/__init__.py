"""Whole deployments on a simulated clock: real API, database, jobs and runtime; only the time is
played.
"""
