"""The files that deploy the example are right by their own formats and by our rules."""

from __future__ import annotations

import copy
import importlib.util
import re
import runpy
import shlex
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml
from django.core.management import load_command_class
from railway_sdk import Project, create_railway_context

from resilience.probes.surroundings import HEALTH
from tests.processes import ROOT, SECRET_KEY, manage

GUNICORN = runpy.run_path(str(ROOT / "gunicorn.conf.py"))
DOCKERFILE = (ROOT / "Dockerfile").read_text()
# Without the middleware the endpoints that these files ask for are not there yet.
SERVED = HEALTH in (ROOT / "opsproject/settings.py").read_text()
REQUIRED = {"SECRET_KEY", "STATUS_TOKEN", "DATABASE_URL", "REDIS_URL"}

# ── Railway ─────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def railway() -> dict[str, Any]:
    """What Railway's own SDK makes of the file, by name of the resource."""
    program = runpy.run_path(str(ROOT / ".railway/railway.py"))["main"]
    made = program(create_railway_context({"environment": "production"}))
    assert isinstance(made, Project)
    return {each["name"]: each for each in made.to_graph()["resources"]}


def test_railways_file_makes_three_resources(railway):
    assert {name: each["type"] for name, each in railway.items()} == {
        "Postgres": "database",
        "Redis": "database",
        "web": "service",
    }
    deploy = railway["web"]["deploy"]
    assert deploy["healthcheckPath"] == "/readyz"
    assert (deploy["healthcheckTimeout"], deploy["numReplicas"]) == (120, 2)


def test_railways_variables_refer_to_resources_and_hold_no_secret(railway):
    variables = railway["web"]["variables"]
    for name, resource in (("DATABASE_URL", "Postgres"), ("REDIS_URL", "Redis")):
        assert variables[name]["type"] == "reference"
        assert variables[name]["resource"] == railway[resource]["address"]
    assert {variables[name]["type"] for name in ("SECRET_KEY", "STATUS_TOKEN")} == {"preserve"}
    drained = int(variables["RAILWAY_DEPLOYMENT_DRAINING_SECONDS"]["value"])
    assert drained > GUNICORN["graceful_timeout"]


def test_railways_commands_are_understood(railway):
    [command] = railway["web"]["deploy"]["preDeployCommand"]
    shell, option, script = shlex.split(command)
    assert (shell, option) == ("/bin/sh", "-c")
    migrate, check = (shlex.split(part) for part in script.split("&&"))
    assert migrate[2:] == ["migrate", "--no-input"]
    assert understood(check)["stage"] == "predeploy"


@pytest.mark.parametrize(("broken", "id"), [({}, ""), ({"HTTPS": "false"}, "hosting.proxy-header")])
def test_our_rules_have_nothing_against_it(railway, broken, id, tmp_path):
    """With the variables of the file, as Railway fills them in; the twin has one more."""
    domain = "shop.up.railway.app"
    literal = {
        name: value["value"].replace("${{RAILWAY_PUBLIC_DOMAIN}}", domain)
        for name, value in railway["web"]["variables"].items()
        if value["type"] == "literal"
    }
    ended = manage(
        "checkdeploy",
        *("hosting", "--format", "json", "--stage", "build"),
        DATABASE_URL=f"sqlite:///{tmp_path}/db.sqlite3",  # the rule about it is another test's
        SECRET_KEY=SECRET_KEY,
        RAILWAY_ENVIRONMENT_ID="e",
        RAILWAY_SERVICE_ID="s",
        RAILWAY_PUBLIC_DOMAIN=domain,
        **(literal | broken),
    )
    wrong = {each["id"] for each in ended.report["findings"] if each["level"] in BAD}
    wrong -= {"hosting.local-state"}
    if not SERVED:
        wrong -= {"hosting.healthcheck-host", "hosting.ssl-redirect"}
    assert wrong - {"hosting.csrf-origin"} == ({id} if id else set())


BAD = ("warning", "error")

