#!/bin/sh
# Copies the libraries that programs are linked with into a folder, all but those of the C library, which the runtime
# image has:
#
#   deploy/libraries.sh FOLDER PROGRAM...
set -eu
folder=$1
shift
mkdir -p "$folder"
linked=$(ldd "$@")
case $linked in
*'not found'*)
    printf '%s\n' "$linked" >&2
    exit 1
    ;;
esac
printf '%s\n' "$linked" | awk '/=> \//{ print $3 }' | sort -u |
    while read -r library; do
        case ${library##*/} in
        libc.so.* | libm.so.* | libdl.so.* | libpthread.so.* | librt.so.* | libresolv.so.*) ;;
        *) cp -L "$library" "$folder" ;;
        esac
    done
