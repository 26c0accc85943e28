# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# The lab's cache: where it is, how an entry is made once, and how old entries go away.
# An entry's name carries a hash of its recipe, so a changed recipe makes a new entry and
# two checkouts never fight over one.

LAB=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
CACHE=${VZ_LAB_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/vz-lab}
KEEP_DAYS=14

say() { echo "vz-lab: $*" >&2; }
die() { say "$*"; exit 1; }

# need COMMAND PACKAGE: name the package where a command is missing.
need() { command -v "$1" >/dev/null || die "$1 is missing: apt install $2"; }

need_root() { [ "$(id -u)" = 0 ] || die "$1 needs root (chroot and mounts)"; }

# recipe_hash FILE…: 12 digits that change with any of the files.
recipe_hash() { cat "$@" | sha256sum | cut -c1-12; }

# cached PATH MAKER [ARG…]: print PATH; where it is missing, `MAKER TEMPORARY ARG…` makes it,
# under a lock, and it appears in one rename.
cached() {
	local path=$1 maker=$2
	shift 2
	mkdir -p "$CACHE"
	(
		flock 9
		if [ ! -e "$path" ]; then
			local started=$SECONDS
			remove "$path.new"
			"$maker" "$path.new" "$@" >&2 || {
				remove "$path.new"
				die "$(basename "$path") was not made"
			}
			mv "$path.new" "$path"
			say "made $(basename "$path") in $((SECONDS - started)) s"
			prune "$path"
		fi
		touch "$path"
	) 9>"$CACHE/$(basename "${path%-*}").lock" || return
	echo "$path"
}

# Entries of the same kind that nobody has used for KEEP_DAYS.
prune() {
	local path=$1 old
	find "$CACHE" -maxdepth 1 -name "$(basename "${path%-*}")-????????????*" \
		! -name "$(basename "$path")" -mtime "+$KEEP_DAYS" -print0 |
		while IFS= read -r -d '' old; do remove "$old"; done
}

remove() { rm -rf --one-file-system -- "$1"; }

# packages NAME: the list in packages/NAME, comma-separated.
packages() { grep -v '^#' "$LAB/packages/$1" | paste -sd, -; }
