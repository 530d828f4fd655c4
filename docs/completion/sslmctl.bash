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
        "") options="--help --socket --version" words="status show plan events dane check metrics report alarms silence notify renew force-renew roll deliver restart replace dns-refresh cancel forget clean reload account import trust doctor completion" ;;
        status) options="-h --help --socket --json --watch --timeline" certs=1 ;;
        show) options="-h --help --socket" certs=1 ;;
        plan) options="-h --help --socket" certs=1 ;;
        events) options="-h --help --socket --follow -f --json" certs=1 ;;
        dane) options="-h --help --socket --now --json" certs=1 ;;
        check) options="-h --help --socket -w --warning -c --critical --host --kind --passive" certs=1 ;;
        metrics) options="-h --help --socket --output --http" ;;
        report) options="-h --help --socket --html" certs=1 ;;
        alarms) options="-h --help --socket --json" ;;
        silence) options="-h --help --socket --for --why --list --end" ;;
        notify) options="-h --help --socket --test" ;;
        renew) options="-h --help --socket --force --all --reuse --new-key --no-wait --test --dry-run" certs=1 ;;
        force-renew) options="-h --help --socket --all --reuse --new-key --no-wait" certs=1 ;;
        roll) options="-h --help --socket --back --force --min-roll-mins --no-wait" certs=1 ;;
        deliver) options="-h --help --socket --to --no-wait" certs=1 ;;
        restart) options="-h --help --socket --to --no-wait" ;;
        replace) options="-h --help --socket --ca --all --revoked --dry-run --yes --no-wait" ;;
        dns-refresh) options="-h --help --socket" certs=1 ;;
        cancel) options="-h --help --socket" certs=1 ;;
        forget) options="-h --help --socket --yes" ;;
        clean) options="-h --help --socket --inactive --keep" certs=1 ;;
        reload) options="-h --help --socket" ;;
        account) options="-h --help --socket --all --yes --json" words="list show contact rollover deactivate share" ;;
        import) options="-h --help --socket --check" ;;
        trust) options="-h --help --socket --remove --print --store --conf-dir" ;;
        doctor) options="-h --help --socket --conf-dir --limit --json" ;;
        completion) options="-h --help --socket" words="bash zsh" ;;
    esac
    if [[ $cur == -* ]]; then
        words=$options
    elif [[ $certs ]]; then
        words=$(sslmctl "${socket[@]}" _names 2> /dev/null)
        [[ $cur == */* ]] || words=${words//\//:}
    fi
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
    if [[ $cur == *:* && $COMP_WORDBREAKS == *:* ]]; then
        # Bash replaces what follows the colon alone.
        local before=${cur%"${cur##*:}"}
        COMPREPLY=("${COMPREPLY[@]#"$before"}")
    fi
}
complete -F _sslmctl sslmctl
