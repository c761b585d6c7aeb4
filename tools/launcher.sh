#!/bin/sh
# launcher.sh LUA LUADIR LIBDIR: write the command for one place: started by that
# interpreter, with the modules in LUADIR and LIBDIR found before all others.
set -eu
cat <<END
#!$1
package.path = "$2/?.lua;$2/?/init.lua;" .. package.path
package.cpath = "$3/?.so;" .. package.cpath
END
tail -n 1 "$(dirname "$0")/../bin/vmem"
