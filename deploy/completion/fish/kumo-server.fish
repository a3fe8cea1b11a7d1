# fish completion for kumo-server; made from the flags by "make docs"; do not edit

complete -c kumo-server -f
complete -c kumo-server -s m -l manager1 -d 'managers (required)' -x -a '(__fish_print_hostnames)'
complete -c kumo-server -s p -l manager2 -d 'further managers' -x -a '(__fish_print_hostnames)'
complete -c kumo-server -s l -l listen -d 'address of this server, as others reach it (required)' -x -a '(__fish_print_hostnames)'
complete -c kumo-server -s L -l stream-listen -d 'port for copying; a free one if it is taken (default 19900)' -x
complete -c kumo-server -s s -l store -d 'directory of the data (required)' -r -F
complete -c kumo-server -s t -l memproto-text -d 'serve memcached from here too' -x
complete -c kumo-server -l max-item-size -d 'largest value taken, 1G at most (default 1M)' -x
complete -c kumo-server -l allow-flush-all -d 'let flush_all wipe the store'
complete -c kumo-server -l max-connections -d 'client connections at one time (default 65536)' -x
complete -c kumo-server -l idle-timeout -d 'close clients that say nothing for so long (0: never) (default 0)' -x
complete -c kumo-server -l fsync -d 'acknowledge a write only when it is safe from power loss'
complete -c kumo-server -l cache-size -d 'memory of each server for data that is read often (default an eighth of the memory)' -x
complete -c kumo-server -l replace-rate -d 'limit of copying between servers; 0 is none (default 64M/s)' -x
complete -c kumo-server -l drain-timeout -d 'how long SIGTERM hands partitions to others before the end (0: not at all) (default 10)' -x
complete -c kumo-server -l scrub-rate -d 'limit of reading in search of damage; 0 is not at all (default 4M/s)' -x
complete -c kumo-server -l scrub-interval -d 'how often all of the store is read for that (default 604800)' -x
complete -c kumo-server -l disk-low -d 'warn when less of the disk is free (default 5%)' -x
complete -c kumo-server -l disk-full -d 'take no writes when less of the disk is free; never less than a reserve of 64M (5% of a small disk) (default 0)' -x
complete -c kumo-server -l zone -d 'rack or room: copies of a pair go to different zones' -x
complete -c kumo-server -s o -l log -d 'append the log to this file; - is standard output' -r -F
complete -c kumo-server -s v -l verbose -d 'log events too, not only warnings and errors'
complete -c kumo-server -l log-level -d 'least level to log: debug, info, warn or error (default warn, with -v info)' -x
complete -c kumo-server -l log-format -d 'form of the log: text, or json for JSON lines (default text)' -x
complete -c kumo-server -s g -l binary-log -d 'append a structured log (JSON lines) for kumolog' -r -F
complete -c kumo-server -s d -l daemon -d 'run in the background and write the process ID there' -r -F
complete -c kumo-server -o Ys -l connect-timeout -d 'how long one try to reach a peer may take (default 0.5)' -x
complete -c kumo-server -o Yn -l connect-retry-limit -d 'tries before a peer is held dead: -Ys times -Yn of silence (default 4)' -x
complete -c kumo-server -o TR -l read-threads -d 'goroutines that read from disk (0: 16) (default 0)' -x
complete -c kumo-server -l cluster-secret-file -d 'what all processes of the cluster know, and prove to each other' -r -F
complete -c kumo-server -l require-auth -d 'end instead of warning where a port lets anybody in'
complete -c kumo-server -l open-metrics -d 'answer /metrics, /healthz and /readyz to who has not got the cluster secret'
complete -c kumo-server -l tls-cert -d 'serve memcached over TLS with this certificate (PEM)' -r -F
complete -c kumo-server -l tls-key -d 'the certificate'\''s key (PEM)' -r -F
complete -c kumo-server -l tls-ca -d 'clients need a certificate from one of these authorities (PEM)' -r -F
complete -c kumo-server -l auth-file -d 'clients need a user and password of this file: lines user:password' -r -F
complete -c kumo-server -s h -l help -d 'print this help and exit'
complete -c kumo-server -l version -d 'print the version and exit'