# ── Kubernetes ──────────────────────────────────────────────────────────────────────────────────


def manifests() -> dict[str, Any]:
    text = (ROOT / "deploy/kubernetes.yaml").read_text()
    return {each["kind"]: each for each in yaml.safe_load_all(text)}


def wrong_with(there: dict[str, Any]) -> set[str]:
    """The names of the rules that the manifests break. docs/explanation/platforms.md says why."""
    return set(_wrong(there))


def _wrong(there: dict[str, Any]) -> Iterator[str]:  # noqa: C901 - a list of rules
    deployment, service = there["Deployment"], there["Service"]
    pod = deployment["spec"]["template"]
    spec = pod["spec"]
    [web] = spec["containers"]
    labels = pod["metadata"]["labels"]
    selectors = (deployment["spec"]["selector"]["matchLabels"], service["spec"]["selector"])
    if any(selector != labels for selector in selectors):
        yield "selectors"
    ports = {port["name"]: port["containerPort"] for port in web["ports"]}
    env = {each["name"]: str(each["value"]) for each in web["env"]}
    if env["PORT"] != str(ports["http"]) or service["spec"]["ports"][0]["targetPort"] != "http":
        yield "port"
    asked = {name: web[f"{name}Probe"] for name in ("startup", "liveness", "readiness")}
    paths = {name: probe["httpGet"]["path"] for name, probe in asked.items()}
    if paths != {"startup": "/livez", "liveness": "/livez", "readiness": "/readyz"}:
        yield "paths"
    # The endpoint answers within 1 s; the kubelet's own default of 1 s is too little then.
    if any(probe.get("timeoutSeconds", 1) < 2 for probe in asked.values()):
        yield "timeouts"
    paused = int(web["lifecycle"]["preStop"]["exec"]["command"][1])
    grace = spec.get("terminationGracePeriodSeconds", 30)
    if grace < paused + GUNICORN["graceful_timeout"] + 5:
        yield "grace"
    if spec.get("enableServiceLinks", True):
        yield "service links"
    [user] = re.findall(r"^USER (\d+):(\d+)$", DOCKERFILE, re.MULTILINE)
    allowed = spec["securityContext"]
    if not allowed.get("runAsNonRoot") or str(allowed.get("runAsUser")) != user[0]:
        yield "user"
    own = web["securityContext"]
    if own.get("allowPrivilegeEscalation", True) or own["capabilities"] != {"drop": ["ALL"]}:
        yield "rights"
    mounted = {each["mountPath"]: each["name"] for each in web["volumeMounts"]}
    empty = {each["name"] for each in spec["volumes"] if "emptyDir" in each}
    if own.get("readOnlyRootFilesystem") and mounted.get("/tmp") not in empty:
        yield "tmp"
    limits = web["resources"]["limits"]
    if "memory" not in limits or "cpu" in limits:
        yield "limits"
    if "spec" in deployment and deployment["spec"]["replicas"] < 2:
        yield "replicas"


def test_the_manifest_keeps_the_rules():
    assert wrong_with(manifests()) == set()


def _pod(there: dict[str, Any]) -> Any:
    return there["Deployment"]["spec"]["template"]["spec"]


def _web(there: dict[str, Any]) -> Any:
    return _pod(there)["containers"][0]


BREAKS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "selectors": lambda m: m["Service"]["spec"]["selector"].update(app="other"),
    "port": lambda m: _web(m)["env"][0].update(value="8080"),
    "paths": lambda m: _web(m)["livenessProbe"]["httpGet"].update(path="/readyz"),
    "timeouts": lambda m: _web(m)["readinessProbe"].pop("timeoutSeconds"),
    "grace": lambda m: _pod(m).pop("terminationGracePeriodSeconds"),
    "service links": lambda m: _pod(m).pop("enableServiceLinks"),
    "user": lambda m: _pod(m)["securityContext"].update(runAsUser=1000),
    "rights": lambda m: _web(m)["securityContext"].pop("allowPrivilegeEscalation"),
    "tmp": lambda m: _pod(m)["volumes"].clear(),
    "limits": lambda m: _web(m)["resources"]["limits"].update(cpu="1"),
    "replicas": lambda m: m["Deployment"]["spec"].update(replicas=1),
}


