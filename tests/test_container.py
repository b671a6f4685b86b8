"""What is known of the container without building it; ``scripts/test-container`` does the rest."""

from __future__ import annotations

import ast
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.container import __main__ as command, base, contents, context, engines, site
from tests.container.buildah import inside
from tests.container.contents import File
from tests.processes import ROOT, run

DOCKERFILE = (ROOT / "Dockerfile").read_text()
PLAIN, FOLDER = 0o100644, 0o040755


# ── Dockerfile ──────────────────────────────────────────────────────────────────────────────────


def instructions(dockerfile: str) -> list[tuple[str, str]]:
    """Every instruction and its arguments, continued lines joined."""
    joined = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", dockerfile, flags=re.MULTILINE))
    lines = [line.split(None, 1) for line in joined.splitlines() if line.strip()]
    return [(name.upper(), rest) for name, rest in lines]


def shipped(dockerfile: str) -> list[tuple[str, str]]:
    """Those of the last stage."""
    found = instructions(dockerfile)
    start = max(place for place, (name, _) in enumerate(found) if name == "FROM")
    return found[start:]


def dockerfile_problems(dockerfile: str) -> set[str]:
    stages = [rest for name, rest in instructions(dockerfile) if name == "FROM"]
    last = shipped(dockerfile)
    values = dict(last)
    found = set()
    if {stage.split()[0] for stage in stages} != {"${BASE_IMAGE}"} or len(stages) < 2:
        found.add("base")
    if not re.fullmatch(r"[1-9]\d*:[1-9]\d*", values.get("USER", "")):
        found.add("user")
    if not values.get("CMD", "").startswith('["gunicorn"'):
        found.add("first process")
    if any(word in rest for name, rest in last if name == "RUN" for word in ("pip ", "apt")):
        found.add("installs where it is shipped")
    if any(name == "COPY" and "--from=builder" not in rest for name, rest in last):
        found.add("copies with the context's modes")
    if any("SECRET" in rest for name, rest in instructions(dockerfile) if name in ("ENV", "ARG")):
        found.add("secret")
    if [name for name, _ in last].index("USER") < [name for name, _ in last].index("RUN"):
        found.add("user before root is done")
    return found


def test_dockerfile():
    assert dockerfile_problems(DOCKERFILE) == set()


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("FROM ${BASE_IMAGE} AS builder", "FROM python:3.13 AS builder", "base"),
        ("USER 10001:10001", "USER app", "user"),
        ("USER 10001:10001", "USER 0:0", "user"),
        ('CMD ["gunicorn", "opsproject.wsgi"]', "CMD gunicorn opsproject.wsgi", "first process"),
        ("USER 10001", "RUN apt-get update\nUSER 10001", "installs where it is shipped"),
        ("USER 10001", "COPY opsproject .\nUSER 10001", "copies with the context's modes"),
        ("ENV PATH", "ENV SECRET_KEY=x PATH", "secret"),
        ("WORKDIR /app\nCOPY --from", "USER 1:1\nCOPY --from", "user before root is done"),
    ],
)
def test_dockerfile__twins(old, new, problem):
    assert old in DOCKERFILE
    assert problem in dockerfile_problems(DOCKERFILE.replace(old, new))


