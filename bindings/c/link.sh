#!/bin/sh
# Links the shared library from the static one, so that it exports exactly include/musig.symbols under the version
# node MUSIG_0.1, and nothing of what is inside. For Linux and other systems with GNU-style linkers.
# usage: link.sh ARCHIVE OUTPUT [SYMBOL...]   further symbols are exported too
set -eu
archive=$1
output=$2
shift 2
here=$(cd "$(dirname "$0")/../.." && pwd)
map=$output.map
roots=$output.roots
{
    echo 'MUSIG_0.1 {'
    echo '  global:'
    { cat "$here/include/musig.symbols"; for symbol in "$@"; do echo "$symbol"; done; } | sed 's/.*/    &;/'
    echo '  local: *;'
    echo '};'
} > "$map"
{ cat "$here/include/musig.symbols"; for symbol in "$@"; do echo "$symbol"; done; } | sed 's/^/-Wl,-u,/' > "$roots"
# SYSTEM_LIBRARIES is what `rustc --print native-static-libs` names for this target.
# shellcheck disable=SC2086
${CC:-cc} -shared -o "$output" "@$roots" "$archive" \
    -Wl,-soname,libmusig.so.0.1 -Wl,--version-script="$map" -Wl,--gc-sections -Wl,--as-needed -Wl,-z,defs \
    ${LINK_FLAGS:-} ${SYSTEM_LIBRARIES:--lgcc_s -lutil -lrt -lpthread -lm -ldl -lc}
rm -f "$map" "$roots"
