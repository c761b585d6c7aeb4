#!/bin/sh
# deps.sh: find what vmem is built, tested and linted with, and install what is
# missing: with apt-get, Homebrew or dnf, else say what to type.
#
#   deps.sh build OUT.mk   Lua 5.4, its headers and modules, zlib, zstd (and lzma
#                          where there is one): writes what was found to OUT.mk
#   deps.sh lint           luacheck, clang-format, cppcheck
#   deps.sh extras         what some specs use, and skip without: QEMU's user emulators,
#                          Valgrind, LuaRocks, xz, zstd
#
# Environment: CC (default cc), LUA (an interpreter to try first).
# Silent when nothing is missing. Says on stderr what it installs, and how.
# No pkg-config is needed: headers and libraries are probed with the compiler.
set -u

CC=${CC:-cc}
WANTED_LUA=${LUA:-}

# What for each package manager provides it; "rock:NAME" comes by luarocks.
#    what          apt-get         dnf                 brew
TABLE='
     lua           lua5.4          lua                 lua@5.4
     lua-headers   liblua5.4-dev   lua-devel           lua@5.4
     lpeg          lua-lpeg        lua-lpeg            rock:lpeg
     luaunit       lua-unit        rock:luaunit        rock:luaunit
     argparse      lua-argparse    rock:argparse       rock:argparse
     dkjson        lua-dkjson      rock:dkjson         rock:dkjson
     zlib          zlib1g-dev      zlib-devel          zlib
     zstd          libzstd-dev     libzstd-devel       zstd
     lzma          liblzma-dev     xz-devel            xz
     luacheck      lua-check       rock:luacheck       luacheck
     clang-format  clang-format    clang-tools-extra   clang-format
     cppcheck      cppcheck        cppcheck            cppcheck
     qemu          qemu-user       qemu-user           -
     valgrind      valgrind        valgrind            -
     luarocks      luarocks        luarocks            luarocks
     xz            xz-utils        xz                  xz
     zstd-command  zstd            zstd                zstd
'

say() { printf '%s\n' "$*" >&2; }
die() { say "vmem: $*"; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

# --- finding ---------------------------------------------------------------

PREFIXES='/usr/local /opt/homebrew/opt/lua@5.4 /usr/local/opt/lua@5.4 /opt/homebrew /opt/local'

find_lua() {
    FOUND_LUA=
    for name in ${WANTED_LUA:+"$WANTED_LUA"} lua5.4 lua-5.4 lua54 lua; do
        for path in "$name" $(for p in $PREFIXES; do echo "$p/bin/$name"; done); do
            path=$(command -v "$path" 2>/dev/null) || continue
            if [ "$("$path" -e 'io.write(_VERSION)' 2>/dev/null </dev/null)" = "Lua 5.4" ]; then
                FOUND_LUA=$path
                return 0
            fi
        done
    done
    return 1
}

# Where module $1 was found; fails where it can't be loaded.
lua_module() {
    [ -n "${FOUND_LUA:-}" ] || find_lua || return 1
    printf '%s\n' '
        local name = ...
        if not pcall(require, name) then os.exit(1) end
        print((package.searchpath(name, package.path)) or (package.searchpath(name, package.cpath)))
    ' | "$FOUND_LUA" - "$1" 2>/dev/null
}

# compiles SOURCE FLAGS...: does it compile and link?
compiles() {
    source=$1; shift
    printf '%s\n' "$source" | "$CC" -x c - -o /dev/null "$@" >/dev/null 2>&1
}

LUA_PROBE='#include <lua.h>
#include <lauxlib.h>
#if LUA_VERSION_NUM != 504
#error "not Lua 5.4"
#endif
int main(void) { return 0; }'

find_lua_headers() {
    FOUND_CFLAGS=
    configured=
    if have pkg-config; then
        for name in lua5.4 lua-5.4 lua54 lua; do
            flags=$(pkg-config --cflags "$name" 2>/dev/null) && configured="$configured
$flags"
        done
    fi
    probes=$(printf '%s\n' "$configured"
        for p in /usr $PREFIXES; do
            printf -- '-I%s\n' "$p/include/lua5.4" "$p/include/lua-5.4" "$p/include/lua54" \
                "$p/include/lua" "$p/include"
        done)
    # An empty line stands for headers that need no flag.
    while IFS= read -r flags; do
        # shellcheck disable=SC2086 # flags are several words
        if compiles "$LUA_PROBE" $flags; then
            FOUND_CFLAGS=$flags
            return 0
        fi
    done <<END

$probes
END
    return 1
}

# The interpreter as a library: only the sanitizer's host is linked with it.
find_lua_library() {
    FOUND_LIBS=
    for name in lua5.4 lua-5.4 lua54 lua; do
        for flags in "-l$name" $(for p in $PREFIXES; do echo "-L$p/lib,-l$name"; done); do
            flags=$(echo "$flags" | tr ',' ' ')
            # shellcheck disable=SC2086
            if compiles '#include <lua.h>
#include <lauxlib.h>
int main(void) { luaL_checkversion_(luaL_newstate(), LUA_VERSION_NUM, LUAL_NUMSIZES); return 0; }' \
                $FOUND_CFLAGS $flags -lm -ldl; then
                FOUND_LIBS="$flags -lm -ldl"
                return 0
            fi
        done
    done
    return 0
}

has() {
    case $1 in
    lua) find_lua ;;
    lua-headers) find_lua_headers ;;
    lpeg | luaunit | argparse | dkjson) lua_module "$1" >/dev/null ;;
    zlib) compiles '#include <zlib.h>
