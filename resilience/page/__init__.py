"""The status page: in the admin, and behind the token where the database is down."""
