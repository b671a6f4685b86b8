"""Which processes there are and have been, and how every subject did: kept in the database."""
