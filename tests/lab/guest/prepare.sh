# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# What one run gives a node: name, network, neighbours, swap. Used under both kinds of init.
# VZ_LAB_NODE, VZ_LAB_NODES and VZ_LAB_SWAP come from /vz/lab/settings and the kernel command line.

prepare_node() {
	hostname "node$VZ_LAB_NODE"
	prepare_hosts
	prepare_network
	[ -z "$VZ_LAB_SWAP" ] || prepare_swap "$VZ_LAB_SWAP"
	[ "$VZ_LAB_NODES" = 1 ] || prepare_ssh
}

prepare_hosts() {
	local n
	{
		echo '127.0.0.1 localhost'
		echo '::1 localhost'
		for ((n = 1; n <= VZ_LAB_NODES; n++)); do echo "10.98.0.$n node$n"; done
	} >/etc/hosts
}

prepare_network() {
	local device=
	modprobe -q virtio_net
	for device in /sys/class/net/*; do
		[ -e "$device/device" ] && break
	done
	device=$(basename "$device")
	ip link set lo up
	ip link set "$device" up
	ip address replace "10.98.0.$VZ_LAB_NODE/24" dev "$device"
	ip address replace "fd98::$VZ_LAB_NODE/64" dev "$device" nodad
}

prepare_swap() {
	modprobe zram num_devices=1 || return
	echo "$1" >/sys/block/zram0/disksize
	mkswap -q /dev/zram0
	swapon -p 100 /dev/zram0
}

prepare_ssh() {
	mkdir -p /run/sshd
	install -d -m 700 /root/.ssh
	install -m 600 /vz/lab/key /root/.ssh/id_ed25519
	install -m 600 /vz/lab/key.pub /root/.ssh/authorized_keys
	if [ -d /run/systemd/system ]; then
		systemctl start --no-block ssh.service
	else
		/usr/sbin/sshd
	fi
}

# wait_for_node N: until its sshd answers.
wait_for_node() {
	until (exec 3<>"/dev/tcp/10.98.0.$1/22") 2>/dev/null; do sleep 0.1; done
}
