# fish completion for kumoctl; made from the flags by "make docs"; do not edit

complete -c kumoctl -f
complete -c kumoctl -l json -d 'print JSON'
complete -c kumoctl -s v -l verbose -d 'status: show the cluster, its managers, IDs and copies too'
complete -c kumoctl -s w -l wait -d 'end when the copying that the command causes is done'
complete -c kumoctl -l watch -d 'attach, detach, replace, full-replace: show how the copying goes on, to its end'
complete -c kumoctl -l pause -d 'replace: begin no further copies until --resume'
complete -c kumoctl -l resume -d 'replace: go on with them'
complete -c kumoctl -l cancel -d 'replace: make no further copies, but of what has too few'
complete -c kumoctl -l rate -d 'replace: limit of each server'\''s copying from now on; backup --to, restore: of all that is sent' -x
complete -c kumoctl -l at-once -d 'replace: copies that each server sends at a time from now on' -x
complete -c kumoctl -l accept-loss -d 'go on although data of this cluster (its ID) is lost by it' -x
complete -c kumoctl -l cluster-secret-file -d 'what all processes of the cluster know, and prove to each other' -r -F
complete -c kumoctl -l partitions -d 'recover --accept-loss: which partitions, like 0-3,7' -x
complete -c kumoctl -l to -d 'backup: gather all pairs into this directory, here; it must not exist, or hold an unfinished backup' -x -a '(__fish_complete_directories)'
complete -c kumoctl -l since -d 'backup --to: only what is not in this one, on which it then stands' -x
complete -c kumoctl -l no-compress -d 'backup --to: do not compress (zstd)'
complete -c kumoctl -l overwrite -d 'restore: replace keys that the cluster has'
complete -c kumoctl -l keep -d 'restore: keep keys that the cluster has'
complete -c kumoctl -s q -l quiet -d 'backup --to, restore, verify: show no progress'
complete -c kumoctl -s h -l help -d 'print this help and exit'
complete -c kumoctl -l version -d 'print the version and exit'
complete -c kumoctl -n 'not test (count (commandline -opc)) -gt 1' -a '(__fish_print_hostnames)'
complete -c kumoctl -n 'test (count (commandline -opc)) -gt 1' -a status -d 'show what servers there are (also: stat)'
complete -c kumoctl -n 'test (count (commandline -opc)) -gt 1' -a attach -d 'attach all new and returned servers and copy data to them'
complete -c kumoctl -n 'test (count (commandline -opc)) -gt 1' -a attach-noreplace -d 'attach them, but move no data yet'
complete -c kumoctl -n 'test (count (commandline -opc)) -gt 1' -a detach -d 'detach all fault servers and make the missing copies (also: remove)'
complete -c kumoctl -n 'test (count (commandline -opc)) -gt 1' -a detach-noreplace -d 'detach them, but make no copies yet'
complete -c kumoctl -n 'test (count (commandline -opc)) -gt 1' -a replace -d 'copy and move what is missing or out of balance; with --pause, --resume, --cancel, --rate or --at-once: change how that goes on, for all servers'
complete -c kumoctl -n 'test (count (commandline -opc)) -gt 1' -a full-replace -d 'let every copy join again and mend what is behind'
complete -c kumoctl -n 'test (count (commandline -opc)) -gt 1' -a drain -d 'have others lead what a server leads, before it is stopped on purpose'
complete -c kumoctl -n 'test (count (commandline -opc)) -gt 1' -a undrain -d 'have it lead again'
complete -c kumoctl -n 'test (count (commandline -opc)) -gt 1' -a backup -d 'checkpoint every server'\''s store as STORE-SUFFIX (today'\''s date)'
complete -c kumoctl -n 'test (count (commandline -opc)) -gt 1' -a backup -d 'gather every pair once into a backup in DIR, here; with --since BACKUP only what has changed since that one'
complete -c kumoctl -n 'test (count (commandline -opc)) -gt 1' -a restore -d 'write the pairs of such a backup into the cluster'
complete -c kumoctl -n 'test (count (commandline -opc)) -gt 1' -a verify -d 'read all of a backup, a checkpoint or a stopped store and name what is damaged; needs no manager: kumoctl verify PATH'
complete -c kumoctl -n 'test (count (commandline -opc)) -gt 1' -a enable-auto-replace -d 'attach and detach servers without being told'
complete -c kumoctl -n 'test (count (commandline -opc)) -gt 1' -a disable-auto-replace -d 'leave that to the administrator'
complete -c kumoctl -n 'test (count (commandline -opc)) -gt 1' -a recover -d 'rebuild lost managers from what the servers know; else say which partitions cannot resume, and why. With --accept-loss and --partitions: resume those, and give up the stores that are away'
complete -c kumoctl -n 'test (count (commandline -opc)) -gt 1' -a scrub -d 'have every server search its store for damage now, and mend it; with --wait until that is done: exit status 1 if damage is left'
complete -c kumoctl -n 'test (count (commandline -opc)) -gt 1' -a plan -d 'what attach (or detach, or replace) would move'
complete -c kumoctl -n 'test (count (commandline -opc)) -gt 1' -a doctor -d 'what is wrong; exit status 1 if there is an error'
