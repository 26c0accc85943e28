# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# Debian's kernel source, as its package linux-source-VERSION has it: unpacked once, never written to.

# source_suite VERSION: the Debian suite that has linux-source-VERSION.
source_suite() {
	case $1 in
	6.12) echo trixie ;;
	7.2) echo forky ;;
	*) die "no linux-source-$1 known (6.12, 7.2)" ;;
	esac
}

# linux_source VERSION: a directory with `tree` and `version` (the package's).
linux_source() {
	local suite
	suite=$(source_suite "$1") || exit
	cached "$CACHE/linux-$1-$(recipe_hash "$LAB/lib/source.sh")" fetch_source "$1" "$suite"
}

fetch_source() {
	local dir=$1 package=linux-source-$2 apt=$1/apt
	say "fetching $package (once, about 1 minute)"
	need xz xz-utils
	mkdir -p "$dir/tree"
	apt_for "$apt" "$3" || return
	(cd "$apt/cache/archives" && APT_CONFIG=$apt/apt.conf apt-get -qq download "$package") || return
	dpkg-deb -f "$apt"/cache/archives/*.deb Version >"$dir/version"
	dpkg-deb --fsys-tarfile "$apt"/cache/archives/*.deb | tar -xO "./usr/src/$package.tar.xz" |
		tar -xJ -C "$dir/tree" --strip-components=1 || return
	remove "$apt"
}
