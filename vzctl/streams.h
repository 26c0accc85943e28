// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

namespace vzctl {

// A closed 0, 1 or 2 would become the place of the next file opened, an image perhaps, and messages would go there.
void occupy_standard_streams();

}  // namespace vzctl
