# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# What a guest root has beyond its packages. Everything that belongs to one run (hosts, keys,
# addresses, the command) is set at boot by guest/prepare.sh.

configure_guest() {
	local root=$1
	mkdir -p "$root"/vz "$root"/var/lib/vz-lab/{share,upper,work}
	echo vz-lab >"$root/etc/hostname"
	echo 'LABEL=vz-lab / ext4 defaults 0 0' >"$root/etc/fstab"
	: >"$root/etc/machine-id"
	echo 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' >"$root/etc/environment"
	guest_ssh "$root"
	guest_units "$root"
	rm -rf "$root"/var/{cache/apt,lib/apt/lists}/*
}

# Guests of one run trust each other; their host key is the image's.
guest_ssh() {
	cat >"$1/etc/ssh/ssh_config.d/vz-lab.conf" <<-END
		StrictHostKeyChecking no
		UserKnownHostsFile /dev/null
		LogLevel ERROR
	END
	printf '%s\n' 'UseDNS no' 'AcceptEnv VZ_*' 'UsePAM no' >"$1/etc/ssh/sshd_config.d/vz-lab.conf"
}

# vz-lab.target is what --systemd boots: everything of multi-user.target, then the command.
guest_units() {
	local root=$1 unit
	cat >"$root/etc/systemd/system/vz-lab.target" <<-END
		[Unit]
		Description=vz lab
		Requires=multi-user.target
		Wants=vz-lab.service
		AllowIsolate=yes
	END
	cat >"$root/etc/systemd/system/vz-lab.service" <<-END
		[Unit]
		Description=vz lab command
		After=multi-user.target
		[Service]
		Type=oneshot
		ExecStart=/vz/lab/guest/session
		TimeoutStartSec=infinity
		Delegate=no
	END
	for unit in getty@tty1.service serial-getty@ttyS0.service ssh.service ssh.socket lxcfs.service \
		nftables.service systemd-timesyncd.service systemd-pstore.service e2scrub_reap.service \
		apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer \
		fstrim.timer; do
		find "$root/etc/systemd/system" -name "$unit" -delete
	done
	ln -sf /dev/null "$root/etc/systemd/system/systemd-firstboot.service"
	ln -sf /dev/null "$root/etc/systemd/system/ldconfig.service"
	ln -sf /dev/null "$root/etc/systemd/system/systemd-hwdb-update.service"
}
