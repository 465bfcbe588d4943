"""The Java client: its README and its example app from its jar, and its own tests."""

from __future__ import annotations

import json
import os
import re
import subprocess
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import usher

from tests.clients.runners import MAVEN
from tests.clients.test_smoke import toolchain

FOLDER = Path(__file__).parents[2] / "clients/java"
CLASSPATH = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:build-classpath"
SECONDS = 300  # the first run fetches the client's dependencies
pytestmark = pytest.mark.timeout(2 * SECONDS)
PROJECT = """<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>empty</groupId>
  <artifactId>empty</artifactId>
  <version>1</version>
  <dependencies>{dependency}</dependencies>
</project>
"""


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", (FOLDER / "README.md").read_text(), re.DOTALL)
    assert found
    return found[1]


def run(cwd: Path, *command: str, **environment: str) -> str:
    done = subprocess.run(
        command,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        env=os.environ | environment,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The option for a Maven repository that holds the client, and what others the user's own holds."""
    toolchain("java")
    toolchain("mvn")
    theirs, ours = Path.home() / ".m2/repository", tmp_path_factory.mktemp("repository")
    for group in ("com", "io", "org"):
        (theirs / group).mkdir(parents=True, exist_ok=True)  # what is fetched is kept for the next run
    (ours / "dev").mkdir()
    for place in (Path(), Path("dev")):
        for entry in (theirs / place).glob("*"):
            if entry.relative_to(theirs) not in (Path("dev"), Path("dev/usher")):
                (ours / place / entry.name).symlink_to(entry)
    option = f"-Dmaven.repo.local={ours}"
    run(FOLDER, "mvn", *MAVEN, option, "-DskipTests", "install")
    return option


def test_the_readme_runs_from_the_installed_jar(repository: str, live_sidecar: Any, tmp_path: Path) -> None:
    (tmp_path / "pom.xml").write_text(PROJECT.format(dependency=block("xml")))
    run(tmp_path, "mvn", *MAVEN, repository, CLASSPATH, "-Dmdep.outputFile=classpath")
    beside = (tmp_path / "classpath").read_text()
    (tmp_path / "Example.java").write_text(
        block("java").replace("127.0.0.1:50051", live_sidecar.grpc_address)
    )
    run(tmp_path, "javac", "--release", "17", "-cp", beside, "Example.java")
    assert run(tmp_path, "java", "-cp", f"{beside}:.", "Example").startswith("Alice Archer\n")


def test_the_jar_holds_what_is_needed_and_no_more(repository: str) -> None:
    jar = Path(repository.partition("=")[2], "dev/usher/usher-client/0.1.0/usher-client-0.1.0.jar")
    names = {name for name in zipfile.ZipFile(jar).namelist() if not name.endswith("/")}
    assert {"META-INF/LICENSE", "dev/usher/UsherClient.class", "dev/usher/v1/Value.class"} < names
    kinds = {re.sub(r"^(dev/usher(/v1)?)/[^/]+\.class$", r"\1", name) for name in names}
    maven = {f"META-INF/maven/dev.usher/usher-client/pom.{ending}" for ending in ("xml", "properties")}
    assert kinds == maven | {"META-INF/LICENSE", "META-INF/MANIFEST.MF", "dev/usher", "dev/usher/v1"}


def test_its_own_tests(repository: str, live_sidecar: Any) -> None:
    run(FOLDER, "mvn", *MAVEN, repository, "test", USHER_ADDRESS=live_sidecar.grpc_address)
    reports = (FOLDER / "target/surefire-reports").glob("*.xml")
    suites = [ElementTree.parse(report).getroot().attrib for report in reports]
    assert sum(int(suite["tests"]) for suite in suites) > 30
    assert {suite["skipped"] for suite in suites} == {"0"}


@pytest.fixture
def example(repository: str, live_sidecar: Any) -> Iterator[str]:
    """The address that the running example app prints."""
    folder = FOLDER / "example"
    run(folder, "mvn", *MAVEN, repository, "process-classes")
    app = subprocess.Popen(
        ("java", "-cp", "target/classes:target/lib/*", "App"),
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | {"USHER_ADDRESS": live_sidecar.grpc_address, "PORT": "0"},
    )
    try:
        assert app.stdout is not None
        yield app.stdout.readline().strip()
        app.terminate()
        assert app.wait(20) == 143  # the JVM's word for SIGTERM, after its hooks
    finally:
        app.kill()
        app.communicate()


def get(address: str, token: str | None) -> tuple[int, Any]:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    try:
        with urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=20) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_the_example_answers_with_the_rows_of_the_user(example: str, live_sidecar: Any) -> None:
    with usher.SyncClient(live_sidecar.grpc_address) as client:
        for sub, tenant, name in (("alice", "acme", "Alice Archer"), ("dave", "globex", "Dave Draper")):
            token = client.issue_token(sub, {"tenant_id": tenant}).token
            row = {"id": sub, "name": name, "email": f"{sub}@{tenant}.example"}
            assert get(example, token) == (200, [row])
    for nothing in (None, "", "a b"):
        assert get(example, nothing)[0] == 401
    assert get(example, "no token") == (401, '{"error":"TOKEN_MALFORMED"}')


def test_the_example_is_short() -> None:
    assert len((FOLDER / "example/src/main/java/App.java").read_text().splitlines()) < 60
