"""Where a process runs is said by all signals of a row, and not by one fewer."""

from __future__ import annotations

import socket
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from resilience import hosting
from resilience.errors import UsageError
from tests.env.test_dotenv import as_nobody

MANAGED = (
    "railway heroku render fly cloud-foundry azure-app-service cloud-run lambda ecs nomad "
    "kubernetes"
).split()

# Written out once more on purpose: the platforms' own documentation, not our table.
ROWS: list[tuple[str, dict[str, str]]] = [
    ("railway", {"RAILWAY_ENVIRONMENT_ID": "e", "RAILWAY_SERVICE_ID": "s"}),
    ("railway", {"RAILWAY_ENVIRONMENT_NAME": "production"}),
    ("railway", {"RAILWAY_ENVIRONMENT": "production"}),
    ("heroku", {"DYNO": "web.1"}),
    ("render", {"RENDER": "true"}),
    ("render", {"RENDER_SERVICE_ID": "srv-1"}),
    ("fly", {"FLY_APP_NAME": "shop"}),
    ("cloud-foundry", {"VCAP_APPLICATION": "{}"}),
    (
        "azure-app-service",
        {
            "WEBSITE_SITE_NAME": "shop",
            "WEBSITE_INSTANCE_ID": "i",
            "WEBSITE_RESOURCE_GROUP": "g",
            "WEBSITE_SKU": "Basic",
        },
    ),
    ("cloud-run", {"K_SERVICE": "shop", "K_REVISION": "shop-1"}),
    ("cloud-run", {"CLOUD_RUN_JOB": "migrate"}),
    ("lambda", {"AWS_LAMBDA_FUNCTION_NAME": "shop"}),
    ("lambda", {"AWS_EXECUTION_ENV": "AWS_Lambda_python3.13"}),
    ("ecs", {"ECS_CONTAINER_METADATA_URI_V4": "http://169.254.170.2/v4/1"}),
    ("ecs", {"ECS_CONTAINER_METADATA_URI": "http://169.254.170.2/v3/1"}),
    ("ecs", {"AWS_EXECUTION_ENV": "AWS_ECS_FARGATE"}),
    ("nomad", {"NOMAD_ALLOC_ID": "a"}),
    ("kubernetes", {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}),
    ("podman", {"container": "podman"}),
    ("container", {"container": "lxc"}),
]

FILES = [
    ("kubernetes", "var/run/secrets/kubernetes.io/serviceaccount"),
    ("podman", "run/.containerenv"),
    ("docker", ".dockerenv"),
    ("container", "run/host/container-manager"),
]


def detect(environ: dict[str, str], root: Path, forced: str | None = None) -> hosting.Hosting:
    return hosting.detect(forced=forced, environ=environ, root=root)


def write(root: Path, path: str, text: str = "") -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text, encoding="utf-8")


# ── the table ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("slug", "signals"), ROWS)
def test_all_signals_of_a_row_name_the_platform(slug, signals, tmp_path):
    found = detect(signals, tmp_path)
    assert (found.platform, set(found.signals)) == (slug, set(signals))
    assert (found.on_platform, found.forced) == (slug in MANAGED, False)


@pytest.mark.parametrize(("slug", "signals"), ROWS)
def test_one_signal_missing_or_empty_names_no_platform(slug, signals, tmp_path):
    for name in signals:
        fewer = {key: value for key, value in signals.items() if key != name}
        for environ in (fewer, {**fewer, name: ""}):
            found = detect(environ, tmp_path)
            assert (found.platform, found.kind, found.signals) == ("none", "none", ())
            assert not found.on_platform


@pytest.mark.parametrize(
    "environ",
    [{"RENDER": "1"}, {"AWS_EXECUTION_ENV": "CloudShell"}, {"AWS_EXECUTION_ENV": "AWS_ECS"}],
)
def test_another_value_names_no_platform(environ, tmp_path):
    assert detect(environ, tmp_path).platform == "none"


@pytest.mark.parametrize(("slug", "path"), FILES)
def test_a_marker_file_names_the_platform(slug, path, tmp_path):
    assert detect({}, tmp_path).platform == "none"
    write(tmp_path, path)
    found = detect({}, tmp_path)
    assert (found.platform, found.signals) == (slug, (f"/{path}",))


def test_every_row_of_the_table_is_tested():
    assert {slug for slug, _ in [*ROWS, *FILES]} | {"none"} == set(hosting.CHOICES)
    assert len(ROWS) + len(FILES) == sum(len(row.signals) for row in hosting.PLATFORMS)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(ROWS), min_size=2, max_size=4))
def test_of_several_platforms_the_outermost_wins(rows):
    """A PaaS runs on an orchestrator, which runs containers: the order of the choices."""
    environ: dict[str, str] = {}
    for _, signals in reversed(rows):
        environ |= signals
    # Two rows may give one variable two values: then only one of them is there.
    there = [slug for slug, signals in ROWS if signals.items() <= environ.items()]
    if "container" in environ and environ["container"] == "podman":
        there.append("podman")
    expected = min(there, key=hosting.CHOICES.index)
    assert detect(environ, Path("/nonexistent")).platform == expected


