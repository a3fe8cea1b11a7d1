# fish completion for kumobench; made from the flags by "make docs"; do not edit

complete -c kumobench -f
complete -c kumobench -l protocol -d 'text, meta or binary of memcached, or redis (default text)' -x -a 'text meta binary redis'
complete -c kumobench -l connections -d 'connections (default 32)' -x
complete -c kumobench -l pipeline -d 'operations in flight on each connection (default 1)' -x
complete -c kumobench -l keys -d 'keys that are used (default 100000)' -x
complete -c kumobench -l distribution -d 'how often each key: uniform, zipf or zipf:EXPONENT (default uniform)' -x -a 'uniform zipf'
complete -c kumobench -l value-size -d 'bytes of a value, or from how many to how many (default 100)' -x
complete -c kumobench -l operations -d 'operations of a measurement (default 100000)' -x
complete -c kumobench -l time -d 'measure for so long instead (0: by --operations) (default 0)' -x
complete -c kumobench -l rate -d 'open loop: operations a second (0: closed loop) (default 0)' -x
complete -c kumobench -l set -d 'how many of the operations are sets; the others are gets (default 0)' -x
complete -c kumobench -l multiget -d 'keys of each get (default 1)' -x
complete -c kumobench -l warm-up -d 'operations before each measurement that are not counted (default 1000)' -x
complete -c kumobench -l fill -d 'store every key first'
complete -c kumobench -l pid -d 'print the CPU time that these processes use' -x
complete -c kumobench -l rounds -d 'measurements of each system (default 1)' -x
complete -c kumobench -l compare -d 'a system to compare; give it several times' -x
complete -c kumobench -l threads -d 'threads of this program (default 1)' -x
complete -c kumobench -l timeout -d 'after which an operation has failed, and its connection is given up (default 30)' -x
complete -c kumobench -l seed -d 'of the keys and operations that are drawn (default 1)' -x
complete -c kumobench -l tolerate -d 'failed operations do not make the exit status 1'
complete -c kumobench -l json -d 'print JSON'
complete -c kumobench -s h -l help -d 'print this help and exit'
complete -c kumobench -l version -d 'print the version and exit'
complete -c kumobench -a '(__fish_print_hostnames)'
