"""TLS: why a handshake failed."""