def test_a_marker_that_may_not_be_seen_is_none():
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        root.chmod(0o755)
        write(root, "run/.containerenv")
        for mode, platform in ((0o600, "none"), (0o755, "podman")):
            (root / "run").chmod(mode)
            with as_nobody():
                assert detect({}, root).platform == platform


# ── forced ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("slug", hosting.CHOICES)
def test_a_forced_platform_is_taken_against_all_signals(slug, tmp_path):
    found = detect({"DYNO": "web.1"}, tmp_path, forced=slug)
    assert (found.platform, found.forced) == (slug, True)
    assert found.signals == ("RESILIENCE['PLATFORM']",)
    assert found.on_platform == (slug != "none")


def test_a_container_is_a_platform_only_if_forced(tmp_path):
    write(tmp_path, ".dockerenv")
    assert not detect({}, tmp_path).on_platform
    assert detect({}, tmp_path, forced="docker").on_platform


def test_a_forced_unknown_name_is_refused_with_the_nearest(tmp_path):
    with pytest.raises(UsageError) as caught:
        detect({}, tmp_path, forced="Railway")
    assert str(caught.value) == "there is no platform 'Railway'. Did you mean 'railway'?"


def test_a_forced_unknown_name__twin__one_without_a_likeness(tmp_path):
    with pytest.raises(UsageError, match=r"^there is no platform 'xyz'\.$"):
        detect({}, tmp_path, forced="xyz")


# ── instance, CI ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("environ", "instance"),
    [
        ({"RAILWAY_ENVIRONMENT_NAME": "x", "RAILWAY_REPLICA_ID": "r1"}, "r1"),
        ({"DYNO": "web.2"}, "web.2"),
        ({"RENDER": "true", "RENDER_INSTANCE_ID": "r2"}, "r2"),
        ({"FLY_APP_NAME": "x", "FLY_MACHINE_ID": "m1"}, "m1"),
        ({"VCAP_APPLICATION": "{}", "CF_INSTANCE_INDEX": "0"}, "0"),
        ({"NOMAD_ALLOC_ID": "a1"}, "a1"),
        ({"AWS_LAMBDA_FUNCTION_NAME": "x", "AWS_LAMBDA_LOG_STREAM_NAME": "l1"}, "l1"),
        (dict(ROWS[8][1]), "i"),
        ({**ROWS[17][1], "HOSTNAME": "shop-7d9f"}, "shop-7d9f"),
        ({"container": "podman", "HOSTNAME": "pod"}, "pod"),
    ],
)
def test_the_instance_is_what_the_platform_calls_it(environ, instance, tmp_path):
    assert detect(environ, tmp_path).instance == instance


@pytest.mark.parametrize(
    "environ", [{}, {"FLY_APP_NAME": "x"}, {"K_SERVICE": "x", "K_REVISION": "y"}]
)
def test_without_such_a_name_the_instance_is_the_host(environ, tmp_path):
    assert detect(environ, tmp_path).instance == socket.gethostname()


@pytest.mark.parametrize(
    "name",
    "GITHUB_ACTIONS GITLAB_CI CIRCLECI BUILDKITE JENKINS_URL TF_BUILD CI".split(),
)
def test_ci_is_known(name, tmp_path):
    assert detect({name: "true"}, tmp_path).ci == name


def test_ci_is_named_by_its_variable(tmp_path):
    assert detect({"CI": "true", "GITLAB_CI": "true"}, tmp_path).ci == "GITLAB_CI"
    assert detect({"CI": "true"}, tmp_path).ci == "CI"
    assert detect({"CI": ""}, tmp_path).ci is None


# ── limits ──────────────────────────────────────────────────────────────────────────────────────

V2 = "sys/fs/cgroup/memory.max"
V1 = "sys/fs/cgroup/memory/memory.limit_in_bytes"


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({V2: "536870912\n"}, 536870912),
        ({V2: "max\n"}, None),
        ({V1: "268435456\n"}, 268435456),
        ({V1: "9223372036854771712\n"}, None),
        ({V2: "max\n", V1: "268435456\n"}, 268435456),
        ({V2: "1\n", V1: "2\n"}, 1),
        ({V2: "\n"}, None),
        ({V2: "0\n"}, None),
        ({V1: "-1\n"}, None),
        ({V2: "\xff\n"}, None),
        ({}, None),
    ],
)
def test_the_memory_limit_is_the_control_groups(files, limit, tmp_path):
    for path, text in files.items():
        write(tmp_path, path, text)
    assert detect({}, tmp_path).memory_limit == limit


