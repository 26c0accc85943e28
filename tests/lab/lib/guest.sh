# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# What a guest root has beyond its packages. Everything that belongs to one run (hosts, keys,
# addresses, the command) is set at boot by guest/prepare.sh.

configure_guest() {
	local root=$1
	mkdir -p "$root"/vz "$root"/var/lib/vz-lab/{share,upper,work}
	echo vz-lab >"$root/etc/hostname"
	echo 'LABEL=vz-lab / ext4 noatime,prjquota 0 0' >"$root/etc/fstab"
	echo 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' >"$root/etc/environment"
	guest_ssh "$root"
	guest_units "$root"
	guest_modules "$root"
	# The guests' own is too old for their kernels.
	"$LAB/../../scripts/install-criu" --root "$root"
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

# What udev would load for QEMU's virtual PC and nobody uses.
guest_modules() {
	local module
	for module in floppy psmouse pcspkr serio_raw evdev button i2c_piix4 ata_piix ata_generic \
		kvm kvm_amd ccp qemu_fw_cfg vmw_vmci vmw_vsock_vmci_transport vsock_loopback; do
		echo "blacklist $module"
	done >"$1/etc/modprobe.d/vz-lab.conf"
	ln -sfn /dev/null "$1/etc/systemd/system/systemd-modules-load.service"
	ln -sfn /dev/null "$1/etc/systemd/system/modprobe@configfs.service"
}

# vz-lab.target is what --systemd boots: everything of multi-user.target, then the command.
guest_units() {
	local root=$1 unit
	cat >"$root/etc/systemd/system/vz-lab.target" <<-END
		[Unit]
		Description=vz lab
		Requires=multi-user.target
		Wants=vz-lab.service
	END
	cat >"$root/etc/systemd/system/vz-lab.service" <<-END
		[Unit]
		Description=vz lab command
		After=multi-user.target
		[Service]
		Type=oneshot
		ExecStart=/vz/lab/guest/session
		TimeoutStartSec=infinity
	END
	quiet_units "$root"
}

# What a server runs but no test needs, and what takes seconds under TCG. udev, journald, logind
# and dbus stay. The image counts as booted before, so nothing is preset, rebuilt or migrated.
quiet_units() {
	local root=$1 unit
	for unit in ssh.service ssh.socket sshd.service lxcfs.service nftables.service \
		e2scrub_reap.service apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer \
		e2scrub_all.timer fstrim.timer; do
		find "$root/etc/systemd/system" -name "$unit" -delete
	done
	for unit in getty.target getty@tty1.service serial-getty@ttyS0.service modprobe@drm.service \
		systemd-firstboot.service systemd-journal-catalog-update.service ldconfig.service \
		systemd-hwdb-update.service systemd-quotacheck-root.service quotaon-root.service \
		systemd-binfmt.service systemd-pstore.service; do
		ln -sfn /dev/null "$root/etc/systemd/system/$unit"
	done
	echo 00000000000000000000000000000001 >"$root/etc/machine-id"
	touch -r "$root/usr" "$root/etc/.updated" "$root/var/.updated"
}
