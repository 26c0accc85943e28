# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# Kernels of our own: Debian's source with kmod/patches/VERSION applied, built with configs/*.
#
# Source and object files stay in kbuild-VERSION-*, so that an edited patch rebuilds only what it
# changes; what is booted is a copy in kernel-NAME-HASH, made anew for every change of the source,
# the series, the configuration or the recipe.

PATCHES=${VZ_PATCHES:-$(cd "$LAB/../.." && pwd)/kmod/patches}

# kbuild_version NAME, kbuild_flavour NAME: what --kernel NAME means.
kbuild_version() {
	case $1 in
	*-7.2) echo 7.2 ;;
	*) echo 6.12 ;;
	esac
}

kbuild_flavour() {
	case ${1%-[67].*} in
	patched) echo qemu ;;
	uml) echo uml ;;
	kasan) echo kasan ;;
	*) die "unknown kernel $1" ;;
	esac
}

# kbuild_configs FLAVOUR: the fragments, later ones win.
kbuild_configs() {
	case $1 in
	kasan) echo "$LAB"/configs/{base,qemu,bpf,kasan} ;;
	sparse) echo "$LAB"/configs/{base,qemu} ;;
	*) echo "$LAB"/configs/base "$LAB/configs/$1" ;;
	esac
}

# series VERSION: its patches, in order, after what the lab itself needs to build and boot.
series() {
	local name
	for name in "$LAB/patches/$1"-*.patch; do
		[ ! -e "$name" ] || echo "$name"
	done
	while read -r name; do
		case $name in '' | '#'*) ;; *) echo "$PATCHES/$1/$name" ;; esac
	done <"$PATCHES/$1/series"
}

kernel_root() {
	cached "$CACHE/kernelroot-$(recipe_hash "$LAB"/packages/kernel "$LAB"/lib/root.sh)" make_kernel_root
}

make_kernel_root() {
	say "making the Debian 13 root that builds kernels (once, about 1 minute)"
	debian_root "$1" kernel
}

