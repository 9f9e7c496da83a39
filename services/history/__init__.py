"""History in and out: outcome tables, hidden states beside them, and files of labels."""
