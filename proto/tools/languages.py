"""The stubs of each language: protoc with its plugins, each pinned and from the language's registry.

Each function takes the compiled contract without rules, and writes into `out` under the names that the files
have in the repository. Plugins are kept in proto/.cache.
"""

from __future__ import annotations

import platform
import shutil
from collections.abc import Callable
from pathlib import Path

from contract import PROTO, PROTOC, protos, run

TOOLS = PROTO / "tools"
CACHE = PROTO / ".cache"

MAVEN_COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy"
PROTOC_JAVA = "4.36.2"
GRPC_JAVA = "1.83.1"
RUST_PLUGINS = "0.5.0"


class MissingTool(Exception):
    """A program that is not installed on this machine."""


def tool(name: str) -> str:
    """The path of a program, or MissingTool."""
    path = shutil.which(name)
    if path is None:
        raise MissingTool(name)
    return path


def make(folder: Path) -> Path:
    """The folder, made if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def python(contract: Path, out: Path) -> None:
    """Messages, type hints and gRPC stubs, by the plugins inside grpcio-tools."""
    target = make(out / "clients/python")
    run(
        [
            *PROTOC,
            f"--descriptor_set_in={contract}",
            f"--python_out={target}",
            f"--pyi_out={target}",
            f"--grpc_python_out={target}",
            *protos(),
        ]
    )
    (target / "usher/v1/__init__.py").touch()


def go(contract: Path, out: Path) -> None:
    """Messages and gRPC stubs; tools/go.mod pins the plugins."""
    program = tool("go")
    binaries = CACHE / "go"
    run([program, "install", "tool"], TOOLS, GOBIN=str(binaries))
    target, module = make(out / "clients/go"), "module=usher.dev/client-go"
    run(
        [
            *PROTOC,
            f"--descriptor_set_in={contract}",
            f"--plugin={binaries / 'protoc-gen-go'}",
            f"--plugin={binaries / 'protoc-gen-go-grpc'}",
            f"--go_out={target}",
            f"--go_opt={module}",
            f"--go-grpc_out={target}",
            f"--go-grpc_opt={module}",
            *protos(),
        ]
    )


def typescript(contract: Path, out: Path) -> None:
    """Messages and services as modules with type declarations; tools/typescript pins the plugin."""
    tool("node")
    program = tool("npm")
    modules = make(CACHE / "typescript")
    lock = TOOLS / "typescript/package-lock.json"
    installed = modules / "installed-lock.json"
    if not installed.is_file() or installed.read_bytes() != lock.read_bytes():
        shutil.copy(lock.with_name("package.json"), modules)
        shutil.copy(lock, modules)
        run([program, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], modules)
        shutil.copy(lock, installed)
    run(
        [
            *PROTOC,
            f"--descriptor_set_in={contract}",
            f"--plugin={modules / 'node_modules/.bin/protoc-gen-es'}",
            f"--es_out={make(out / 'clients/typescript/src/gen')}",
            "--es_opt=target=js+dts,import_extension=js",
            *protos(),
        ]
    )


def java(contract: Path, out: Path) -> None:
    """Messages by protoc itself, gRPC stubs by its plugin; both are programs on Maven Central."""
    protoc = maven_program("com.google.protobuf", "protoc", PROTOC_JAVA)
    plugin = maven_program("io.grpc", "protoc-gen-grpc-java", GRPC_JAVA)
    target = make(out / "clients/java/src/main/java")
    run(
        [
            protoc,
            f"--descriptor_set_in={contract}",
            f"--plugin=protoc-gen-grpc-java={plugin}",
            f"--java_out={target}",
            f"--grpc-java_out=@generated=omit:{target}",
            *protos(),
        ]
    )


def maven_program(group: str, name: str, version: str) -> Path:
    """A program that Maven Central keeps for each platform."""
    maven = tool("mvn")
    system = {"Darwin": "osx"}.get(platform.system(), platform.system().lower())
    machine = platform.machine().lower()
    machine = {"amd64": "x86_64", "arm64": "aarch_64", "aarch64": "aarch_64"}.get(machine, machine)
    target = CACHE / "java" / f"{name}-{version}-{system}-{machine}.exe"
    if not target.is_file():
        artifact = f"{group}:{name}:{version}:exe:{system}-{machine}"
        incoming = target.parent / "incoming"
        run([maven, "-q", "-B", MAVEN_COPY, f"-Dartifact={artifact}", f"-DoutputDirectory={incoming}"])
        (incoming / target.name).chmod(0o755)
        (incoming / target.name).rename(target)  # only ever whole and executable
    return target


def rust(contract: Path, out: Path) -> None:
    """Messages by prost, clients by tonic. The plugins are built with the lock they were published with."""
    program = tool("cargo")
    root = CACHE / f"rust-{RUST_PLUGINS}"
    plugins = [f"protoc-gen-{name}" for name in ("prost", "tonic")]
    if not all((root / "bin" / name).is_file() for name in plugins):
        print("rust: building the plugins (about a minute, once)", flush=True)
        versions = [f"{name}@{RUST_PLUGINS}" for name in plugins]
        build = root / "build"
        run(
            [program, "install", "--debug", "--locked", "--root", root, *versions],
            CARGO_TARGET_DIR=str(build),
        )
        shutil.rmtree(build)
    target = make(out / "clients/rust/src/gen")
    run(
        [
            *PROTOC,
            f"--descriptor_set_in={contract}",
            *(f"--plugin={root / 'bin' / name}" for name in plugins),
            f"--prost_out={target}",
            f"--tonic_out={target}",
            "--tonic_opt=no_server=true",
            *protos(),
        ]
    )


STUBS: dict[str, tuple[Callable[[Path, Path], None], str]] = {
    "python": (python, "clients/python/usher/v1"),
    "go": (go, "clients/go/usher/v1"),
    "typescript": (typescript, "clients/typescript/src/gen"),
    "java": (java, "clients/java/src/main/java/dev/usher/v1"),
    "rust": (rust, "clients/rust/src/gen"),
}
"""What makes each language's stubs, and the folder that holds nothing else."""
