"""Today's signals beside those that the champion was made from."""