def test_dockerfile__copies_what_its_imports_need():
    """Every top-level folder that the shipped packages import from is copied."""
    copied = " ".join(rest for name, rest in instructions(DOCKERFILE) if name == "COPY").split()
    imported = set()
    for package in ("opsproject", "resilience"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    imported.add(node.module.partition(".")[0])
    ours = {path.name for path in ROOT.iterdir() if (path / "__init__.py").exists()}
    assert imported & ours <= set(copied)


def test_health_command():
    assert context.health_command('HEALTHCHECK --interval=1s \\\n    CMD ["a", "b"]\n') == [
        "a",
        "b",
    ]
    assert context.health_command('HEALTHCHECK CMD ["a"]\nCMD ["b"]') == ["a"]
    assert context.health_command('CMD ["b"]') == []
    assert context.health_command(DOCKERFILE)[:2] == ["python", "-m"]


def test_default_base():
    assert re.fullmatch(r"python:3\.\d+-slim", context.default_base(DOCKERFILE))
    with pytest.raises(AssertionError, match="BASE_IMAGE"):
        context.default_base("FROM scratch")


# ── build context ───────────────────────────────────────────────────────────────────────────────


def test_context__is_a_copy_with_plants(tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    for name in ("opsproject/settings.py", ".env", ".git/HEAD", ".venv-test/x", "manage.py"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text("the developer's own")
    context.make(source, target)
    for name in context.PLANTED:
        assert (target / name).read_text() == context.CANARY
    assert (target / "manage.py").read_text() == "the developer's own"
    assert not (target / ".venv-test").exists()
    assert not (target / ".git/HEAD").exists()
    assert all(path.stat().st_mode & 0o077 == 0 for path in target.rglob("*"))


def ignored(path: str, lines: list[str]) -> bool:
    """Docker's rule: the last line that matches the path or a folder above it decides."""
    out = False
    parts = path.split("/")
    for line in lines:
        pattern = line.removeprefix("!")
        above = ["/".join(parts[: place + 1]) for place in range(len(parts))]
        if any(re.fullmatch(_regex(pattern), one) for one in above):
            out = not line.startswith("!")
    return out


def _regex(pattern: str) -> str:
    pattern = re.escape(pattern).replace(r"\*\*/", "(.*/)?").replace(r"\*", "[^/]*")
    return pattern.replace(r"\[", "[").replace(r"\]", "]")


def test_dockerignore():
    lines = [
        line for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] not in "# "
    ]
    for name in (*context.PLANTED, "tests/test_conf.py", "scripts/run", ".venv/bin/python"):
        assert ignored(name, lines), name
    for name in ("manage.py", "opsproject/settings.py", "resilience/findings.md"):
        assert not ignored(name, lines), name
    assert not ignored("opsproject/.env", lines[:6])  # the twin: without its last lines
    tracked = run("git", "ls-files", "opsproject", "resilience", variables={}).out.split()
    if tracked:
        assert not [name for name in tracked if ignored(name, lines)]


# ── the judge of an image ───────────────────────────────────────────────────────────────────────

FINE = [
    File("/app", 0, 0, FOLDER, told=False),
    File("/app/manage.py", 10, 0, PLAIN, told=False),
    File("/app/opsproject/settings.py", 10, 0, PLAIN, told=False),
    File("/app/opsproject/__pycache__/settings.cpython-313.pyc", 10, 0, PLAIN, told=False),
    File("/venv/bin/python", 0, 0, 0o120777, told=False),
    File("/venv/lib/python3.13/site-packages/certifi/cacert.pem", 10, 0, PLAIN, told=False),
    File("/usr/share/doc/gcc", 0, 0, FOLDER, told=False),
]


def test_contents__fine():
    assert contents.problems(FINE) == []


@pytest.mark.parametrize(
    "path",
    [
        "/app/.env",
        "/app/opsproject/.env.production",
        "/app/opsproject/.git",
        "/app/db.sqlite3",
        "/app/opsproject/server.key",
        "/app/tests",
        "/app/resilience/.cache",
        "/usr/bin/gcc-12",
        "/usr/bin/x86_64-linux-gnu-gcc",
        "/usr/local/bin/cc",
        "/usr/bin/make",
        "/venv/bin/pip3.13",
        "/pip",
        "/root/.cache/pip",
        "/var/cache/apt/archives/x.deb",
        "/var/lib/apt/lists/deb.example_dists_bookworm_main_binary-amd64_Packages.lz4",
        "/tmp/left",
    ],
)
def test_contents__what_must_not_be_there(path):
    assert contents.problems([*FINE, File(path, 1, 0, PLAIN, told=False)])


@pytest.mark.parametrize(
    ("file", "said"),
    [
        (File("/etc/motd", 1, 0, PLAIN, told=True), "planted"),
        (File("/app/own", 1, 10001, PLAIN, told=False), "belongs"),
        (File("/app/locked", 1, 0, 0o100600, told=False), "cannot be read"),
        (File("/app/opsproject", 0, 0, 0o040744, told=False), "cannot be read"),
        (File("/app/opsproject/new.py", 1, 0, PLAIN, told=False), "no bytecode"),
    ],
)
def test_contents__what_is_wrong_with_it(file, said):
    (problem,) = contents.problems([*FINE, file])
    assert said in problem


def test_contents__lists_a_real_tree(tmp_path):
    """The program itself, on a small tree instead of the whole root."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/told").write_text(f"x{context.CANARY}x")
    (tmp_path / "plain").write_text("12345")
    (tmp_path / "again").hardlink_to(tmp_path / "plain")
    (tmp_path / "link").symlink_to("/nowhere")
    program = contents.LIST.replace('os.walk("/")', f"os.walk({str(tmp_path)!r})")
    program = program.replace('os.lstat("/")', f"os.lstat({str(tmp_path)!r})")
    listed = run(sys.executable, "-c", program, context.CANARY, variables={})
    found = {Path(file.path).name: file for file in contents.parse(listed.out)}
    assert [name for name, file in found.items() if file.told] == ["told"]
    assert found["plain"].size + found["again"].size == 5
    assert found["folder"].size == found["link"].size == 0
    assert contents.mebibytes(list(found.values())) == (5 + 2 + len(context.CANARY)) / (1 << 20)


# ── engines and bases ───────────────────────────────────────────────────────────────────────────


def program(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_engine__the_first_that_works(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(command, "ENGINES", ("docker", "podman"))
    program(tmp_path, "docker", "exit 1")  # a client without its daemon
    program(tmp_path, "podman", "exit 0")
    chosen = command.choose(tmp_path)
    assert chosen is not None
    assert chosen.program == str(tmp_path / "podman")
    assert command.choose(tmp_path, "docker") is None


def test_engine__without_overlay_buildah_copies(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.delenv("STORAGE_DRIVER", raising=False)
    program(tmp_path, "buildah", 'case "$*" in *vfs*) exit 0;; esac; exit 1')
    chosen = command.choose(tmp_path, "buildah")
    assert chosen is not None
    assert "vfs" in chosen._words("info")
    monkeypatch.setenv("STORAGE_DRIVER", "btrfs")  # who says what to use is not second-guessed
    assert command.choose(tmp_path, "buildah") is None


def test_engine__build_says_why_it_failed_and_never_the_values(tmp_path):
    program(tmp_path, "docker", f'echo "$*" >{tmp_path}/said; echo "$PIP_INDEX_URL"; exit 3')
    engine = engines.Engine(str(tmp_path / "docker"), tmp_path)
    with pytest.raises(engines.Failed, match=r"build ended with 3:\nhttps://index"):
        engine.build(tmp_path, {"PIP_INDEX_URL": "https://index.example"})
    said = (tmp_path / "said").read_text()
    assert "--build-arg PIP_INDEX_URL" in said
    assert "index.example" not in said


def test_engine__ends_what_it_runs(tmp_path, monkeypatch):
    """The engine's command is a stand-in; the process and its end are real."""
    monkeypatch.setattr(engines, "STOP_WITHIN", 0.2)
    killed = tmp_path / "killed"
    program(
        tmp_path,
        "docker",
        f'if [ "$1" = kill ]; then echo "$*" >>{killed}; exit 0; fi\n'
        f'if [ "$1" = rm ]; then echo "$*" >>{tmp_path}/removed; exit 0; fi\nexec sleep 60',
    )
    engine = engines.Engine(str(tmp_path / "docker"), tmp_path)
    running = engine.run(log=tmp_path / "log")
    running.end()  # its stand-in obeys no signal
    assert running.process.poll() is not None
    assert [line.split()[2] for line in killed.read_text().splitlines()] == ["SIGTERM", "SIGKILL"]
    engine.close()
    assert (tmp_path / "removed").read_text().split() == ["rm", "--force", running.name]


def may_mount() -> bool:
    asked = ["unshare", "--mount", "true"]
    return os.geteuid() == 0 and not subprocess.run(asked, check=False).returncode


@pytest.mark.skipif("not may_mount()", reason="another root needs root, and leave to mount")
def test_inside__finds_who_has_another_root(tmp_path):
    script = "".join(
        f"mkdir -p {tmp_path}{path} && mount --bind {path} {tmp_path}{path} && "
        for path in ("/bin", "/lib", "/lib64", "/usr")
    )
    start = f"{script}chroot {tmp_path} /usr/bin/sleep 20"
    outside = subprocess.Popen(["unshare", "--mount", "sh", "-c", f"{start}; exit 7"])
    try:
        deadline = time.monotonic() + 10
        while not (found := inside(outside.pid)) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert len(found) == 1
        assert b"sleep" in Path(f"/proc/{found[0]}/cmdline").read_bytes()
        os.kill(found[0], signal.SIGTERM)
        assert outside.wait(10) == 7
    finally:
        outside.kill()
        outside.wait()
    assert inside(os.getpid()) == []


def test_base__from_what_apt_lists():
    listed = (
        "http://one.example/debian/ bookworm-updates main\n"
        "cdrom:[x]/ bookworm main\n"
        "http://two.example/debian/ bookworm main\n"
        "http://two.example/debian/ bookworm contrib\n"
        "http://three.example/debian/ bookworm non-free\n"
    )
    source = base.parse_source(listed, "bookworm")
    assert source == ("http://two.example/debian/", "bookworm", ("contrib", "main"))
    with pytest.raises(engines.Failed, match="no mirror of trixie"):
        base.parse_source(listed, "trixie")


def test_base__needs_root_and_debootstrap(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(engines.Failed, match="debootstrap, as root"):
        base.make(engines.Engine("docker", tmp_path))


# ── the commands ────────────────────────────────────────────────────────────────────────────────


def test_script__without_any_engine(tmp_path):
    """One clear sentence and a status of its own; CI takes it for a pass."""
    for name in ("dirname", "bash", "env"):
        (tmp_path / name).symlink_to(str(shutil.which(name)))
    ended = run(str(ROOT / "scripts/test-container"), variables={"PATH": str(tmp_path)})
    assert ended.code == command.SKIPPED, ended.err
    (line,) = ended.err.splitlines()
    assert line.startswith("test-container: skipping: this needs buildah debootstrap")
    assert not ended.out


def test_program__without_the_engine_that_was_asked_for(tmp_path):
    (tmp_path / "docker").write_text("#!/bin/sh\nexit 1")
    (tmp_path / "docker").chmod(0o755)
    words = (sys.executable, "-m", "tests.container", "--engine", "docker")
    ended = run(*words, variables={"PATH": str(tmp_path), "TMPDIR": str(tmp_path)})
    assert (ended.code, ended.out) == (command.SKIPPED, "skipped: docker does not work here\n")
    assert [path.name for path in tmp_path.iterdir()] == ["docker"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_program__interrupted_while_it_builds(tmp_path, number):
    """The engine is a stand-in that notes what it is asked for, and builds for a minute."""
    said, mine = tmp_path / "said", tmp_path / "tmp"
    mine.mkdir()
    script = f'echo "$1" >>{said}\n[ "$1" != build ] || exec /bin/sleep 60'
    program(tmp_path, "docker", script)
    started = subprocess.Popen(
        [sys.executable, "-m", "tests.container", "--engine", "docker"],
        cwd=ROOT,
        env={"PATH": str(tmp_path), "TMPDIR": str(mine)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + 20
        while not (said.exists() and "build" in said.read_text()) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert list(mine.iterdir())
        started.send_signal(number)
        assert started.communicate(timeout=20)[0].splitlines()[-1] == "interrupted"
    finally:
        started.kill()
        started.wait()
    assert started.returncode == 130
    assert said.read_text().split() == ["info", "pull", "build", "rmi"]
    assert list(mine.iterdir()) == []


def test_ci_takes_a_skip_for_a_pass():
    assert f"$code == {command.SKIPPED}" in (ROOT / ".ci/run").read_text()


# ── compose.yaml ────────────────────────────────────────────────────────────────────────────────

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
_CONDITIONS = {"service_started", "service_healthy", "service_completed_successfully"}
_SERVICE = {
    "build", "cap_drop", "command", "depends_on", "environment", "healthcheck", "image",
    "ports", "read_only", "restart", "security_opt", "stop_grace_period", "tmpfs", "volumes",
}  # fmt: skip


def compose_problems(compose: dict[str, Any]) -> set[str]:
    found = {"unknown key" for key in compose if key not in {"name", "services", "volumes"}}
    for name, service in compose["services"].items():
        found |= {f"{name}: {problem}" for problem in _service_problems(service, compose)}
    web = compose["services"]["web"]
    if float(web["stop_grace_period"].removesuffix("s")) <= site.GRACEFUL:
        found.add("web: no time to end")
    for variable, scheme in (("DATABASE_URL", "postgres"), ("REDIS_URL", "redis")):
        if not re.match(rf"{scheme}://.*@{scheme}:\d+/", web["environment"][variable]):
            found.add(f"web: {variable}")
    return found


def _service_problems(service: dict[str, Any], compose: dict[str, Any]) -> Iterator[str]:
    if set(service) - _SERVICE:
        yield "unknown key"
    if ("build" in service) == ("image" in service):
        yield "build or image"
    if not re.search(r":(?!latest)[^:/]+$", service.get("image", "a:1")):
        yield "version"
    if not all(
        re.fullmatch(r"127\.0\.0\.1:(\$\{\w+:-\d+\}|\d+):\d+", port)
        for port in service.get("ports", [])
    ):
        yield "port"
    if any(
        volume.partition(":")[0] not in compose["volumes"] for volume in service.get("volumes", [])
    ):
        yield "volume"
    if not all(isinstance(value, str) for value in service.get("environment", {}).values()):
        yield "a variable is no text"
    for other, how in service.get("depends_on", {}).items():
        known = compose["services"].get(other, {})
        if not known or how["condition"] not in _CONDITIONS:
            yield "depends on"
        if how["condition"] == "service_healthy" and "healthcheck" not in known:
            yield "waits for a health that nobody tells"


def test_compose():
    assert compose_problems(COMPOSE) == set()


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("services:", "version: '3'\nservices:", "unknown key"),
        ("read_only:", "readonly:", "web: unknown key"),
        ("image: redis:8-alpine", "image: redis", "redis: version"),
        ("image: redis:8-alpine", "image: redis:latest", "redis: version"),
        ("image: redis:8-alpine", "command2: x", "redis: build or image"),
        ("service_healthy", "healthy", "migrate: depends on"),
        ("postgres:\n        condition", "redis2:\n        condition", "migrate: depends on"),
        ("127.0.0.1:${PORT", "${PORT", "web: port"),
        ("- postgres:/var", "- data:/var", "postgres: volume"),
        ('"8000"\n', "8000\n", "web: a variable is no text"),
        ("grace_period: 30s", "grace_period: 10s", "web: no time to end"),
        ("@redis:6379", "@localhost:6379", "web: REDIS_URL"),
    ],
)
def test_compose__twins(old, new, problem):
    text = (ROOT / "compose.yaml").read_text()
    assert old in text
    assert problem in compose_problems(yaml.safe_load(text.replace(old, new)))


def test_compose__passwords_agree():
    services, urls = COMPOSE["services"], COMPOSE["services"]["web"]["environment"]
    postgres = services["postgres"]["environment"]
    user, password = postgres["POSTGRES_USER"], postgres["POSTGRES_PASSWORD"]
    assert f"//{user}:{password}@postgres:5432/{postgres['POSTGRES_DB']}" in urls["DATABASE_URL"]
    words = services["redis"]["command"]
    assert f"//:{words[words.index('--requirepass') + 1]}@redis:6379/" in urls["REDIS_URL"]


def test_compose__gives_the_project_what_it_reads():
    """Every variable it names is one that the settings declare, or the server reads."""
    read = (ROOT / "opsproject/settings.py").read_text() + (ROOT / "gunicorn.conf.py").read_text()
    for name in COMPOSE["services"]["web"]["environment"]:
        assert re.search(rf"""["']{name}["']""", read), name


def test_graceful_times_agree():
    """The server ends before compose and the platforms send SIGKILL."""
    config = (ROOT / "gunicorn.conf.py").read_text()
    assert f"graceful_timeout = {site.GRACEFUL:g} " in config
    assert site.GRACEFUL < site.STOP_WITHIN
