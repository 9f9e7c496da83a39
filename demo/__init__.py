"""The embedded default: a tiny real model pair, its traffic, and the story that `make
demo` tells.
"""
