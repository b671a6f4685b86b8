"""Every environment variable that the package reads, and how a read is found in its source."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from resilience.history.identity import RELEASES

KNOWN: dict[str, dict[str, str]] = {
    "Switches": {
        "RESILIENCE_ENV": "One more file is read: `.env.NAME`",
        "RESILIENCE_DOTENV": "`off`: no `.env` file is read",
        "RESILIENCE_REHEARSAL_NAMESPACE": "`off`: `rehearse` keeps away the network by Python",
        "RESILIENCE_ENV_SIGNATURES": "Written by `env.load()`: which values came from files",
        "STATUS_TOKEN": "`checkdeploy --url`: the deployment's token",
        "GITHUB_STEP_SUMMARY": "With `--format github`: the file that gets the report as Markdown",
        "NO_COLOR": "Set to anything: reports without colours",
        "DJANGO_SETTINGS_MODULE": "The settings, as everywhere in Django",
    },
    "Variables of your own": {
        "NAME": "Whatever settings declare with [resilience.env](env.md)",
        "NAME_FILE": "A file that holds the value of `NAME`",
        "CREDENTIALS_DIRECTORY": "A directory of secrets as systemd's, besides `/run/secrets`",
    },
    "Trust": {
        "TLS_CA_BUNDLE": 'Path of more authorities; `RESILIENCE["TLS"]["CA"]` wins',
        "TLS_CA_PEM": "The same as PEM text, or its base64",
        "SSL_CERT_FILE": "OpenSSL's file in place of the system's",
        "SSL_CERT_DIR": "OpenSSL's directories in place of the system's",
        "REQUESTS_CA_BUNDLE": "The store of requests; examined",
        "CURL_CA_BUNDLE": "The same; examined",
        "AWS_CA_BUNDLE": "The store of boto3; examined",
        "PGSSLROOTCERT": "The store of libpq; examined",
        "PGSSLMODE": "Whether libpq speaks TLS where `sslmode` is not in `DATABASES`",
        "HTTPS_PROXY": "Followed by TLS probes and LangSmith's, with `ALL_PROXY`, `NO_PROXY`",
    },
    "The server": {
        "PORT": "Where the platform sends requests; also for `python -m resilience.livecheck`",
        "WEB_CONCURRENCY": "How many processes gunicorn starts",
        "GUNICORN_CMD_ARGS": "gunicorn's arguments: processes, grace",
        "POD_IP": "Whether `ALLOWED_HOSTS` knows the address of the pod",
    },
    "LangSmith": {
        "LANGSMITH_ENDPOINT": "Each also as `LANGCHAIN_…`, which the SDK reads second",
        "LANGSMITH_API_KEY": "The key",
        "LANGSMITH_WORKSPACE_ID": "The workspace of a key for several",
        "LANGSMITH_TRACING": "Also `LANGSMITH_TRACING_V2`: only `true` traces",
        "LANGSMITH_RUNS_ENDPOINTS": "Several addresses",
        "LANGSMITH_CONFIG_FILE": "The SDK's own file, whether it is there",
        "LANGSMITH_DISABLE_RUN_COMPRESSION": "Set to `true` by our component unless it is set",
    },
    "Settings that may be variables": {
        "SENTRY_DSN": "If no setting has this name: a TLS server to examine",
        "CELERY_BROKER_URL": "The same, with `BROKER_URL` and `CELERY_RESULT_BACKEND`",
        "AWS_S3_ENDPOINT_URL": "The same, with `AWS_S3_REGION_NAME`",
    },
    "Platforms": {
        "RAILWAY_VOLUME_MOUNT_PATH": "Whether a database file lies on the volume",
        "RAILWAY_HEALTHCHECK_TIMEOUT_SEC": "How long a start may take",
        "RAILWAY_DEPLOYMENT_DRAINING_SECONDS": "How long requests may finish",
    },
    "The running code": dict.fromkeys(RELEASES, "A commit, or another one for each release"),
}
# Modules that read a variable whose name is not written at that place, and which these are.
COMPUTED = {
    "env.handover": "RESILIENCE_ENV_SIGNATURES, in parts",
    "env.loading": "the names in .env files",
    "env.sources": "NAME and NAME_FILE",
    "env.state": "the names in .env files",
    "history.identity": "commits, and digests of the names that .env files and declarations know",
    "hosting": "the signals and commits of its tables",
    "probes.discovery": "Settings that may be variables",
    "probes.env": "lines of a file that may be names",
    "probes.hosting_server": "the grace of its table",
    "probes.langsmith_config": "LangSmith, in both spellings",
    "probes.langsmith_static": "LangSmith, in both spellings",
    "probes.surroundings": "domains of its table",
    "redact": "every value, none of which may be printed",
    "tls.policy": "Trust",
    "tls.stores": "Trust",
    "tls.reading": "Trust",
}
# What a rehearsal reads and writes is the environment that it makes for the project.
_NOT_OURS = ("simulation", "rehearse")
_READING = frozenset(("get", "pop", "setdefault"))


def reads(package: Path) -> Iterator[tuple[str, str]]:
    """Module and variable of every read; the variable is empty where its name is computed."""
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        if parts[0] in _NOT_OURS:
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        constants = {
            node.targets[0].id: node.value.value
            for node in tree.body
            if isinstance(node, ast.Assign)
            and isinstance(node.targets[0], ast.Name)
            and isinstance(node.value, ast.Constant)
        }
        for name in filter(None, map(_name, ast.walk(tree))):
            value = constants.get(name.id) if isinstance(name, ast.Name) else None
            value = name.value if isinstance(name, ast.Constant) else value
            yield ".".join(parts), str(value or "")


def _name(node: ast.AST) -> ast.expr | None:
    """What is asked of the environment, if this node asks it."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
        asked = node.func.attr in _READING and _is_environ(node.func.value)
        return node.args[0] if asked or node.func.attr == "getenv" else None
    if isinstance(node, ast.Call) and node.args:  # map(os.environ.get, names)
        handed = [each for each in node.args if isinstance(each, ast.Attribute)]
        return next((each for each in handed if _is_environ(each.value)), None)
    if isinstance(node, ast.Subscript) and _is_environ(node.value):
        return node.slice
    if isinstance(node, ast.Compare) and any(map(_is_environ, node.comparators)):
        return node.left
    return None


def _is_environ(node: ast.expr) -> bool:
    name = getattr(node, "attr", getattr(node, "id", ""))
    return name == "environ"
