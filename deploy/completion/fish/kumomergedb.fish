# fish completion for kumomergedb; made from the flags by "make docs"; do not edit

complete -c kumomergedb -f
complete -c kumomergedb -l json -d 'print JSON'
complete -c kumomergedb -s q -l quiet -d 'show no progress'
complete -c kumomergedb -s h -l help -d 'print this help and exit'
complete -c kumomergedb -l version -d 'print the version and exit'
complete -c kumomergedb -a '(__fish_complete_directories)'
