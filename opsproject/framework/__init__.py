"""Four phases that answer a question, as an example of components: gather, reason, evaluate, learn.

``settings.COMPONENTS`` declares them, each requiring the one before. Nothing here is imported, and
no client is built, before somebody asks the first question.
"""
