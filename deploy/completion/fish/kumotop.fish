# fish completion for kumotop; made from the flags by "make docs"; do not edit

complete -c kumotop -f
complete -c kumotop -s m -l manager -d 'show every server of this manager'\''s cluster' -x -a '(__fish_print_hostnames)'
complete -c kumotop -l cluster-secret-file -d 'what all processes of the cluster know, and prove to each other' -r -F
complete -c kumotop -s i -l interval -d 'time between two looks (default 1)' -x
complete -c kumotop -l once -d 'print one table and end'
complete -c kumotop -l json -d 'print one look as JSON and end'
complete -c kumotop -l wide -d 'with --once: all columns of the live table'
complete -c kumotop -l gateways -d 'show the gateways, too (with -m)'
complete -c kumotop -l hot-keys -d 'show the N keys read and written most, too (default 0)' -x
complete -c kumotop -l sort -d 'sort by this column (default address)' -x
complete -c kumotop -s h -l help -d 'print this help and exit'
complete -c kumotop -l version -d 'print the version and exit'
complete -c kumotop -a '(__fish_print_hostnames)'
