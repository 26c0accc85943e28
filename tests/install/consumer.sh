#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# What `cmake --install` leaves is enough for others: a program built with pkg-config and one with find_package(vz) run,
# every installed header compiles alone with -Wall -Wextra -pedantic, and libvz.so shows nothing outside of namespace vz.
# usage: consumer.sh BUILD-DIR
set -euo pipefail
build=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
DESTDIR=$work/root cmake --install "$build" >"$work/install.log" || { cat "$work/install.log"; exit 1; }
prefix=$(sed -n 's/^CMAKE_INSTALL_PREFIX:PATH=//p' "$build/CMakeCache.txt")
lib=$(dirname "$(find "$work/root" -name libvz.so)")
export PKG_CONFIG_PATH=$lib/pkgconfig PKG_CONFIG_SYSROOT_DIR=$work/root

cat >"$work/use.cc" <<'EOF'
#include <cstdio>
#include <vz/container.h>
#include <vz/version.h>
int main() {
  auto id = vz::Ctid::parse("101");
  auto bad = vz::Ctid::parse("-1");
  std::printf("%s %u %d\n", VZ_VERSION_STRING, id ? id->value() : 0, bad ? 0 : static_cast<int>(bad.error().code()));
  return vz::find_param_by_option("--ram") ? 0 : 1;
}
EOF
version=$(pkg-config --modversion vz)

# shellcheck disable=SC2046  # flags are words
c++ -std=c++20 "$work/use.cc" -o "$work/use" $(pkg-config --cflags --libs vz)
[ "$(LD_LIBRARY_PATH=$lib "$work/use")" = "$version 101 21" ]
echo "pkg-config: ok"

mkdir "$work/cm"
cp "$work/use.cc" "$work/cm"
cat >"$work/cm/CMakeLists.txt" <<'EOF'
cmake_minimum_required(VERSION 3.25)
project(use CXX)
set(CMAKE_CXX_STANDARD 20)
find_package(vz 0.1 REQUIRED)
add_executable(use use.cc)
target_link_libraries(use vz::vz)
EOF
cmake -S "$work/cm" -B "$work/cm/b" -DCMAKE_PREFIX_PATH="$work/root$prefix" >"$work/cm.log" || { cat "$work/cm.log"; exit 1; }
cmake --build "$work/cm/b" >"$work/cm.log" || { cat "$work/cm.log"; exit 1; }
[ "$(LD_LIBRARY_PATH=$lib "$work/cm/b/use")" = "$version 101 21" ]
echo "find_package: ok"

for header in "$work/root$prefix"/include/vz/*.h; do
  echo "#include <vz/$(basename "$header")>" | c++ -std=c++20 -Wall -Wextra -Wpedantic -Wno-gnu-statement-expression -Werror \
    -fsyntax-only -I"$work/root$prefix/include" -x c++ -
done
echo "headers: ok"

for face in vzlist vztmpl vzd vzmemcheck vzcalc vzsplit vzcfgvalidate vzubc vzpid vzcpucheck vzstat vznetstat vz-exporter; do
  link=$(readlink "$work/root$prefix/sbin/$face") || { echo "$face is not installed"; exit 1; }
  [ "$link" = vzctl ] || { echo "$face is a link to $link"; exit 1; }
  [ "$face" = vzd ] || LD_LIBRARY_PATH=$lib "$work/root$prefix/sbin/$face" --help | grep -q "^Usage: $face " || { echo "$face --help"; exit 1; }
done
if command -v rst2man rst2man.py >/dev/null; then
  for page in vzctl.8 vzlist.8 vzmemcheck.8 vzcalc.8 vzsplit.8 vzcfgvalidate.8 vzubc.8 vzpid.8 vzcpucheck.8 vzstat.8 vznetstat.8 vztop.8 vz-exporter.8 vz.conf.5 ctid.conf.5; do
    [ -s "$work/root$prefix/share/man/man${page##*.}/$page" ] || { echo "$page is not installed"; exit 1; }
  done
fi
echo "tools: ok"

foreign=$(nm -DC --defined-only "$lib/libvz.so" | grep -v -e ' vz::' -e 'for vz::' -e ' A VZ_' -e ' T vz_ubc_' || true)
[ -z "$foreign" ] || { echo "libvz.so shows: $foreign"; exit 1; }
echo "symbols: ok"
