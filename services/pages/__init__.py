"""The pages: what happens in every cascade, rendered on the server, readable without a script."""
