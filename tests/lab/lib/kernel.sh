# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# Debian's stock kernels: vmlinuz, unpacked modules and our initramfs in one cache directory.
# The full amd64 flavour: the cloud one has neither 9p nor zswap.

# What the initramfs loads before it has a root and the shared tree.
EARLY_MODULES='virtio_pci virtio_blk ext4 quota_v2 9pnet_virtio 9p overlay'

# kernel_suite NAME: the Debian suite behind --kernel NAME.
kernel_suite() {
	case $1 in
	debian13) echo trixie ;;
	debian14) echo forky ;;
	*) die "unknown kernel $1 (debian13, debian14, patched[-VERSION], uml[-VERSION], kasan)" ;;
	esac
}

kernel_dir() {
	local suite
	case $1 in
	patched* | uml* | kasan*)
		patched_kernel "$1"
		return
		;;
	esac
	suite=$(kernel_suite "$1") || exit
	cached "$CACHE/kernel-$1-$(recipe_hash "$LAB/lib/kernel.sh" "$LAB/guest/early")" \
		make_kernel "$suite"
}

# make_kernel DIRECTORY SUITE: DIRECTORY/{vmlinuz,version,modules/VERSION,initramfs}
make_kernel() {
	local dir=$1 suite=$2
	say "fetching $suite's kernel (once, about 1 minute)"
	need busybox busybox-static
	need cpio cpio
	need depmod kmod
	need xz xz-utils
	mkdir -p "$dir"
	fetch_kernel "$dir/unpacked" "$suite" || return
	keep_kernel "$dir" || return
	remove "$dir/unpacked"
	make_initramfs "$dir"
}

# Newer releases split the kernel; linux-base-* holds the list of built-in modules.
fetch_kernel() {
	local dir=$1 suite=$2 apt=$1/apt depends image version debs=()
	apt_for "$apt" "$suite" || return
	export APT_CONFIG=$apt/apt.conf
	depends=$(apt-cache depends linux-image-amd64)
	image=$(awk '/Depends: linux-image-[0-9]/ { print $2 }' <<<"$depends")
	[ -n "$image" ] || die "$suite has no linux-image-amd64"
	version=${image#linux-image-}
	debs=("$image")
	depends=$(apt-cache depends "$image")
	if [[ $depends == *"linux-modules-$version"* ]]; then
		debs=("linux-base-$version" "linux-binary-$version" "linux-modules-$version")
	fi
	(cd "$apt/cache/archives" && apt-get -qq download "${debs[@]}") || return
	unset APT_CONFIG
	local deb
	for deb in "$apt"/cache/archives/*.deb; do dpkg-deb -x "$deb" "$dir" || return; done
	echo "$version" >"$dir/version"
}

# Modules are kept uncompressed (their signatures stay): unpacking xz under TCG is slow.
keep_kernel() {
	local dir=$1 new=$1/unpacked version modules
	version=$(cat "$new/version")
	modules=$(find "$new" -path "*/lib/modules/$version" -type d)
	find "$new" -name "vmlinuz*" -type f -exec cp {} "$dir/vmlinuz" \;
	[ -s "$dir/vmlinuz" ] || die "no vmlinuz in the packages of $version"
	[ -e "$modules/modules.builtin" ] || die "no modules.builtin in the packages of $version"
	mkdir -p "$dir/modules"
	mv "$modules" "$dir/modules/$version"
	find "$dir/modules" -name '*.ko.xz' -print0 | xargs -0 -r -P2 -n64 xz -d
	find "$dir/modules" -name '*.ko.zst' -print0 | xargs -0 -r -P2 -n64 zstd -q -d --rm
	mkdir -p "$dir/lib"
	ln -s ../modules "$dir/lib/modules"
	depmod -b "$dir" "$version"
	echo "$version" >"$dir/version"
}

# busybox, the early modules in load order, and guest/early as /init.
make_initramfs() {
	local dir=$1 root=$1/initramfs.d version module n=0
	version=$(cat "$dir/version")
	mkdir -p "$root"/{bin,modules,proc,sys,dev,root}
	cp "$(command -v busybox)" "$root/bin/busybox"
	install -m 755 "$LAB/guest/early" "$root/init"
	# shellcheck disable=SC2086 # a list; empty where all of it is built in
	[ -z "$EARLY_MODULES" ] || while read -r module; do
		n=$((n + 1))
		cp "$module" "$root/modules/$(printf '%02d' $n)-$(basename "$module")"
	done < <(modprobe -d "$dir" -S "$version" -a --show-depends $EARLY_MODULES |
		awk '$1 == "insmod" && !seen[$2]++ { print $2 }')
	(cd "$root" && find . | cpio --quiet -o -H newc) >"$dir/initramfs" || return
	remove "$root"
}
