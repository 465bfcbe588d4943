"""The contract's tools: lint, the stubs of five languages, and the check that the stubs are up to date.

    generate.py lint                        buf lint, and buf breaking against the branch main
    generate.py generate [--only go,rust]   write the stubs
    generate.py check [--only go,rust]      fail when the stubs are not what `generate` would write
    generate.py contract FILE               write the contract for protoc of other languages (docs/clients.md)

The stubs are made from the contract without the rules of buf.validate, so that no client needs a validation
library; the server reads the contract with them, from sidecar/services/contract.binpb.

Lint and Python need only the virtual environment. A language whose toolchain is missing is skipped and said
so; with CI=true it is a failure. docs/adr/0004-generated-code.md has the reasons for the tools.
"""

from __future__ import annotations

import argparse
import io
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from contract import CI, PROTO, ROOT, Failure, read_contract, run, without_comments, without_rules
from languages import STUBS, MissingTool, make

BUF = Path(sys.executable).with_name("buf")
CONTRACT = "sidecar/services/contract.binpb"


# --- lint ---


def lint() -> None:
    """Check the contract's style, and that it breaks no client of the branch main."""
    with tempfile.TemporaryDirectory() as folder:
        now, before = Path(folder, "now.binpb"), Path(folder, "before.binpb")
        config = ["--config", str(PROTO / "buf.yaml"), "--path", "usher"]

        now.write_bytes(read_contract(PROTO).SerializeToString())
        run([BUF, "lint", now, *config])
        print("proto: lint is clean")

        base = base_protos()
        if base is None:
            return
        with tarfile.open(fileobj=io.BytesIO(base)) as archive:
            archive.extractall(folder, filter="data")
        before.write_bytes(read_contract(Path(folder, "proto")).SerializeToString())
        run([BUF, "breaking", now, "--against", before, *config])
        print("proto: no breaking change against main")


def base_protos() -> bytes | None:
    """The contract on main as a tar archive; None, and a line that says why, when there is none."""
    for branch in ("main", "origin/main"):
        listed = git("ls-tree", branch, "proto/usher")
        if listed is None:
            continue
        if not listed:
            print(f"proto: {branch} has no contract yet; nothing to compare with")
            return None
        return git("archive", "--format=tar", branch, "proto/usher")
    if CI:
        raise Failure("no branch main to compare with; fetch it")
    print("proto: no branch main here; breaking changes not checked")
    return None


def git(*arguments: str) -> bytes | None:
    """What git prints, or None when it refuses or is not installed."""
    try:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None


# --- generate and check ---


def files(root: Path, places: list[str]) -> dict[str, bytes]:
    """Every file at or under `places`, by its name in the repository."""
    found = [path for place in places for path in (root / place, *(root / place).rglob("*"))]
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in found
        if path.is_file() and path.parent.name != "__pycache__"
    }


def replace(made: dict[str, bytes], there: dict[str, bytes]) -> None:
    """Write what changed and remove what is no longer made."""
    for name in there.keys() - made.keys():
        (ROOT / name).unlink()
    for name, content in made.items():
        if there.get(name) != content:
            make((ROOT / name).parent)
            (ROOT / name).write_bytes(content)


def drift(made: dict[str, bytes], there: dict[str, bytes]) -> list[str]:
    """What differs, one line a file."""
    return [
        f"{'missing' if name not in there else 'left over' if name not in made else 'differs'}: {name}"
        for name in sorted(made.keys() | there.keys())
        if made.get(name) != there.get(name)
    ]


def stubs(languages: list[str], *, write: bool) -> None:
    """Generate into a temporary folder, then write the result into the repository or compare it."""
    contract = read_contract(PROTO)
    failures = []
    with tempfile.TemporaryDirectory() as folder:
        out, plain = Path(folder, "out"), Path(folder, "plain.binpb")
        plain.write_bytes(without_rules(contract).SerializeToString())
        for language in languages:
            generator, *places = STUBS[language]
            try:
                generator(plain, out)
            except MissingTool as error:
                print(f"{language}: skipped, `{error}` is not installed", flush=True)
                if CI:
                    failures.append(f"{language}: `{error}` is not installed, and CI=true")
                continue
            except Failure as error:
                failures.append(f"{language}: {error}")
                continue
            if language == "python":
                places.append(CONTRACT)
                make((out / CONTRACT).parent)
                (out / CONTRACT).write_bytes(without_comments(contract).SerializeToString())
            made, there = files(out, places), files(ROOT, places)
            changes = drift(made, there)
            if write:
                replace(made, there)
                print(f"{language}: {len(made)} files, {len(changes)} of them changed", flush=True)
            elif changes:
                failures.append(
                    "\n  ".join([f"{language}: run `make proto` and commit the result", *changes])
                )
            else:
                print(f"{language}: up to date ({len(made)} files)", flush=True)
    if failures:
        raise Failure("\n".join(failures))


def main() -> None:
    """Read the command line and do what it says."""
    parser = argparse.ArgumentParser(description="The contract's lint, stubs and drift check.")
    parser.add_argument("command", choices=["lint", "generate", "check", "contract"])
    parser.add_argument("file", nargs="?", type=Path, help="what `contract` writes")
    parser.add_argument("--only", default=",".join(STUBS), help="languages, separated by commas")
    arguments = parser.parse_args()
    languages = arguments.only.split(",")
    if unknown := sorted(set(languages) - STUBS.keys()):
        parser.error(f"no stubs for {', '.join(unknown)}; there are {', '.join(STUBS)}")
    if (arguments.command == "contract") != (arguments.file is not None):
        parser.error("`contract` needs the name of a file, and nothing else does")
    try:
        if arguments.command == "lint":
            lint()
        elif arguments.command == "contract":
            arguments.file.write_bytes(without_rules(read_contract(PROTO)).SerializeToString())
        else:
            stubs(languages, write=arguments.command == "generate")
    except Failure as failure:
        sys.exit(f"proto: {failure}")


if __name__ == "__main__":
    main()
