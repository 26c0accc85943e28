# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# The two Debian 13 roots: `build`, a directory to chroot into, and `guest`, an ext4 image.

# debian_root DIRECTORY LIST: a minimal trixie with the packages of packages/LIST.
debian_root() {
	local dir=$1 list=$2 option options=() lines
	need_root "making a root file system"
	need mmdebstrap mmdebstrap
	while read -r option; do options+=(--aptopt="$option"); done < <(apt_options)
	mapfile -t lines < <(sources trixie)
	[ ${#lines[@]} -gt 0 ] || return
	# a mount namespace of its own: a killed mmdebstrap leaves no mounts behind
	unshare --mount --propagation private mmdebstrap --quiet --mode=root --variant=minbase --architectures=amd64 \
		--keyring="$KEYRING" "${options[@]}" \
		--dpkgopt='path-exclude=/usr/share/man/*' \
		--dpkgopt='path-exclude=/usr/share/doc/*' \
		--dpkgopt='path-exclude=/usr/share/locale/*' \
		--include="$(packages "$list")" \
		trixie "$dir" "${lines[@]}"
}

build_root() {
	local recipe=("$LAB"/packages/build "$LAB"/lib/root.sh)
	cached "$CACHE/buildroot-$(recipe_hash "${recipe[@]}")" make_build_root
}

make_build_root() {
	say "making the Debian 13 build root (once, 1-3 minutes)"
	debian_root "$1" build || return
	mkdir -p "$1"/vz/{src,build,ccache}
}

guest_image() {
	local recipe=("$LAB"/packages/guest "$LAB"/lib/{root,guest}.sh "$LAB"/../../scripts/install-criu)
	cached "$CACHE/guest-$(recipe_hash "${recipe[@]}").img" make_guest_image
}

# The image is larger than any test needs and sparse; quota and project are what vz's `dir`
# layout wants from a host's file system.
make_guest_image() {
	local root=$1.root
	say "making the Debian 13 guest image (once, 1-2 minutes)"
	need mke2fs e2fsprogs
	remove "$root"
	debian_root "$root" guest || return
	configure_guest "$root" || return
	truncate -s 12G "$1"
	mke2fs -q -F -t ext4 -L vz-lab -O quota,project -E lazy_itable_init=1,lazy_journal_init=1 \
		-m 0 -d "$root" "$1" || return
	remove "$root"
}
