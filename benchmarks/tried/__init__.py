"""What was tried in the place of something of ours and not taken; docs/decisions says why."""
