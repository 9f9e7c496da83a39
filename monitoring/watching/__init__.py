"""One window of one cascade: what is read, concluded and written."""
