"""What ``/livez`` and ``/readyz`` answer: one question of the conversation per file."""
