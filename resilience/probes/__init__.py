"""One question per file. A probe returns findings; the runner owns time, crashes and causes."""
