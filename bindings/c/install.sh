#!/bin/sh
# Installs the C library: headers, shared and static library, pkg-config file, CMake package.
# usage: install.sh ARCHIVE   with PREFIX (/usr/local), DESTDIR, LIBDIR (lib) and INCLUDEDIR (include) as usual
# ARCHIVE is the static library: cargo rustc --lib --release --crate-type staticlib
set -eu
archive=$1
prefix=${PREFIX:-/usr/local}
libdir=$prefix/${LIBDIR:-lib}
includedir=$prefix/${INCLUDEDIR:-include}
destdir=${DESTDIR:-}
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$root/Cargo.toml" | head -n 1)
# What a program needs beside the static library: `rustc --print native-static-libs` for this target.
private=${SYSTEM_LIBRARIES:--lgcc_s -lutil -lrt -lpthread -lm -ldl}

mkdir -p "$destdir$includedir" "$destdir$libdir/pkgconfig" "$destdir$libdir/cmake/musig"
install -m 644 "$root/include/musig.h" "$root/include/musig.hpp" "$destdir$includedir/"
install -m 644 "$archive" "$destdir$libdir/libmusig.a"
"$here/link.sh" "$archive" "$destdir$libdir/libmusig.so.$version"
[ -n "${STRIP-}" ] && "$STRIP" --strip-unneeded "$destdir$libdir/libmusig.so.$version"
ln -sf "libmusig.so.$version" "$destdir$libdir/libmusig.so.0.1"
ln -sf libmusig.so.0.1 "$destdir$libdir/libmusig.so"

fill() {
    sed -e "s|@PREFIX@|$prefix|g" -e "s|@LIBDIR@|$libdir|g" -e "s|@INCLUDEDIR@|$includedir|g" \
        -e "s|@VERSION@|$version|g" -e "s|@PRIVATE@|$private|g" "$here/$1" > "$destdir$libdir/$2"
}
fill musig.pc.in pkgconfig/musig.pc
fill musig-config.cmake.in cmake/musig/musig-config.cmake
fill musig-config-version.cmake.in cmake/musig/musig-config-version.cmake
