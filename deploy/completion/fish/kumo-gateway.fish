# fish completion for kumo-gateway; made from the flags by "make docs"; do not edit

complete -c kumo-gateway -f
complete -c kumo-gateway -s m -l manager1 -d 'managers (required)' -x -a '(__fish_print_hostnames)'
complete -c kumo-gateway -s p -l manager2 -d 'further managers' -x -a '(__fish_print_hostnames)'
complete -c kumo-gateway -s t -l memproto-text -d 'serve memcached here (text, meta and binary)' -x
complete -c kumo-gateway -s b -l memproto-binary -d 'serve memcached'\''s binary protocol here' -x
complete -c kumo-gateway -s c -l cloudy -d 'serve memcached'\''s binary protocol here too' -x
complete -c kumo-gateway -s k -l key-prefix -d 'put this before every key' -x
complete -c kumo-gateway -l timeout -d 'how long a request is retried through failures (default 10)' -x
complete -c kumo-gateway -l http -d 'serve /metrics, /healthz, /readyz and /v1/stat here' -x
complete -c kumo-gateway -l max-item-size -d 'largest value taken, 1G at most (default 1M)' -x
complete -c kumo-gateway -l allow-flush-all -d 'let flush_all wipe the store'
complete -c kumo-gateway -l max-connections -d 'client connections at one time (default 65536)' -x
complete -c kumo-gateway -l idle-timeout -d 'close clients that say nothing for so long (0: never) (default 0)' -x
complete -c kumo-gateway -l zone -d 'rack or room: servers that it does not reach itself are reached through one there' -x
complete -c kumo-gateway -l loops -d 'event loops, a processor each at most; clients are divided among them (default 1)' -x
complete -c kumo-gateway -s o -l log -d 'append the log to this file; - is standard output' -r -F
complete -c kumo-gateway -s v -l verbose -d 'log events too, not only warnings and errors'
complete -c kumo-gateway -l log-level -d 'least level to log: debug, info, warn or error (default warn, with -v info)' -x
complete -c kumo-gateway -l log-format -d 'form of the log: text, or json for JSON lines (default text)' -x
complete -c kumo-gateway -s g -l binary-log -d 'append a structured log (JSON lines) for kumolog' -r -F
complete -c kumo-gateway -s d -l daemon -d 'run in the background and write the process ID there' -r -F
complete -c kumo-gateway -o Ys -l connect-timeout -d 'how long one try to reach a peer may take (default 0.5)' -x
complete -c kumo-gateway -o Yn -l connect-retry-limit -d 'tries before a peer is held dead: -Ys times -Yn of silence (default 4)' -x
complete -c kumo-gateway -o TR -l read-threads -d 'goroutines that read from disk (0: 16) (default 0)' -x
complete -c kumo-gateway -l cluster-secret-file -d 'what all processes of the cluster know, and prove to each other' -r -F
complete -c kumo-gateway -l require-auth -d 'end instead of warning where a port lets anybody in'
complete -c kumo-gateway -l tls-cert -d 'serve memcached over TLS with this certificate (PEM)' -r -F
complete -c kumo-gateway -l tls-key -d 'the certificate'\''s key (PEM)' -r -F
complete -c kumo-gateway -l tls-ca -d 'clients need a certificate from one of these authorities (PEM)' -r -F
complete -c kumo-gateway -l auth-file -d 'clients need a user and password of this file: lines user:password' -r -F
complete -c kumo-gateway -s h -l help -d 'print this help and exit'
complete -c kumo-gateway -l version -d 'print the version and exit'
