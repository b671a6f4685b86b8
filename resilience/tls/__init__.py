"""What this process trusts, and why a handshake failed."""
