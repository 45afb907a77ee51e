"""Which action runs where and when: the scheduler's decisions, pure."""
