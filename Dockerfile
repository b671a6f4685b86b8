# Any image with Python 3.11 or newer as python3 will do, the official one or a distribution's.
ARG BASE_IMAGE=python:3.13-slim

FROM ${BASE_IMAGE} AS builder
# Where pip looks, if not in its own index. Not for an address with a password: the builder remembers it.
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
# Debian's own python3 comes without ensurepip.
RUN python3 -c "import ensurepip" 2>/dev/null || \
    (apt-get update && apt-get install -y --no-install-recommends python3-venv)
COPY requirements.txt /
# The environment that is shipped has no pip; wheels only, so no compiler is ever needed.
RUN python3 -m venv /pip && python3 -m venv --without-pip /venv && \
    /pip/bin/pip --python /venv/bin/python install --quiet --no-cache-dir --no-compile --only-binary :all: -r /requirements.txt
# Bytecode is compiled here because the running user may not write it: importing without it takes a cold
# start several times longer. Unchecked, so that it stays valid whatever a builder does with file times.
RUN /venv/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /venv/lib
WORKDIR /app
COPY manage.py gunicorn.conf.py ./
COPY resilience resilience
COPY opsproject opsproject
# A clone that only its owner may read gives an image that nobody may run. The key exists in this step only.
RUN chmod -R u=rwX,go=rX . && \
    /venv/bin/python -m compileall -q --invalidation-mode unchecked-hash resilience opsproject && \
    SECRET_KEY=only-while-building /venv/bin/python manage.py collectstatic --no-input --verbosity 0

FROM ${BASE_IMAGE}
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1
WORKDIR /app
COPY --from=builder /venv /venv
COPY --from=builder /app /app
# Imports what the server imports, as root: the official image ships its standard library without bytecode.
RUN SECRET_KEY=only-while-building python -c "import gunicorn.app.wsgiapp, gunicorn.workers.gthread, opsproject.wsgi"
# A number, so that an orchestrator can prove that it is not root. It owns nothing: set DATABASE_URL.
USER 10001:10001
EXPOSE 8000
# Is the server alive? Not whether Redis and the database are: a restart would not mend them.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-m", "resilience.livecheck"]
# gunicorn is the first process itself, so a platform's SIGTERM reaches it: it ends what it has begun.
CMD ["gunicorn", "opsproject.wsgi"]
