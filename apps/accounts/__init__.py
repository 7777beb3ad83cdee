"""Who may call us: staff and their roles, partner apps and their tokens, idempotency keys."""
