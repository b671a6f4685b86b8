"""A report as text or data: one pure function per file."""
