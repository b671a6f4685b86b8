from resilience import env

env.load()  # before settings, wsgi, asgi, and every SDK that reads the environment when imported
