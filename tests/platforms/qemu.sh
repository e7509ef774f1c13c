#!/usr/bin/env bash
# Runs a program of another processor under qemu-user, in a namespace in which the kernel knows (by binfmt_misc) who runs
# such programs: what it starts in turn, itself or a shell, runs too. Needs Linux 6.7; no root, and nothing stays.
#
#   QEMU=FOLDER/usr/bin/qemu-aarch64 QEMU_LD_PREFIX=FOLDER tests/platforms/qemu.sh PROGRAM [ARGUMENT…]
set -euo pipefail
# Bytes 4 (class), 5 (order) and 18, 19 (machine) of the ELF header; any kind of operating system, program or library.
case ${QEMU##*/} in
	qemu-aarch64) head='\x02\x01' type='\x02\x00' machine='\xb7\x00' any='\xfe\xff' ;;
	qemu-s390x) head='\x02\x02' type='\x00\x02' machine='\x00\x16' any='\xff\xfe' ;;
	*) echo "whose is $QEMU?" >&2 && exit 2 ;;
esac
magic="\\x7fELF$head\\x01\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00$type$machine"
mask="\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\x00\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xff$any\\xff\\xff"
export RULE=":musig:M::$magic:$mask:$QEMU:F"
# shellcheck disable=SC2016
exec unshare --map-root-user --mount sh -ec '
	mount -t binfmt_misc none /proc/sys/fs/binfmt_misc
	printf %s "$RULE" >/proc/sys/fs/binfmt_misc/register
	unset RULE
	exec "$@"' sh "$@"
