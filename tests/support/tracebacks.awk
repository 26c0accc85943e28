# SPDX-License-Identifier: GPL-2.0-or-later
# What a test program printed from unittest's first line of = on, where its tracebacks begin; all of it when there is none.
/^=====/ { seen = 1 }
{ all = all $0 "\n" }
seen { tail = tail $0 "\n" }
END { printf "%s", seen ? tail : all }
