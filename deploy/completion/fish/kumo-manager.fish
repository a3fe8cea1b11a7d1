# fish completion for kumo-manager; made from the flags by "make docs"; do not edit

complete -c kumo-manager -f
complete -c kumo-manager -s l -l listen -d 'address of this manager, as others reach it (required)' -x -a '(__fish_print_hostnames)'
complete -c kumo-manager -l advertise -d 'address at which others reach this manager, where that is another (a container'\''s service)' -x -a '(__fish_print_hostnames)'
complete -c kumo-manager -s p -l partner -d 'the other managers' -x -a '(__fish_print_hostnames)'
complete -c kumo-manager -s a -l auto-replace -d 'attach and detach servers without being told'
complete -c kumo-manager -o Rs -l replace-delay -d 'how long -a waits before it acts (default 4)' -x
complete -c kumo-manager -l detach-delay -d 'how long -a waits before it gives up a server at fault (0: as -Rs) (default 0)' -x
complete -c kumo-manager -s s -l state -d 'state directory (default ./kumo-manager-PORT)' -x -a '(__fish_complete_directories)'
complete -c kumo-manager -l alone -d 'start a cluster although a partner does not answer'
complete -c kumo-manager -s o -l log -d 'append the log to this file; - is standard output' -r -F
complete -c kumo-manager -s v -l verbose -d 'log events too, not only warnings and errors'
complete -c kumo-manager -l log-level -d 'least level to log: debug, info, warn or error (default warn, with -v info)' -x
complete -c kumo-manager -l log-format -d 'form of the log: text, or json for JSON lines (default text)' -x
complete -c kumo-manager -s g -l binary-log -d 'append a structured log (JSON lines) for kumolog' -r -F
complete -c kumo-manager -s d -l daemon -d 'run in the background and write the process ID there' -r -F
complete -c kumo-manager -o Ys -l connect-timeout -d 'how long one try to reach a peer may take (default 0.5)' -x
complete -c kumo-manager -o Yn -l connect-retry-limit -d 'tries before a peer is held dead: -Ys times -Yn of silence (default 4)' -x
complete -c kumo-manager -o TR -l read-threads -d 'goroutines that read from disk (0: 16) (default 0)' -x
complete -c kumo-manager -s k -l keepalive-interval -d 'longest interval of heartbeats (default 2)' -x
complete -c kumo-manager -l cluster-secret-file -d 'what all processes of the cluster know, and prove to each other' -r -F
complete -c kumo-manager -l require-auth -d 'end instead of warning where a port lets anybody in'
complete -c kumo-manager -l open-metrics -d 'answer /metrics, /healthz and /readyz to who has not got the cluster secret'
complete -c kumo-manager -l http -d 'serve the console, /metrics and /healthz here too, to who has no cluster secret; on loopback unless ADDR is given' -x
complete -c kumo-manager -l console-commands -d 'let the console'\''s page attach, detach, replace and pause'
complete -c kumo-manager -s h -l help -d 'print this help and exit'
complete -c kumo-manager -l version -d 'print the version and exit'
