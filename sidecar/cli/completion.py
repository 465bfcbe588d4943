"""`usher completion`: a script that lets a shell complete commands, options and files.

The scripts know the whole command line, so that no key press has to start Python. They are made from the
parsers themselves.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

_EXAMPLES: Final = """
examples:
  bash   usher completion bash > ~/.local/share/bash-completion/completions/usher
  zsh    usher completion zsh > "${fpath[1]}/_usher"
  fish   usher completion fish > ~/.config/fish/completions/usher.fish
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """An option of a command."""

    name: str
    help: str
    takes: str
    """What stands behind it: "nothing", "file", "text", or words to choose from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command or action, and what may follow it."""

    path: str
    """Such as "usher token issue"."""
    words: dict[str, str]
    """Actions, or words to choose from, with their help."""
    options: tuple[Option, ...]
    files: bool
    """Whether an argument of it is a file."""


def add_to(verbs: Any, root: argparse.ArgumentParser) -> None:
    """Adds the verb; the script completes what `root` has at the time it is made."""
    parser = verbs.add_parser(
        "completion",
        help="print a script that lets a shell complete this command",
        description="Prints a script that lets a shell complete commands, options and files.",
        epilog=_EXAMPLES,
    )
    parser.add_argument("shell", choices=sorted(_WRITERS), help="whose script")
    parser.set_defaults(run=lambda chosen: _print(root, chosen.shell))


def _print(root: argparse.ArgumentParser, shell: str) -> int:
    print("\n".join(_WRITERS[shell](list(commands(root)))))
    return 0


def commands(parser: argparse.ArgumentParser, path: str = "usher") -> Iterator[Command]:
    """The command, and all under it."""
    words: dict[str, str] = {}
    options: list[Option] = []
    below: dict[str, argparse.ArgumentParser] = {}
    files = False
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            below |= action.choices
            words |= {choice.dest: _line(choice.help) for choice in action._choices_actions}
        elif action.option_strings:
            options += [
                Option(name=name, help=_line(action.help), takes=_takes(action))
                for name in action.option_strings
                if name.startswith("--")
            ]
        else:
            words |= dict.fromkeys(map(str, action.choices or ()), "")
            files = files or action.type is Path
    yield Command(path=path, words=words, options=tuple(options), files=files)
    for name, parser_below in below.items():
        yield from commands(parser_below, f"{path} {name}")


def _takes(action: argparse.Action) -> str:
    if action.nargs == 0:
        return "nothing"
    if action.choices:
        return " ".join(map(str, action.choices))
    if isinstance(action.metavar, str) and "|" in action.metavar:
        return action.metavar.replace("|", " ")
    named = {"file", "dir"} & set(action.option_strings[-1].split("-"))
    return "file" if action.type is Path or named else "text"


def _line(help: str | None) -> str:
    """The first part of a help text, in characters that no shell reads as its own."""
    first = re.split(r"[;:(]", (help or "").replace("%%", "%"))[0]
    return re.sub(r"[^\w ,.=/-]", "", first).strip()


def _bash(found: list[Command]) -> list[str]:
    lines = ["_usher() {", *_walk(found, "${COMP_WORDS[@]:1:COMP_CWORD-1}")]
    lines.append("  local cur=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}")
    lines += ['  local actions="" options="" files=""', '  case "$at $before" in']
    for command, option in _with_values(found):
        choices = "" if option.takes == "text" else option.takes
        sets = "files=1" if option.takes == "file" else f"actions='{choices}'"
        lines.append(f"    '{command.path} {option.name}') {sets} ;;")
    lines += ['    *) case "$at" in']
    for command in found:
        options = " ".join(option.name for option in command.options)
        files = " files=1" if command.files else ""
        lines.append(
            f"      '{command.path}') actions='{' '.join(command.words)}' options='{options}'{files} ;;"
        )
    lines += [
        "    esac ;;",
        "  esac",
        '  [[ $cur == -* ]] && actions=$options files=""',
        '  COMPREPLY=($(compgen -W "$actions" -- "$cur"))',
        '  if [[ -n $files ]]; then compopt -o filenames; COMPREPLY+=($(compgen -f -- "$cur")); fi',
        "}",
        "complete -F _usher usher",
    ]
    return lines


def _zsh(found: list[Command]) -> list[str]:
    lines = ["#compdef usher", "_usher() {", *_walk(found, "${words[@]:1:$((CURRENT - 2))}")]
    lines += ["  local before=${words[CURRENT-1]} files=''", "  local -a actions flags"]
    lines.append('  case "$at $before" in')
    for command, option in _with_values(found):
        choices = "return" if option.takes == "text" else f"compadd -- {option.takes}; return"
        does = "_files; return" if option.takes == "file" else choices
        lines.append(f"    '{command.path} {option.name}') {does} ;;")
    lines += ["  esac", '  case "$at" in']
    for command in found:
        actions = " ".join(f"'{name}:{help}'" for name, help in command.words.items())
        options = " ".join(f"'{option.name}:{option.help}'" for option in command.options)
        files = " files=1" if command.files else ""
        lines.append(f"    '{command.path}') actions=({actions}) flags=({options}){files} ;;")
    lines += [
        "  esac",
        "  if [[ ${words[CURRENT]} == -* ]]; then _describe -o option flags; return; fi",
        "  (( ${#actions} )) && _describe command actions",
        "  [[ -n $files ]] && _files",
        "}",
        # Found by autoload it is the function's body, which runs; sourced, it is registered.
        'if [[ $funcstack[1] == _usher ]]; then _usher "$@"; else compdef _usher usher; fi',
    ]
    return lines


def _walk(found: list[Command], before: str) -> list[str]:
    """Bash and zsh alike: from the words before the cursor to the command's path."""
    return [
        "  local at=usher word",
        f"  for word in {before}; do",
        '    case "$at $word" in',
        f'      {"|".join(repr(command.path) for command in found[1:])}) at="$at $word" ;;',
        "    esac",
        "  done",
    ]


def _with_values(found: list[Command]) -> Iterator[tuple[Command, Option]]:
    for command in found:
        for option in command.options:
            if option.takes != "nothing":
                yield command, option


def _fish(found: list[Command]) -> list[str]:
    paths = " ".join(f"'{command.path}'" for command in found[1:])
    lines = [
        "function __usher_path",
        "    set -l path usher",
        "    for word in (commandline -opc)[2..-1]",
        f'        contains -- "$path $word" {paths}; and set path "$path $word"',
        "    end",
        "    echo $path",
        "end",
        "complete -c usher -f",
    ]
    for command in found:
        here = f"complete -c usher -n 'test (__usher_path) = \"{command.path}\"'"
        if command.files:
            lines.append(f"{here} -F")
        lines += [f"{here} -f -a {name} -d '{help}'" for name, help in command.words.items()]
        for option in command.options:
            takes = {"nothing": "", "file": " -r -F", "text": " -x"}.get(
                option.takes, f" -x -a '{option.takes}'"
            )
            lines.append(f"{here} -l {option.name.removeprefix('--')}{takes} -d '{option.help}'")
    return lines


_WRITERS: Final = {"bash": _bash, "fish": _fish, "zsh": _zsh}
