#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Tests of the memory model's promises pass, and fail when the mechanism behind them is taken away (VZ_TEST_WITHOUT).

A test that passes without what it tests proves nothing. Each row is run twice, with and without; what fails has to fail for
the reason that the row gives. In a guest of tests/lab/run --swap 1G --disks 1; on a stock kernel with vz.ko (tests/lab/kmod).
"""
import os
import pathlib
import re
import subprocess
import sys
import unittest

import labguest

HERE = pathlib.Path(__file__).resolve().parent
BTF = pathlib.Path("/sys/kernel/btf/vmlinux").exists()
# Which promise (Documentation/memory-model.rst), on which kernels, file, switch, test, why it fails. In this order: the
# module and the programs stay loaded.
ANY, STOCK, PATCHED = "any", "stock", "patched"
ROWS = (
    ("a", ANY, "memory", "limits", "Memory.test_over_ram_goes_to_swap_and_never_beyond_the_sum", r" not greater than 31457280"),
    ("a", ANY, "memory", "limits", "Memory.test_beyond_the_sum_only_the_container_pays", r"0 == 0|not less than or equal"),
    ("a", ANY, "memory", "limits", "Memory.test_page_cache_is_no_reason_to_kill", r"not less than or equal to 5"),
    ("b", ANY, "vswap_host", "device", "Containers.test_over_ram_pages_go_to_compressed_ram_and_to_no_disk", r"pages on the disk"),
    ("c", STOCK, "vswap_host", "riops", "Containers.test_without_the_module_io_max_slows_the_container_down", r"riops"),
    ("c", STOCK, "vswap_host", "rate", "Zz_Module.test_rate_is_kept_and_follows_set", r"not less than 1150"),
    ("c", STOCK, "vswap_host", "spared", "Zz_Module.test_a_checkpoint_pays_nothing", r"\d+ != 0"),
    ("c", STOCK, "vswap", "vswap", "Price.test_2400_one_thread", r"not less than \d"),
    ("c", STOCK, "vswap", "vswap", "Price.test_2400_four_threads", r"not less than \d"),
    ("c", PATCHED, "vswap_delay", "delay", "Delay.test_four_threads_share_the_rate", r"not less than"),
    ("c", PATCHED, "vswap_delay", "delay", "Delay.test_a_rate_given_at_creation_holds_from_the_start", r"not less than"),
    ("d", STOCK, "vswap_host", "vzfs", "Zz_Module.test_files_of_proc_are_the_containers", r"MemTotal: \+65536"),
    ("d", STOCK, "vswap", "sysinfo", "Sysinfo.test_inside_shows_ram_and_swap", r"50331648"),
    ("e", ANY, "memory", "limits", "Memory.test_a_ram_cut_reclaims_and_never_kills", r"!= 50331648"),
    ("e", ANY, "memory", "cut", "Memory.test_a_cut_of_both_below_the_working_set_is_refused", r"0 == 0"),
    ("f", ANY, "memory", "low", "Memory.test_the_host_runs_short_and_spares_who_uses_little", r"not less than 16|the hog is dead"),
    ("f", ANY, "vswap_host", "low", "Containers.test_a_container_is_spared_half_of_its_ram", r"0 != 33554432"),
    ("f", STOCK, "vswap", "privvm", "PrivateMemory.test_over_the_limit_is_enomem", r"'ok' != 'ENOMEM'"),
)


def outcome(file, test, without=""):
    """(passed, failed or skipped, all that it said)."""
    environment = {**os.environ, "VZ_TEST_WITHOUT": without}
    done = subprocess.run([sys.executable, "-B", HERE / f"{file}.py", test], env=environment, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, errors="replace", check=False)
    match = re.search(r"^(\d+) passed, (\d+) failed, (\d+) skipped$", done.stdout, re.M)
    if not match:
        return "no counts", done.stdout
    return next((word for number, word in zip(match.groups(), ("passed", "failed", "skipped")) if number != "0"), "nothing ran"), done.stdout


class Without(unittest.TestCase):
    def check(self, row):
        _, where, file, switch, test, why = row
        if (where == PATCHED) == BTF and where != ANY:
            self.skipTest(f"needs a {where} kernel")
        with_it, said = outcome(file, test)
        if with_it == "skipped":
            self.skipTest(re.search(r"^skipped: (.*)", said, re.M)[1])
        self.assertEqual(with_it, "passed", f"with it\n{said}")
        without, said = outcome(file, test, switch)
        self.assertEqual(without, "failed", f"without {switch}\n{said}")
        errors = re.findall(r"^\w*(?:Error|Exception)\b.*", said, re.M)
        print(f"# without {switch}: {'; '.join(errors)[:150]}", flush=True)
        self.assertRegex("\n".join(errors), why, said)


def add(number, row):
    name = f"test_{number:02}_{row[0]}_{row[3]}_{row[4].partition('.test_')[2]}"
    setattr(Without, name, lambda self: self.check(row))


for position, one in enumerate(ROWS):
    add(position, one)

if __name__ == "__main__":
    labguest.main(private=False)
