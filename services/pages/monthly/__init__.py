"""A cascade's month, for whoever answers for it: one page in plain words, from stored figures."""
