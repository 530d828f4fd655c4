"""`sslmctl completion bash|zsh`: scripts for the shells, made from the parser itself.

Certificates are completed as `group:service`, and as `group/service` where a slash was typed.
The scripts ask `sslmctl _names`, which prints safe names only, because bash expands a list of
words.
"""

from __future__ import annotations

import argparse
import re

from sslmd.console.answers import certs_of
from sslmd.console.args import Commands, arg, ask, command
from sslmd.console.program import DONE, CtlError
from sslmd.console.text import say
from sslmd.wire.messages import Method

# Seconds; nobody waits longer for a Tab.
_TIMEOUT = 1.0

_SAFE = re.compile(r"[A-Za-z0-9_.-]+/[A-Za-z0-9_.+@-]+")

_BASH = """\
# bash completion for sslmctl, made by `sslmctl completion bash`
_sslmctl() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
    local command= options= words= certs= socket=() i
    if [[ $prev == --socket ]]; then
        mapfile -t COMPREPLY < <(compgen -f -- "$cur")
        return
    fi
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
            --socket) i=$((i + 1)); socket=(--socket "${COMP_WORDS[i]}") ;;
            -*) ;;
            *) [[ $command ]] || command=${COMP_WORDS[i]} ;;
        esac
    done
    # A colon ends a word if COMP_WORDBREAKS has one: take the word as it was typed.
    local typed=${COMP_LINE:0:COMP_POINT}
    cur=${typed##*[[:space:]]}
    case $command in
@CASES@
    esac
    if [[ $cur == -* ]]; then
        words=$options
    elif [[ $certs ]]; then
        words=$(sslmctl "${socket[@]}" _names 2> /dev/null)
        [[ $cur == */* ]] || words=${words//\\//:}
    fi
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
    if [[ $cur == *:* && $COMP_WORDBREAKS == *:* ]]; then
        # Bash replaces what follows the colon alone.
        local before=${cur%"${cur##*:}"}
        COMPREPLY=("${COMPREPLY[@]#"$before"}")
    fi
}
complete -F _sslmctl sslmctl
"""

_ZSH = """\
#compdef sslmctl
# zsh completion for sslmctl, made by `sslmctl completion zsh`
_sslmctl_certs() {
    local -a names
    names=(${(f)"$(sslmctl ${opt_args[--socket]:+--socket $opt_args[--socket]} \\
        _names 2> /dev/null)"})
    [[ $PREFIX == */* ]] || names=(${names/\\//:})
    compadd -a names
}
_sslmctl() {
    local context state state_descr line
    typeset -A opt_args
    _arguments -C \\
@GLOBALS@
        '1:command:->command' '*::argument:->argument'
    case $state in
        command)
            local -a commands=(
@COMMANDS@
            )
            _describe command commands
            ;;
        argument)
            case $line[1] in
@CASES@
            esac
            ;;
    esac
}
if [[ $funcstack[1] == _sslmctl ]]; then _sslmctl "$@"; else compdef _sslmctl sslmctl; fi
"""


def add(commands: Commands) -> None:
    """Declare `completion` and the hidden `_names`."""
    text = "print a completion script for a shell"
    command(commands, "completion", run, text, "", arg("shell", choices=("bash", "zsh")))
    command(commands, "_names", names, None)


def run(args: argparse.Namespace) -> int:
    """Print the script for the shell."""
    from sslmd.ctl.main import parser  # main loads us

    commands = next(one for one in parser()._actions if isinstance(one, argparse._SubParsersAction))
    helps = {one.dest: one.help or "" for one in commands._choices_actions}
    parsers = {name: commands.choices[name] for name in helps}
    print(bash(parsers) if args.shell == "bash" else zsh(parsers, helps), end="")
    return DONE


def names(args: argparse.Namespace) -> int:
    """Print the certificates' names; nothing where no daemon answers."""
    try:
        result = ask(args, Method.STATUS, {"certs": None}, _TIMEOUT)
    except CtlError:
        return DONE
    for cert in certs_of(result):
        if _SAFE.fullmatch(cert.name):
            say(cert.name)
    return DONE


Parsers = dict[str, argparse.ArgumentParser]


def bash(parsers: Parsers) -> str:
    """Return the script for bash."""
    cases = [_bash_case('""', ["--help", "--socket", "--version"], list(parsers))]
    for name, parser in parsers.items():
        options = [option for action in _options(parser) for option in action.option_strings]
        words = [choice for action in _places(parser) for choice in action.choices or ()]
        cases.append(_bash_case(name, options, words, certs=_takes_certs(parser)))
    return _BASH.replace("@CASES@", "\n".join(cases))


def zsh(parsers: Parsers, helps: dict[str, str]) -> str:
    """Return the script for zsh."""
    cases, commands = [], []
    for name, parser in parsers.items():
        arguments = [_zsh_option(action) for action in _options(parser)]
        arguments += [
            f"'1:{action.dest}:({' '.join(action.choices)})'"
            for action in _places(parser)
            if action.choices
        ]
        if _takes_certs(parser):
            arguments.append("'*:certificate:_sslmctl_certs'")
        lines = " \\\n".join(f"                        {argument}" for argument in arguments)
        cases.append(
            f"                {name})\n                    _arguments \\\n{lines}\n"
            "                    ;;"
        )
        commands.append(f"                '{name}:{_zsh_text(helps[name])}'")
    script = _ZSH.replace("@COMMANDS@", "\n".join(commands)).replace("@CASES@", "\n".join(cases))
    return script.replace(
        "@GLOBALS@",
        "        '--socket[socket of the daemon]:file:_files' \\\n"
        "        '--version[show the version]' '(-h --help)'{-h,--help}'[show help]' \\",
    )


def _bash_case(name: str, options: list[str], words: list[str], *, certs: bool = False) -> str:
    sets = f'options="{" ".join(options)}"'
    if words:
        sets += f' words="{" ".join(words)}"'
    return f"        {name}) {sets}{' certs=1' if certs else ''} ;;"


def _options(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    return [action for action in parser._actions if action.option_strings]


def _places(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    return [action for action in parser._actions if not action.option_strings]


def _takes_certs(parser: argparse.ArgumentParser) -> bool:
    return any(action.metavar == "CERT" for action in _places(parser))


def _zsh_option(action: argparse.Action) -> str:
    value = ""
    if action.nargs != 0:
        kind = "_files" if action.metavar in ("PATH", "FILE") else " "
        value = f":{str(action.metavar or action.dest).lower()}:{kind}"
    text = f"[{_zsh_text(action.help or '')}]{value}"
    if len(action.option_strings) == 1:
        return f"'{action.option_strings[0]}{text}'"
    return f"'({' '.join(action.option_strings)})'{{{','.join(action.option_strings)}}}'{text}'"


def _zsh_text(text: str) -> str:
    return re.sub(r"([\[\]:\\])", r"\\\1", text).replace("'", "'\\''")
