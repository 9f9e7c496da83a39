"""What the pages say of a cascade: where its promise stands, what happened, figures over a time."""
