# fish completion for kumohash; made from the flags by "make docs"; do not edit

complete -c kumohash -f
complete -c kumohash -s m -l manager -d 'ask this manager for the running cluster'\''s map' -x -a '(__fish_print_hostnames)'
complete -c kumohash -l cluster-secret-file -d 'what all processes of the cluster know, and prove to each other' -r -F
complete -c kumohash -l json -d 'print JSON'
complete -c kumohash -s h -l help -d 'print this help and exit'
complete -c kumohash -l version -d 'print the version and exit'
complete -c kumohash -n 'not test (count (commandline -opc)) -gt 1' -a '(__fish_print_hostnames)'
complete -c kumohash -n 'test (count (commandline -opc)) -gt 1' -a hash -d 'the hash of each key'
complete -c kumohash -n 'test (count (commandline -opc)) -gt 1' -a assign -d 'the servers of each key; 0 is the primary'
complete -c kumohash -n 'test (count (commandline -opc)) -gt 1' -a dump -d 'the servers of every partition: first hash, number, servers'
