# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# Debian's archive as this machine reaches it: mirror, proxy and clock options come from the
# machine's own apt configuration, the signatures from debian-archive-keyring.

KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg
DEBIAN_RELEASES='bullseye|bookworm|trixie|forky|sid|oldstable|stable|testing|unstable'

# mirror RELEASE-REGEX: the first URI in apt's sources that serves such a release. apt itself
# reads its sources here, so both .list and deb822 files count.
mirror() {
	# shellcheck disable=SC2016 # apt expands these
	apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
		awk -v r="^($1)\$" '$3 == "main" && $2 ~ r && !n++ { print $1 }'
}

# sources SUITE: lines for sources.list; the security suite where the machine has one.
sources() {
	local suite=$1 archive security
	[ -r "$KEYRING" ] || die "$KEYRING is missing: apt install debian-archive-keyring"
	archive=${VZ_MIRROR:-$(mirror "$DEBIAN_RELEASES")}
	[ -n "$archive" ] || die "no Debian mirror in apt's sources: set VZ_MIRROR to its URI"
	echo "deb [signed-by=$KEYRING] $archive $suite main"
	security=${VZ_SECURITY_MIRROR:-$(mirror "($DEBIAN_RELEASES)-security")}
	# testing has no security suite of its own
	[ -z "$security" ] || [ "$suite" = forky ] ||
		echo "deb [signed-by=$KEYRING] $security $suite-security main"
}

# The machine's proxies and its allowance for a wrong clock, as apt.conf lines.
apt_options() {
	apt-config dump | grep -E '^Acquire::(https?::Proxy|Check-|Retries)' || true
}

# apt_for DIRECTORY SUITE: a private apt for SUITE in DIRECTORY, its lists fetched and verified.
apt_for() {
	local dir=$1 suite=$2
	mkdir -p "$dir"/state/lists/partial "$dir"/cache/archives/partial
	: >"$dir/status"
	sources "$suite" >"$dir/sources.list"
	{
		apt_options
		cat <<-END
			Dir::State "$dir/state";
			Dir::State::status "$dir/status";
			Dir::Cache "$dir/cache";
			Dir::Etc::sourcelist "$dir/sources.list";
			Dir::Etc::sourceparts "/dev/null";
			Dir::Etc::trustedparts "/dev/null";
			APT::Architecture "amd64";
			APT::Sandbox::User "root";
		END
	} >"$dir/apt.conf"
	APT_CONFIG=$dir/apt.conf apt-get -qq update
}
