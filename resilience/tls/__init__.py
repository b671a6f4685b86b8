"""TLS: whom we trust, what a handshake shows, and why it failed."""
