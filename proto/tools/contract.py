"""The contract, compiled by protoc: with the rules of buf.validate, and copies for the server and the stubs.

The definition of the rules comes from the locked protovalidate package, the one that the server applies them
with; so nothing third-party is committed, and reading the contract needs only the virtual environment.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorSet
from protovalidate._gen.buf.validate import validate_pb  # no public name, but the version is locked

ROOT = Path(__file__).resolve().parents[2]
PROTO = ROOT / "proto"
CI = os.environ.get("CI") == "true"

PROTOC = [sys.executable, "-m", "grpc_tools.protoc"]  # brings google/protobuf/*.proto along
RULES = "buf/validate/validate.proto"


class Failure(Exception):
    """A step that failed; the message is for whoever ran the script."""


def run(command: Sequence[str | Path], folder: Path = ROOT, **environment: str) -> None:
    """Run a command, silent unless it fails."""
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise Failure(f"{Path(command[0]).name} failed:\n{done.stdout.strip()}")


def read_contract(source: Path) -> FileDescriptorSet:
    """Compile the .proto files under `source`, with imports, rules and comments. A warning is a failure."""
    with tempfile.TemporaryDirectory() as folder:
        rules, compiled = Path(folder, "rules.binpb"), Path(folder, "contract.binpb")
        definition = FileDescriptorSet()
        definition.file.add().ParseFromString(validate_pb.desc().proto.to_binary())
        rules.write_bytes(definition.SerializeToString())
        run(
            [
                *PROTOC,
                f"--proto_path={source}",
                f"--descriptor_set_in={rules}",
                f"--descriptor_set_out={compiled}",
                "--include_imports",
                "--include_source_info",
                "--fatal_warnings",
                *protos(source),
            ]
        )
        return FileDescriptorSet.FromString(compiled.read_bytes())


def protos(source: Path = PROTO) -> list[str]:
    """The names of the contract's files, as imports spell them."""
    return sorted(path.relative_to(source).as_posix() for path in source.glob("usher/**/*.proto"))


def without_comments(contract: FileDescriptorSet) -> FileDescriptorSet:
    """A copy without source info, for the server."""
    copy = FileDescriptorSet()
    copy.CopyFrom(contract)
    for file in copy.file:
        file.ClearField("source_code_info")
    return copy


def without_rules(contract: FileDescriptorSet) -> FileDescriptorSet:
    """A copy without buf.validate, for the stubs.

    The rules are custom options, which descriptor.proto itself does not know: they are its unknown fields.
    """
    copy = FileDescriptorSet()
    for file in contract.file:
        if file.name == RULES:
            continue
        copy.file.add().CopyFrom(file)
    copy.DiscardUnknownFields()
    for file in copy.file:
        if RULES in file.dependency:
            file.dependency.remove(RULES)
        for message in file.message_type:
            drop_empty_options(message)
    return copy


def drop_empty_options(message: DescriptorProto) -> None:
    """Remove options that held nothing but rules."""
    parts: tuple[Any, ...] = (message, *message.field, *message.oneof_decl)
    for part in parts:
        if part.HasField("options") and part.options.ByteSize() == 0:
            part.ClearField("options")
    for nested in message.nested_type:
        drop_empty_options(nested)