int main(void) { return zlibVersion() == 0; }' -lz ;;
    zstd) compiles '#include <zstd.h>
int main(void) { return ZSTD_versionNumber() == 0; }' -lzstd ;;
    lzma) compiles '#include <lzma.h>
int main(void) { return lzma_version_number() == 0; }' -llzma ;;
    qemu) have qemu-x86_64 ;;
    zstd-command) have zstd ;;
    *) have "$1" ;;
    esac
}

# Sets MISSING (no subshell: what the searches find is kept).
missing_of() {
    MISSING=
    for what in "$@"; do has "$what" || MISSING="$MISSING $what"; done
}

# --- installing --------------------------------------------------------------

# What column $1 of the table says for each of the rest.
packages() {
    column=$1; shift
    for what in "$@"; do
        printf '%s\n' "$TABLE" | awk -v w="$what" -v c="$column" '$1 == w && $c != "-" { print $c }'
    done | sort -u | tr '\n' ' '
}

manager() {
    if have apt-get; then MANAGER='apt-get install -y --no-install-recommends' COLUMN=2
    elif have brew; then MANAGER='brew install' COLUMN=4
    elif have dnf; then MANAGER='dnf install -y' COLUMN=3
    else MANAGER='' COLUMN=2
    fi
}

# The prefix that gives root's rights: empty, or sudo where it will not hang.
privilege() {
    SUDO=
    [ "$COLUMN" = 4 ] || [ "$(id -u)" = 0 ] && return 0
    have sudo || return 1
    SUDO=sudo
    sudo -n true 2>/dev/null || [ -t 0 ]
}

LOG=
run_logged() {
    # shellcheck disable=SC2086
    $SUDO env DEBIAN_FRONTEND=noninteractive "$@" </dev/null >>"$LOG" 2>&1
}

# Sets SYSTEM and ROCKS, what provides "$@", and LINE, what a person would type.
plan() {
    SYSTEM='' ROCKS=''
    for p in $(packages "$COLUMN" "$@"); do
        case $p in
        rock:*) ROCKS="$ROCKS ${p#rock:}" ;;
        *) SYSTEM="$SYSTEM $p" ;;
        esac
    done
    [ -z "$ROCKS" ] || have luarocks || SYSTEM="$SYSTEM luarocks"
    LINE=${SYSTEM:+$MANAGER$SYSTEM}
    if [ -n "$ROCKS" ]; then
        for p in $ROCKS; do LINE="${LINE:+$LINE && }luarocks --lua-version=5.4 install $p"; done
    fi
}

