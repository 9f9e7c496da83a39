"""When something is said, and the sentence that says why."""
