"""The gateway: an OpenAI-compatible server that answers from a cascade, and tells which tier
answered and why.
"""
