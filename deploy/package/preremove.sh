#!/bin/sh
# Before the package's files go. dpkg says "remove" or "upgrade", rpm how many versions remain: 0 or 1.
set -e
case $1 in
remove | 0)
	if [ -d /run/systemd/system ]; then
		systemctl --no-reload disable kumo-manager.service kumo-gateway.service kumofs.service || :
		# disable takes no pattern, and a link that remains would start an instance that is not there any more.
		for l in /etc/systemd/system/multi-user.target.wants/kumo-server@*.service; do
			if [ -L "$l" ]; then
				systemctl --no-reload disable "${l##*/}" || :
			fi
		done
		systemctl stop 'kumo-gateway.service' 'kumo-server@*.service' 'kumo-manager.service' 'kumofs.service' || :
	fi
	;;
esac
