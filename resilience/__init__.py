"""A Django app keeps answering when Redis, TLS, a secret or an SDK fails, and one command says why.

Importing this package does nothing: it is safe on line 1 of a project, before any settings.
"""
