# fish completion for kumofs; made from the flags by "make docs"; do not edit

complete -c kumofs -f
complete -c kumofs -n __fish_use_subcommand -a local -d 'run a cluster in this process: a manager, servers and a memcached port'
complete -c kumofs -n __fish_use_subcommand -a health -d 'ask a daemon for its health; exit status 1 if it is not well'
complete -c kumofs -n __fish_use_subcommand -a version -d 'print the version'
complete -c kumofs -n '__fish_seen_subcommand_from local' -l servers -d 'servers to run (default 3)' -x
complete -c kumofs -n '__fish_seen_subcommand_from local' -l port -d 'port of memcached, on 127.0.0.1 (default 11211)' -x
complete -c kumofs -n '__fish_seen_subcommand_from local' -l data -d 'directory of the data (default ./kumofs-data)' -x -a '(__fish_complete_directories)'
complete -c kumofs -n '__fish_seen_subcommand_from local' -l fsync -d 'acknowledge a write only when it is safe from power loss'
complete -c kumofs -n '__fish_seen_subcommand_from local' -l cache-size -d 'memory of each server for data that is read often (default an eighth of the memory)' -x
complete -c kumofs -n '__fish_seen_subcommand_from local' -s v -l verbose -d 'log events too'
complete -c kumofs -n '__fish_seen_subcommand_from local' -s o -l log -d 'append the log to this file' -r -F
complete -c kumofs -n '__fish_seen_subcommand_from local' -l log-level -d 'least level to log: debug, info, warn or error (default warn, with -v info)' -x
complete -c kumofs -n '__fish_seen_subcommand_from local' -l log-format -d 'form of the log: text, or json for JSON lines (default text)' -x
complete -c kumofs -n '__fish_seen_subcommand_from local' -s t -l memproto-text -d 'serve memcached here (text, meta and binary)' -x
complete -c kumofs -n '__fish_seen_subcommand_from local' -s b -l memproto-binary -d 'serve memcached'\''s binary protocol here' -x
complete -c kumofs -n '__fish_seen_subcommand_from local' -s c -l cloudy -d 'serve memcached'\''s binary protocol here too' -x
complete -c kumofs -n '__fish_seen_subcommand_from local' -s k -l key-prefix -d 'put this before every key' -x
complete -c kumofs -n '__fish_seen_subcommand_from local' -l timeout -d 'how long a request is retried through failures (default 10)' -x
complete -c kumofs -n '__fish_seen_subcommand_from local' -l http -d 'serve /metrics, /healthz, /readyz and /v1/stat here' -x
complete -c kumofs -n '__fish_seen_subcommand_from local' -l max-item-size -d 'largest value taken, 1G at most (default 1M)' -x
complete -c kumofs -n '__fish_seen_subcommand_from local' -l allow-flush-all -d 'let flush_all wipe the store'
complete -c kumofs -n '__fish_seen_subcommand_from local' -l max-connections -d 'client connections at one time (default 65536)' -x
complete -c kumofs -n '__fish_seen_subcommand_from local' -l idle-timeout -d 'close clients that say nothing for so long (0: never) (default 0)' -x
complete -c kumofs -n '__fish_seen_subcommand_from local' -l cluster-secret-file -d 'what all processes of the cluster know, and prove to each other' -r -F
complete -c kumofs -n '__fish_seen_subcommand_from local' -l require-auth -d 'end instead of warning where a port lets anybody in'
complete -c kumofs -n '__fish_seen_subcommand_from local' -l tls-cert -d 'serve memcached over TLS with this certificate (PEM)' -r -F
complete -c kumofs -n '__fish_seen_subcommand_from local' -l tls-key -d 'the certificate'\''s key (PEM)' -r -F
complete -c kumofs -n '__fish_seen_subcommand_from local' -l tls-ca -d 'clients need a certificate from one of these authorities (PEM)' -r -F
complete -c kumofs -n '__fish_seen_subcommand_from local' -l auth-file -d 'clients need a user and password of this file: lines user:password' -r -F
complete -c kumofs -n '__fish_seen_subcommand_from local' -s h -l help -d 'print this help and exit'
complete -c kumofs -n '__fish_seen_subcommand_from local' -l version -d 'print the version and exit'
complete -c kumofs -n '__fish_seen_subcommand_from health' -l path -d 'what to ask for (default /healthz)' -x
complete -c kumofs -n '__fish_seen_subcommand_from health' -l timeout -d 'how long to wait for the answer (default 5)' -x
complete -c kumofs -n '__fish_seen_subcommand_from health' -l cluster-secret-file -d 'what all processes of the cluster know, and prove to each other' -r -F
complete -c kumofs -n '__fish_seen_subcommand_from health' -s h -l help -d 'print this help and exit'
complete -c kumofs -n '__fish_seen_subcommand_from health' -l version -d 'print the version and exit'
complete -c kumofs -n '__fish_seen_subcommand_from health' -a '(__fish_print_hostnames)'
