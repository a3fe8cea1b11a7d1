#!/bin/sh
# After the package's files are there: the user that daemons run as. Nothing is started, and nothing
# that runs is restarted: that is done one daemon at a time (docs/operations.md, Restart, upgrade).
set -e
if command -v systemd-sysusers >/dev/null 2>&1; then
	systemd-sysusers kumofs.conf
elif ! getent passwd kumofs >/dev/null 2>&1; then
	useradd --system --user-group --home-dir /var/lib/kumofs --no-create-home --shell /usr/sbin/nologin kumofs
fi
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
fi
