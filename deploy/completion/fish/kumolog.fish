# fish completion for kumolog; made from the flags by "make docs"; do not edit

complete -c kumolog -f
complete -c kumolog -s f -l follow -d 'go on with what is added, also when the file is rotated'
complete -c kumolog -s l -l level -d 'only this and above: info, warn, error (default info)' -x -a 'debug info warn error'
complete -c kumolog -s e -l event -d 'only events whose message has this in it' -x
complete -c kumolog -s n -l lines -d 'only the last N events of each file; 0 is all (default 0)' -x
complete -c kumolog -s t -l tail -d 'only the last 10 events, or -n N'
complete -c kumolog -l head -d 'only the first 10 events, or -n N'
complete -c kumolog -l json -d 'print the JSON lines as they are'
complete -c kumolog -s h -l help -d 'print this help and exit'
complete -c kumolog -l version -d 'print the version and exit'
complete -c kumolog -F
