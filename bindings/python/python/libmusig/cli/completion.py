"""Completion of the command's words in a shell."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

SCRIPT = """\
# Completion of musig for bash and zsh: eval "$(musig completion)"
if [ -n "$ZSH_VERSION" ]; then autoload -U +X bashcompinit && bashcompinit; fi
_musig() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}} command= words= each
    for each in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
        case $each in -*) break ;; *) command=${{command:+$command }}$each ;; esac
    done
    case $command in
{commands}
    esac
    case "$before" in
{choices}
    esac
    COMPREPLY=($(compgen -W "$words" -- "$word"))
    case $word in -*) ;; *) COMPREPLY+=($(compgen -f -- "$word")) ;; esac
}}
complete -o filenames -F _musig musig
"""


def commands(parser: argparse.ArgumentParser, name: str = "") -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Each command, with its words before it."""
    yield name, parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for word, below in action.choices.items():
                yield from commands(below, f"{name} {word}".strip())


def script(parser: argparse.ArgumentParser) -> str:
    """A script for the shell."""
    cases, choices = [], {}
    for name, command in reversed(list(commands(parser))):
        words: list[str] = []
        for action in command._actions:
            words += action.option_strings
            if isinstance(action, argparse._SubParsersAction):
                words += list(action.choices)
            elif action.choices is not None:
                choices[action.option_strings[-1]] = " ".join(map(str, action.choices))
        pattern = f'"{name}"*' if name else "*"
        cases.append(f'        {pattern}) words="{" ".join(words)}" ;;')
    values = [f'        {option}) words="{words}" ;;' for option, words in sorted(choices.items())]
    return SCRIPT.format(commands="\n".join(cases), choices="\n".join(values))
