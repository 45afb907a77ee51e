"""From settings to objects; the only room that knows both."""
