#!/bin/sh
# After the package's files are gone. Data in /var/lib/kumofs and the user kumofs stay.
set -e
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
fi
