"""How many small faults the tests notice: `make mutants`, or `python -m benchmarks.mutants --help`.

A mutant is the product with one place changed. `changes` makes them, `executed` knows which tests
execute a line, and `trial` runs those on a copy of the tree.
"""