# patched_kernel NAME: a directory as kernel_dir makes it, with `config` and `linux` (user-mode Linux) or `vmlinuz`.
patched_kernel() {
	local name=$1 version flavour source configs patches hash
	version=$(kbuild_version "$name")
	flavour=$(kbuild_flavour "$name") || exit
	source=$(linux_source "$version") || return
	read -ra configs <<<"$(kbuild_configs "$flavour")"
	mapfile -t patches < <(series "$version")
	hash=$(recipe_hash "$source/version" "${configs[@]}" "$LAB"/configs/*.arguments "${patches[@]}" "$LAB"/lib/{kbuild,kernel}.sh "$LAB/guest/early")
	cached "$CACHE/kernel-${name%-[67].*}-$version-$hash" make_patched_kernel "$version" "$flavour"
}

# The work tree of a version; every flavour has its objects in it.
kbuild_tree() { echo "$CACHE/kbuild-$1-$(recipe_hash "$(linux_source "$1")/version")"; }

make_patched_kernel() {
	local dir=$1 version=$2 flavour=$3 work
	need_root "building a kernel"
	need rsync rsync
	need patch patch
	work=$(kbuild_tree "$version")
	mkdir -p "$work/obj-$flavour"
	(
		flock 8
		say "building linux $(cat "$(linux_source "$version")/version") for $flavour (cold 5 to 15 minutes)"
		apply_series "$version" "$work" && configure_kernel "$flavour" "$work" && compile_kernel "$flavour" "$work" &&
			keep_build "$dir" "$flavour" "$work"
	) 8>"$work/lock"
}

# apply_series VERSION WORK: WORK/src becomes the source with the series. Only files whose content differs are
# written, so make sees exactly what an edited patch changed. WORK/patched lists what is not as Debian has it.
apply_series() {
	local version=$1 work=$2 tree stage=$2/stage file patch
	tree=$(linux_source "$version")/tree
	if [ ! -e "$work/src.done" ]; then
		remove "$work/src"
		cp -al "$tree" "$work/src" || return # links: files are replaced there, never written into
		: >"$work/patched"
		: >"$work/src.done"
	fi
	remove "$stage"
	mkdir -p "$stage"
	series "$version" | xargs -r -d '\n' sed -n 's|^+++ b/||p; s|^--- a/||p' | sort -u >"$work/patched.new"
	sort -u "$work/patched" "$work/patched.new" | while read -r file; do
		[ ! -e "$tree/$file" ] || (cd "$tree" && cp --parents "$file" "$stage")
	done
	while read -r patch; do
		patch -s -d "$stage" -p1 --no-backup-if-mismatch <"$patch" >&2 || {
			say "$(basename "$patch") does not apply to linux $version"
			return 1
		}
	done < <(series "$version")
	# not --times: what make sees as changed must be newer than its objects
	rsync -rlp --checksum "$stage/" "$work/src/" || return
	sort -u "$work/patched" "$work/patched.new" | while read -r file; do
		[ -e "$stage/$file" ] || rm -f "$work/src/$file"
	done
	mv "$work/patched.new" "$work/patched"
	remove "$stage"
}

# in_kernel_root WORK FLAVOUR DIRECTORY COMMAND…: COMMAND in the root, with the source in /vz/src, the objects in
# /vz/obj and DIRECTORY in /vz/scratch.
in_kernel_root() {
	local root
	root=$(kernel_root) || return
	mkdir -p "$CACHE/ccache"
	# shellcheck disable=SC2016 # expanded by the inner shell
	unshare --mount --propagation private --pid --fork --kill-child \
		bash -ec '
		root=$1 src=$2 obj=$3 work=$4 ccache=$5
		shift 5
		mkdir -p "$root"/vz/{src,obj,scratch,ccache}
		mount --bind "$src" "$root/vz/src"
		mount --bind "$obj" "$root/vz/obj"
		mount --bind "$work" "$root/vz/scratch"
		mount --bind "$ccache" "$root/vz/ccache"
		mount -t proc proc "$root/proc"
		mount --rbind /dev "$root/dev"
		mount -t tmpfs tmpfs "$root/tmp"
		exec chroot "$root" env -i HOME=/tmp LC_ALL=C.UTF-8 TERM=dumb CCACHE_DIR=/vz/ccache CCACHE_MAXSIZE=10G \
			PATH=/usr/lib/ccache:/usr/sbin:/usr/bin:/sbin:/bin \
			KBUILD_BUILD_TIMESTAMP=@0 KBUILD_BUILD_USER=vz KBUILD_BUILD_HOST=lab "$@"
		' in_kernel_root "$root" "$1/src" "$1/obj-$2" "$3" "$CACHE/ccache" "${@:4}" </dev/null
}

kernel_arch() { if [ "$1" = uml ]; then echo um; else echo x86_64; fi; }

# kernel_make FLAVOUR WORK ARG…
kernel_make() {
	local flavour=$1 work=$2
	shift 2
	in_kernel_root "$work" "$flavour" "$work" nice -n "${VZ_LAB_NICE:-10}" make -s -j"$(nproc)" -C /vz/src O=/vz/obj \
		ARCH="$(kernel_arch "$flavour")" "$@" >&2
}

# Everything that the fragments do not name is off. What they name and Kconfig drops is said.
configure_kernel() {
	local flavour=$1 work=$2 obj=$2/obj-$1 configs lost
	read -ra configs <<<"$(kbuild_configs "$flavour")"
	cat "${configs[@]}" | grep -v '^#' >"$obj/fragment.new"
	kernel_make "$flavour" "$work" allnoconfig KCONFIG_ALLCONFIG=/vz/obj/fragment.new 2>"$obj/config.log" || {
		cat "$obj/config.log" >&2
		return 1
	}
	lost=$(awk -F= '/^CONFIG/ { want[$1] = $2 } END { for (s in want) if (want[s] != "n") print s "=" want[s] }' \
		"$obj/fragment.new" | sort | grep -vxFf "$obj/.config" | tr '\n' ' ')
	[ -z "$lost" ] || say "not in this kernel: $lost"
}

compile_kernel() {
	local flavour=$1 work=$2
	kernel_make "$flavour" "$work"
}

# keep_build DIRECTORY FLAVOUR WORK: what is booted, apart from the tree that the next build changes.
keep_build() {
	local dir=$1 flavour=$2 obj=$3/obj-$2 version
	version=$(cat "$obj/include/config/kernel.release")
	mkdir -p "$dir/modules/$version" "$dir/lib"
	echo "$version" >"$dir/version"
	cp "$obj/.config" "$dir/config"
	[ ! -e "$LAB/configs/$flavour.arguments" ] || cp "$LAB/configs/$flavour.arguments" "$dir/arguments"
	cp "$obj"/modules.{order,builtin,builtin.modinfo} "$dir/modules/$version/" || return
	ln -s ../modules "$dir/lib/modules"
	depmod -b "$dir" "$version"
	if [ "$flavour" = uml ]; then
		cp "$obj/linux" "$dir/linux" && strip --strip-debug "$dir/linux"
	else
		cp "$obj/arch/x86/boot/bzImage" "$dir/vmlinuz" && keep_headers "$dir" "$flavour" "$3"
	fi || return
	keep_selftests "$dir/modules/$version/selftests" "$3" "$flavour" || return
	EARLY_MODULES='' make_initramfs "$dir"
}

# keep_headers DIRECTORY FLAVOUR WORK: DIRECTORY/build, what a module needs to be built for this kernel.
keep_headers() {
	local dir=$1 flavour=$2 work=$3
	mkdir -p "$dir/build"
	in_kernel_root "$work" "$flavour" "$dir/build" env srctree=/vz/src SRCARCH=x86 CC=gcc HOSTCC=gcc MAKE=make \
		sh -c 'cd /vz/obj && sh /vz/src/scripts/package/install-extmod-build /vz/scratch' >&2 || return
	cp "$work/obj-$flavour/.config" "$work/obj-$flavour/System.map" "$dir/build/"
	# types alone: what gives a module its own BTF
	! grep -q '^CONFIG_DEBUG_INFO_BTF=y' "$dir/config" ||
		objcopy --only-section=.BTF "$work/obj-$flavour/vmlinux" "$dir/build/vmlinux"
}

# keep_selftests DIRECTORY WORK FLAVOUR: the kernel's own tests, static; guests find them in /lib/modules/VERSION.
# Not optimized: some write to memory that they never read.
keep_selftests() {
	local dir=$1
	mkdir -p "$dir"
	# shellcheck disable=SC2016 # expanded by the inner shell
	in_kernel_root "$2" "$3" "$dir" sh -ec '
		cd /vz/src/tools/testing/selftests/cgroup
		util=cgroup_util.c
		[ -e $util ] || util=lib/cgroup_util.c
		gcc -w -static -pthread -I.. -Ilib/include \
			-o /vz/scratch/test_memcontrol test_memcontrol.c $util
		cd ../filesystems/quota
		gcc -w -static -o /vz/scratch/quota_test quota_test.c' >&2
}
