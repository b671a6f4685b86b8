"""The example project on Railway: the web service, PostgreSQL and Redis.

``railway config plan`` shows what would change, ``railway config apply`` changes it. It follows
railway.json, which Railway stops reading on 2026-12-01. Needs railway-sdk 0.7 or newer.
"""

from typing import Any

from railway_sdk import define_railway, postgres, preserve, project, redis, service


@define_railway
def main(_context: Any = None) -> Any:
    database, cache = postgres("Postgres"), redis("Redis")
    web = service(
        "web",
        # In a container of its own, with the private network: a database that cannot be migrated
        # or a report with an error stops the deploy, and the old one stays.
        preDeploy="/bin/sh -c 'python manage.py migrate --no-input"
        " && python manage.py checkdeploy --stage predeploy'",
        healthcheck="/readyz",
        healthcheckTimeout=120,
        replicas=2,
        env={
            "SECRET_KEY": preserve(),
            "STATUS_TOKEN": preserve(),
            "DATABASE_URL": database.env.DATABASE_URL,
            "REDIS_URL": cache.env.REDIS_URL,
            "ALLOWED_HOSTS": "${{RAILWAY_PUBLIC_DOMAIN}}",
            "WEB_CONCURRENCY": "2",
            # gunicorn lets requests finish for 25 s; Railway's default is to kill after 0.
            "RAILWAY_DEPLOYMENT_DRAINING_SECONDS": "35",
        },
    )
    return project("opsproject", resources=[database, cache, web])