@pytest.mark.parametrize("rule", BREAKS)
def test_the_manifest_keeps_the_rules__twin(rule):
    broken = copy.deepcopy(manifests())
    BREAKS[rule](broken)
    assert wrong_with(broken) == {rule}


def test_the_manifest_names_the_secrets_that_the_project_needs():
    text = (ROOT / "deploy/kubernetes.yaml").read_text()
    assert set(re.findall(r"--from-literal=(\w+)=", text)) == REQUIRED
    assert _web(manifests())["envFrom"] == [{"secretRef": {"name": "web"}}]


# ── GitHub ──────────────────────────────────────────────────────────────────────────────────────


def understood(words: list[str]) -> dict[str, Any]:
    """What a management command makes of its arguments; SystemExit if it does not know them."""
    assert words[:2] == ["python", "manage.py"]
    command = load_command_class("resilience", words[2])
    return vars(command.create_parser("manage.py", words[2]).parse_args(words[3:]))


@pytest.fixture(scope="module")
def steps() -> list[dict[str, Any]]:
    workflow = yaml.safe_load((ROOT / ".github/workflows/deploy.yml").read_text())
    assert workflow["permissions"] == {"contents": "read"}
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


def gives_the_token_to_previews(job: dict[str, Any]) -> bool:
    """Whether a deployment of a pull request would see it: its code runs here and there."""
    secrets = any("secrets." in str(step.get("env")) for step in job["steps"])
    return (
        secrets and "endsWith(github.event.deployment.environment, 'production')" not in job["if"]
    )


def test_the_token_is_for_production_alone():
    workflow = yaml.safe_load((ROOT / ".github/workflows/deploy.yml").read_text())
    assert not any(map(gives_the_token_to_previews, workflow["jobs"].values()))


def test_the_token_is_for_production_alone__twin():
    after = yaml.safe_load((ROOT / ".github/workflows/deploy.yml").read_text())["jobs"]["after"]
    everywhere = after | {"if": after["if"].partition("&&")[0]}
    assert gives_the_token_to_previews(everywhere)


def commands(steps: list[dict[str, Any]], name: str) -> list[tuple[list[str], dict[str, str]]]:
    found = []
    for step in steps:
        words = shlex.split(step.get("run", ""))
        if words[2:3] == [name]:
            found.append((words, step.get("env", {})))
    return found


def test_the_workflows_checks_are_understood(steps):
    (before, _), (after, env) = commands(steps, "checkdeploy")
    assert (understood(before)["stage"], understood(before)["format"]) == ("build", "github")
    filled = {"$URL": "https://shop.example", "$SHA": "0123456789abcdef"}
    options = understood([filled.get(word, word) for word in after])
    assert (options["wait"], options["format"]) == (300.0, "github")
    assert options["url"].origin == "https://shop.example"
    assert {"URL", "SHA", "STATUS_TOKEN"} <= set(env)


def test_the_workflow_puts_no_value_of_the_event_into_a_command(steps):
    """Only into variables: a command would run what somebody named a branch or a URL."""
    assert not [step["run"] for step in steps if "${{" in step.get("run", "")]


def test_the_workflow_rehearses(steps):
    [(words, _)] = commands(steps, "rehearse")
    if importlib.util.find_spec("resilience.management.commands.rehearse") is None:
        assert words[3:] == ["--platform", "railway", "--format", "github"]
    else:
        assert understood(words)["platform"] == "railway"


def test_the_workflow_checks_before_a_deploy_without_any_secret(tmp_path):
    """As the job runs it: no variable of the app is set there."""
    ended = manage("checkdeploy", "--stage", "build", "--format", "github", SECRET_KEY=None)
    assert ended.code == 0, ended.out
    assert "::warning" in ended.out