@pytest.mark.parametrize(
    ("environ", "processes", "source"),
    [
        ({}, None, None),
        ({"WEB_CONCURRENCY": "3"}, 3, "WEB_CONCURRENCY"),
        ({"WEB_CONCURRENCY": "many"}, None, None),
        ({"WEB_CONCURRENCY": ""}, None, None),
        ({"WEB_CONCURRENCY": "0"}, None, None),
        ({"WEB_CONCURRENCY": "-1"}, None, None),
        ({"WEB_CONCURRENCY": "9" * 5000}, None, None),
        ({"GUNICORN_CMD_ARGS": f"-w {'9' * 5000}"}, None, None),
        ({"GUNICORN_CMD_ARGS": "-w 4"}, 4, "GUNICORN_CMD_ARGS"),
        ({"GUNICORN_CMD_ARGS": "-w4"}, 4, "GUNICORN_CMD_ARGS"),
        ({"GUNICORN_CMD_ARGS": "--timeout 9 --workers 5"}, 5, "GUNICORN_CMD_ARGS"),
        ({"GUNICORN_CMD_ARGS": "--workers=6 -b :8000"}, 6, "GUNICORN_CMD_ARGS"),
        ({"GUNICORN_CMD_ARGS": "-w 2 -w 7"}, 7, "GUNICORN_CMD_ARGS"),
        ({"GUNICORN_CMD_ARGS": "-w 4", "WEB_CONCURRENCY": "3"}, 4, "GUNICORN_CMD_ARGS"),
        ({"GUNICORN_CMD_ARGS": "--threads 4", "WEB_CONCURRENCY": "3"}, 3, "WEB_CONCURRENCY"),
        ({"GUNICORN_CMD_ARGS": "--worker-class gthread --worker-connections 9"}, None, None),
    ],
)
def test_how_many_processes_the_server_is_told_to_start(environ, processes, source, tmp_path):
    found = detect(environ, tmp_path)
    assert (found.processes, found.processes_source) == (processes, source)


SHA = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize("name", hosting.COMMITS)
def test_the_commit_is_what_a_variable_names(name, tmp_path):
    assert detect({name: f" {SHA}\n"}, tmp_path).commit == SHA
    assert detect({}, tmp_path).commit == ""


def test_the_platforms_own_variable_wins_and_a_branch_is_no_commit(tmp_path):
    environ = {"GIT_SHA": "f" * 40, "RAILWAY_GIT_COMMIT_SHA": SHA}
    assert detect(environ, tmp_path).commit == SHA
    assert detect({"SOURCE_VERSION": "main", "GIT_SHA": SHA[:7]}, tmp_path).commit == SHA[:7]
    assert detect({"SOURCE_VERSION": "v1.2.3"}, tmp_path).commit == ""


MOUNTS = "proc/self/mountinfo"
OVERLAY = "1 0 0:50 / / rw,relatime - overlay overlay rw,lowerdir=/l,upperdir=/u\n"
DISK = "1 0 8:1 / / rw,relatime - ext4 /dev/sda1 rw\n"
OVERLAY_ELSEWHERE = "2 1 0:50 / /var/lib/layers rw - overlay overlay rw\n"


@pytest.mark.parametrize(
    ("files", "in_container"),
    [
        ({}, False),
        ({".dockerenv": ""}, True),
        ({"run/.containerenv": ""}, True),
        ({MOUNTS: OVERLAY}, True),
        ({MOUNTS: DISK}, False),
        ({MOUNTS: DISK + OVERLAY_ELSEWHERE}, False),
    ],
)
def test_whether_the_file_system_is_a_containers(files, in_container, tmp_path):
    for path, text in files.items():
        write(tmp_path, path, text)
    assert detect({}, tmp_path).in_container is in_container


def test_without_arguments_it_is_this_process(monkeypatch):
    for name in {name for _, signals in ROWS for name in signals}:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("FLY_APP_NAME", "shop")
    assert hosting.detect().platform == "fly"
    monkeypatch.delenv("FLY_APP_NAME")
    assert hosting.detect().platform != "fly"


@pytest.mark.parametrize("noise", ["", "\n\n", "1 0 8:1\n", "- - -\n", "\udcff\udcfe - x\n", " \n"])
def test_a_line_that_is_no_mount_hides_no_other(noise, tmp_path):
    """Sandboxes write a /proc of their own."""
    place = tmp_path / MOUNTS
    place.parent.mkdir(parents=True)
    line = "2 1 8:1 / /my\\040data\\134x rw - ext4 /dev/sdb rw"
    place.write_bytes(f"{noise}{OVERLAY}{line}".encode(errors="surrogateescape"))
    assert list(hosting.mounts(tmp_path))[-2:] == [("/", "overlay"), ("/my data\\x", "ext4")]
    assert detect({}, tmp_path).in_container


def test_a_line_that_is_no_mount__twin__there_is_no_other(tmp_path):
    write(tmp_path, MOUNTS, "1 0 8:1\n")
    assert list(hosting.mounts(tmp_path)) == []