install_missing() {
    plan "$@"
    if [ -z "$MANAGER" ]; then
        die "missing: $*
There is no apt-get, brew or dnf here to install it with. Debian calls the packages
   $SYSTEM
and what is a Lua module comes by luarocks too, for example
    luarocks --lua-version=5.4 install lpeg"
    fi
    if ! privilege; then
        [ "$COLUMN" = 2 ] && LINE="apt-get update && $LINE"
        have sudo && die "missing: $*
Type this, then make again:
    sudo sh -c '$LINE'"
        die "missing: $*
Type this, then make again:
    su -c '$LINE'"
    fi

    say "vmem: missing: $*"
    say "vmem: ${SUDO:+$SUDO }$LINE"
    LOG=$(mktemp) || die "mktemp failed: is there a writable folder for temporary files?"
    # A first attempt without a new package list saves that list where it is current.
    # shellcheck disable=SC2086
    if [ -n "$SYSTEM" ] && ! run_logged $MANAGER $SYSTEM; then
        if [ "$COLUMN" = 2 ]; then
            run_logged apt-get update
            run_logged $MANAGER $SYSTEM
        fi
    fi
    # shellcheck disable=SC2086
    for rock in $ROCKS; do run_logged luarocks --lua-version=5.4 install "$rock"; done
}

# need WHAT... [-- OPTIONAL...]: all of them present, or installed, or the end.
need() {
    required='' optional='' past=''
    for what in "$@"; do
        if [ "$what" = -- ]; then past=1
        elif [ -n "$past" ]; then optional="$optional $what"
        else required="$required $what"
        fi
    done
    # shellcheck disable=SC2086
    missing_of $required
    [ -z "$MISSING" ] && return 0
    manager
    wanted=$MISSING
    # What is optional comes along when something is installed anyway.
    # shellcheck disable=SC2086
    missing_of $optional
    # shellcheck disable=SC2086
    install_missing $wanted $MISSING
    # shellcheck disable=SC2086
    missing_of $required
    if [ -n "$MISSING" ]; then
        tail -n 15 "$LOG" >&2
        rm -f "$LOG"
        # shellcheck disable=SC2086
        plan $MISSING
        [ -n "$SUDO" ] && LINE="sudo sh -c '$LINE'"
        die "still missing:$MISSING
Type this to see why:
    $LINE"
    fi
    rm -f "$LOG"
}

# --- what was found ------------------------------------------------------------

header_file() {
    # shellcheck disable=SC2086
    printf '#include <%s>\n' "$1" | "$CC" $FOUND_CFLAGS -M -x c - 2>/dev/null |
        tr ' ' '\n' | grep "/$1\$" | head -n 1
}

write_config() {
    find_lua_library
    lzma=
    has lzma && lzma=1
    mkdir -p "$(dirname "$1")" || die "cannot make the folder of $1"
    {
        echo "# Written by tools/deps.sh; \`make deps\` writes it anew."
        echo "LUA := $FOUND_LUA"
        echo "LUA_CFLAGS := $FOUND_CFLAGS"
        echo "LUA_LIBS := $FOUND_LIBS"
        echo "HAVE_LZMA := $lzma"
        echo "# Where one of these has gone, the search is made again."
        printf 'CONFIG_FILES := %s' "$FOUND_LUA"
        for name in lpeg luaunit argparse dkjson; do printf ' %s' "$(lua_module "$name")"; done
        for name in lua.h zlib.h zstd.h ${lzma:+lzma.h}; do printf ' %s' "$(header_file "$name")"; done
        echo
    } >"$1.new" && mv "$1.new" "$1"
}

have "$CC" || die "no C compiler: '$CC' is not found (CC=NAME names another)"
case ${1:-} in
build)
    [ $# = 2 ] || die "usage: deps.sh build OUT.mk"
    need lua lua-headers lpeg luaunit argparse dkjson zlib zstd -- lzma
    write_config "$2"
    ;;
lint) need luacheck clang-format cppcheck ;;
extras) need qemu valgrind luarocks xz zstd-command ;;
*) die "usage: deps.sh build OUT.mk | lint | extras" ;;
esac
