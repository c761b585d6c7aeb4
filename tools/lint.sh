#!/bin/sh
# lint.sh: all linters, each to its end, so that one run shows everything.
# Environment: LUA, the interpreter (default lua5.4). Exits 1 on any complaint.
set -u
cd "$(dirname "$0")/.." || exit 1
LUA=${LUA:-lua5.4}
failed=

run() {
    name=$1; shift
    if ! "$@"; then
        failed="$failed $name"
        echo "lint: $name complains" >&2
    fi
}

folders() {
    for f in "$@"; do [ -d "$f" ] && echo "$f"; done
}

# What the module defines: no state that can change, one exported name; what it
# lacks: Lua's functions only.
core_symbols() {
    core=build/vmem/core.so
    bad=$(objdump -t $core | awk '
        $2 == "l" || $2 == "g" { section = $4; name = $NF; if ($3 == "d") next }
        section ~ /^\.(data|bss|tdata|tbss)$/ && name !~ /^(__dso_handle|completed\.[0-9]+|__cpu_model|__cpu_features2|_edata|_end|__bss_start|__TMC_END__)$/ { print name }
    ')
    if [ -n "$bad" ]; then
        echo "$core: state that outlives a machine: $bad" | tr '\n' ' '; echo
        return 1
    fi
    undefined=$(ldd -r $core 2>&1 | awk '/undefined symbol/ && $3 !~ /^luaL?_[a-z]+_?$/ { print $3 }')
    if [ -n "$undefined" ]; then
        echo "$core: nobody defines" "$undefined"
        return 1
    fi
    exported=$(nm -D --defined-only $core | awk '{ print $3 }' | grep -v '^_\(init\|fini\)$')
    if [ "$exported" != luaopen_vmem_core ]; then
        echo "$core: exports more than luaopen_vmem_core:" "$exported"
        return 1
    fi
}

# The library for hosts without Lua: exports its header's functions, knows no Lua.
library_symbols() {
    declared=$(sed -n 's/^VMEM_API [^(]*[ *]\(vmem_[a-z_]*\)(.*/\1/p' src/vmem.h | sort)
    exported=$(nm -D --defined-only "$1" | awk '{ print $3 }' | grep -v '^_\(init\|fini\)$' | sort)
    if [ "$exported" != "$declared" ]; then
        echo "$1: exports" "$exported"; echo "src/vmem.h: declares" "$declared"
        return 1
    fi
    undefined=$(ldd -r "$1" 2>&1 | awk '/undefined symbol/ { print $3 }')
    [ -z "$undefined" ] || { echo "$1: nobody defines" "$undefined"; return 1; }
}

# shellcheck disable=SC2046
run luacheck luacheck --quiet --codes $(folders lua spec examples tools)
# shellcheck disable=SC2046
run clang-format clang-format --dry-run -Werror $(find src spec examples -name '*.[ch]')
run floors "$LUA" tools/floors.lua
run house "$LUA" tools/house.lua
# The one translation unit shows cppcheck every call with its callee. Left out
# are guesses at loops' last rounds and at callers' buffers, and that >> of a
# negative number is arithmetic: gcc and clang promise it, zigzag codes need it.
run cppcheck cppcheck --quiet --error-exitcode=1 --std=c11 --inline-suppr \
    --enable=warning,performance,portability --suppress=missingIncludeSystem \
    --suppress=arrayIndexOutOfBoundsCond --suppress=ctuPointerArith \
    --suppress=shiftTooManyBitsSigned -D__GNUC__=12 -D__x86_64__ src/vmem_all.c spec/*.c examples/*.c -Isrc
# The other compiler warns of other things.
command -v clang >/dev/null && run clang make --no-print-directory CC=clang BUILD=build/clang check
[ -f build/vmem/core.so ] && run symbols core_symbols
[ -f build/libvmem.so.0 ] && run library library_symbols build/libvmem.so.0

[ -z "$failed" ] || { echo "lint:$failed" >&2; exit 1; }
