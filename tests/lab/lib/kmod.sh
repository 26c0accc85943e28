# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# vz.ko for a lab kernel: one root per kernel with its headers, one module per kernel and source.

# kmod_root SUITE VERSION: a minimal SUITE with linux-headers-VERSION and packages/kmod. Headers need the
# compiler and the C library of their own suite.
kmod_root() {
	cached "$CACHE/kmodroot-$1-$2-$(recipe_hash "$LAB"/packages/kmod)" make_kmod_root "$1" "$2"
}

make_kmod_root() {
	local dir=$1 suite=$2 version=$3 option options=() lines
	say "making the $suite root with the headers of $version (once, 1-3 minutes)"
	need_root "making a root file system"
	need mmdebstrap mmdebstrap
	while read -r option; do options+=(--aptopt="$option"); done < <(apt_options)
	mapfile -t lines < <(sources "$suite")
	[ ${#lines[@]} -gt 0 ] || return
	unshare --mount --propagation private mmdebstrap --quiet --mode=root --variant=minbase --architectures=amd64 \
		--keyring="$KEYRING" "${options[@]}" --aptopt='APT::Install-Recommends "false"' \
		--dpkgopt='path-exclude=/usr/share/man/*' \
		--dpkgopt='path-exclude=/usr/share/doc/*' \
		--dpkgopt='path-exclude=/usr/share/locale/*' \
		--include="linux-headers-$version,$(packages kmod)" \
		"$suite" "$dir" "${lines[@]}" ||
		die "no headers of $version in $suite? A newer kernel: tests/lab/image --refresh kernel NAME"
	mkdir -p "$dir"/vz/{kmod,out,headers}
}

KMOD=$(cd "$LAB/../../kmod" && pwd)

# kmod_kernel NAME-OR-DIRECTORY: sets kmod_version, kmod_root and kmod_headers, the kernel's build tree as the root
# sees it. A kernel of our own has a tree of its own, DIRECTORY/build, made with Debian 13's compiler.
kmod_kernel() {
	local dir=$1 suite=trixie
	[[ $dir == */* ]] || dir=$("$LAB/image" kernel "$1") || exit
	kmod_version=$(cat "$dir/version")
	kmod_tree=
	if [ -e "$dir/build/Module.symvers" ]; then
		kmod_tree=$(realpath "$dir/build")
		kmod_root=$(kmod_root trixie "$(cat "$("$LAB/image" kernel debian13)/version")") || exit
		kmod_headers=/vz/headers
		return
	fi
	[[ $kmod_version != *deb14* ]] || suite=forky
	kmod_root=$(kmod_root $suite "$kmod_version") || exit
	kmod_headers=/usr/src/linux-headers-$kmod_version
}

# kmod_sources: what the module is made of; not its patches and texts.
kmod_sources() {
	find "$KMOD" -type f \( -name '*.[ch]' -o -name Kbuild -o -name Makefile -o -name dkms.conf \) \
		! -path "$KMOD/patches/*" ! -name '*.mod.c' -printf '%P\n' | LC_ALL=C sort
}

kmod_hash() {
	{
		(cd "$KMOD" && kmod_sources | xargs -d '\n' sha256sum)
		cat "${kmod_tree:-$kmod_root$kmod_headers}/Module.symvers" "$LAB/lib/kmod.sh"
	} | sha256sum | cut -c1-12
}

# kmod_build: makes vz.ko once, puts it where guests look, and prints its path.
kmod_build() {
	local made where name
	made=$(cached "$CACHE/vzko-$kmod_version-$(kmod_hash)" make_kmod) || exit
	where=$("$LAB/build" --where)/kmod/$kmod_version
	mkdir -p "$where"
	for name in vz.ko vz-abi99.ko; do
		cmp -s "$made/$name" "$where/$name" && continue
		cp "$made/$name" "$where/$name.new" # a running guest has a link to the old one
		mv "$where/$name.new" "$where/$name"
	done
	echo "$made/vz.ko"
}

# vz.ko, and one of another version for the tests, which libvz must not talk to.
make_kmod() {
	mkdir -p "$1"
	# shellcheck disable=SC2016 # expanded in the root
	kmod_in_root "$1" env KDIR="$kmod_headers" sh -ec '
		make -s KDIR=$KDIR modules
		mv vz.ko vz.ko.ours
		sed -i "/define VZ_ABI\>/s/[0-9]*$/99/" include/uapi/linux/vz.h
		make -s KDIR=$KDIR modules' &&
		mv "$1/src/vz.ko.ours" "$1/vz.ko" && mv "$1/src/vz.ko" "$1/vz-abi99.ko" && remove "$1/src"
}

# kmod_in_root DIRECTORY COMMAND…: copies the sources to DIRECTORY/src and runs COMMAND there, in the root. Mounts end
# with it; the root's own files change only in DIRECTORY and in a tmpfs over what dkms writes.
kmod_in_root() {
	local dir=$1
	shift
	need_root "building a kernel module"
	mkdir -p "$dir/src"
	(cd "$KMOD" && kmod_sources | tar -cf - -T -) | tar -xf - -C "$dir/src" --no-same-owner
	# shellcheck disable=SC2016 # expanded by the inner shell
	unshare --mount --propagation private --pid --fork --kill-child \
		bash -ec '
		root=$1 dir=$2 headers=$3 version=$4
		shift 4
		mount --bind "$dir/src" "$root/vz/kmod"
		[ -z "$headers" ] || mount --bind -o ro "$headers" "$root/vz/headers"
		mount -t proc proc "$root/proc"
		mount --rbind /dev "$root/dev"
		mount -t tmpfs tmpfs "$root/tmp"
		exec chroot "$root" env -i HOME=/tmp LC_ALL=C.UTF-8 TERM=dumb VERSION="$version" \
			PATH=/usr/sbin:/usr/bin:/sbin:/bin bash -ec "cd /vz/kmod; exec nice \"\$@\"" in_root "$@"
		' in_root "$kmod_root" "$dir" "$kmod_tree" "$kmod_version" "$@" </dev/null >&2
}

# kmod_check: sparse on this kernel's headers; checkpatch where a kernel source has it.
kmod_check() {
	local scratch checkpatch=
	scratch=$(mktemp -d)
	if [ -n "${CHECKPATCH-}" ]; then
		mkdir -p "$scratch/src"
		cp "$CHECKPATCH" "$(dirname "$CHECKPATCH")"/{spelling.txt,const_structs.checkpatch} "$scratch/src/" || return
		checkpatch='make CHECKPATCH=/vz/kmod/checkpatch.pl checkpatch'
	fi
	# Debian's headers of 7.2 lack the script that asks whether sparse is recent enough: it is
	kmod_in_root "$scratch" sh -ec "$checkpatch
		valid=\$(echo /usr/src/linux-headers-*-common/scripts)/checker-valid.sh
		[ -e \$valid ] || { printf '#!/bin/sh\necho 1\n' >\$valid && chmod +x \$valid; }
		make -s KDIR=$kmod_headers sparse"
	local status=$?
	remove "$scratch"
	return $status
}

# kmod_dkms: what DKMS does on a host, in the root, which is left as it was.
kmod_dkms() {
	local scratch status=0
	scratch=$(mktemp -d)
	# shellcheck disable=SC2016 # expanded in the root
	kmod_in_root "$scratch" sh -ec '
		version=$(sed -n "s/^PACKAGE_VERSION=\"\(.*\)\"/\1/p" dkms.conf)
		trap "dkms remove vz/$version --all >/dev/null 2>&1; rm -rf /usr/src/vz-$version" EXIT
		cp -a /vz/kmod /usr/src/vz-$version
		dkms add vz/$version
		dkms build vz/$version -k $VERSION
		dkms install vz/$version -k $VERSION
		dkms status
		modinfo $(find /lib/modules/$VERSION/updates -name "vz.ko*")
	' || status=$?
	remove "$scratch"
	return $status
}
