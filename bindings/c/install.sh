#!/bin/sh
# Installs the C library: headers, shared and static library, pkg-config file, CMake package, licences and documents.
# usage: install.sh ARCHIVE   with PREFIX (/usr/local), DESTDIR, and LIBDIR (lib), INCLUDEDIR (include), DATADIR (share),
#                             each below PREFIX or absolute, as usual
#        install.sh --remove  with the same variables: removes what was installed
# ARCHIVE is the static library: cargo rustc --lib --release --crate-type staticlib
set -eu
prefix=${PREFIX:-/usr/local}
below() { case $1 in /*) echo "$1" ;; *) echo "$prefix/$1" ;; esac; }
libdir=$(below "${LIBDIR:-lib}")
includedir=$(below "${INCLUDEDIR:-include}")
datadir=$(below "${DATADIR:-share}")
destdir=${DESTDIR:-}
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$root/Cargo.toml" | head -n 1)
# What a program needs beside the static library, as `rustc --print native-static-libs` names it for this target, but for
# -lgcc_s: C compilers link their unwinder themselves, and with -static it is another one.
private=${SYSTEM_LIBRARIES:--lutil -lrt -lpthread -lm -ldl}
documents=$datadir/doc/musig

if [ "$1" = --remove ]; then
    rm -f "$destdir$includedir/musig.h" "$destdir$includedir/musig.hpp"
    rm -f "$destdir$libdir/libmusig.a" "$destdir$libdir"/libmusig.so*
    rm -f "$destdir$libdir/pkgconfig/musig.pc" "$destdir$datadir/musig/valgrind.supp"
    rm -rf "$destdir$libdir/cmake/musig" "$destdir$documents"
    # Folders that are shared with others go only if they are empty.
    for folder in "$datadir/musig" "$datadir/doc" "$libdir/cmake" "$libdir/pkgconfig"; do
        rmdir "$destdir$folder" 2>/dev/null || true
    done
    exit 0
fi

archive=$1
mkdir -p "$destdir$includedir" "$destdir$libdir/pkgconfig" "$destdir$libdir/cmake/musig" "$destdir$datadir/musig" \
    "$destdir$documents"
install -m 644 "$root/include/musig.h" "$root/include/musig.hpp" "$destdir$includedir/"
install -m 644 "$archive" "$destdir$libdir/libmusig.a"
"$here/link.sh" "$archive" "$destdir$libdir/libmusig.so.$version"
[ -z "${STRIP-}" ] || "$STRIP" --strip-unneeded "$destdir$libdir/libmusig.so.$version"
ln -sf "libmusig.so.$version" "$destdir$libdir/libmusig.so.0.1"
ln -sf libmusig.so.0.1 "$destdir$libdir/libmusig.so"
install -m 644 "$here/valgrind.supp" "$destdir$datadir/musig/"
install -m 644 "$root/LICENSE-MIT" "$root/LICENSE-APACHE" "$root/CHANGELOG.md" "$root/docs/c-api.md" "$destdir$documents/"

fill() {
    sed -e "s|@PREFIX@|$prefix|g" -e "s|@LIBDIR@|$libdir|g" -e "s|@INCLUDEDIR@|$includedir|g" \
        -e "s|@VERSION@|$version|g" -e "s|@PRIVATE@|$private|g" "$here/$1" > "$destdir$libdir/$2"
}
fill musig.pc.in pkgconfig/musig.pc
fill musig-config.cmake.in cmake/musig/musig-config.cmake
fill musig-config-version.cmake.in cmake/musig/musig-config-version.cmake
