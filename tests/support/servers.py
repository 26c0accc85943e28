# SPDX-License-Identifier: GPL-2.0-or-later
"""A Debian template with servers that people run, and how they are set up."""
import os
import pathlib
import shutil
import sys
import tempfile
import unittest
import zlib

import vzhost
from vzhost import run

PACKAGES = ("nginx-light,postgresql,redis-server,apache2,mariadb-server,php-fpm,openssh-server,cron,rsyslog,postfix,memcached,bind9,"
            "dovecot-imapd,python3,nodejs")
NAME = f"{vzhost.DEBIAN}-servers-{zlib.crc32(PACKAGES.encode()):08x}"

SET_UP = """
systemctl disable --now apache2
systemctl enable --now nginx
seq 1 20000 >/var/www/html/numbers
sed -i 's/^bind .*/bind 0.0.0.0/; s/^protected-mode .*/protected-mode no/' /etc/redis/redis.conf
cd /etc/postgresql/*/main
echo "listen_addresses = '*'" >>postgresql.conf
echo 'host all postgres 198.18.0.0/15 trust' >pg_hba.conf
echo 'local all postgres peer' >>pg_hba.conf
systemctl restart nginx redis-server postgresql
systemctl is-active nginx redis-server
until su postgres -c 'psql -c "create table log (client int, number int, primary key (client, number))"'; do sleep 0.2; done
"""

# Programs of their own: threads, children, timers, and a login with a terminal.
TRANSIENT = ("node.service", "python.service", "login.service")
PROGRAMS = """
echo 'setInterval(() => {}, 100)' >/root/a.js
systemd-run --unit=node node /root/a.js
systemd-run --unit=python python3 -c '
import subprocess, threading, time
threading.Thread(target=lambda: time.sleep(1e6)).start()
subprocess.Popen(["sleep", "100000"])
time.sleep(1e6)'
ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/id_ed25519
cp /root/.ssh/id_ed25519.pub /root/.ssh/authorized_keys
systemd-run --unit=login ssh -tt -o StrictHostKeyChecking=no root@127.0.0.1 'tty >/root/terminal; exec sleep 100001'
"""


def archive(name):
    return vzhost.TEMPLATES / "cache" / f"{name}.tar.zst"


def template():
    """Its name. Building it needs the mirror, which the namespace of a test does not reach: scripts/check does it before."""
    if not archive(NAME).exists():
        raise unittest.SkipTest(f"no {NAME} template: python3 {__file__} builds it")
    return NAME


def build(name, *options):
    """A Debian template under another name, for the tests' cache."""
    target = archive(name)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=os.environ.get("VZ_TEST_DIR", "/var/tmp")) as work:
        built = run(["unshare", "--mount", "--propagation", "private", "--", "sh", "-ec",
                     'mkdir -p /etc/vz; mount -t tmpfs none /etc/vz; cp -r "$1/." /etc/vz; echo "TEMPLATE=\\"$2\\"" >>/etc/vz/vz.conf; '
                     'shift 2; exec "$@"', "sh", vzhost.SOURCE / "etc", work, vzhost.BIN / "vztmpl", "build", vzhost.DEBIAN, *options],
                    timeout=1800)
        if built.rc != 0:
            sys.exit(f"no {name} template: {built.err.strip()[-1000:]}")
        made = archive(vzhost.DEBIAN).name
        checksum = pathlib.Path(work, "cache", f"{vzhost.DEBIAN}.sha256").read_text()
        target.with_name(f"{name}.sha256").write_text(checksum.replace(made, target.name))
        shutil.copy(f"{work}/cache/{made}", f"{target}.new")
        os.rename(f"{target}.new", target)


if __name__ == "__main__":
    for wanted, choice in ((vzhost.DEBIAN, []), (NAME, ["--include", PACKAGES])):
        if not archive(wanted).exists():
            build(wanted, *choice)
