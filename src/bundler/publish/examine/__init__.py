"""What people ask about a release: where a value comes from, what differs, who uses it."""
