/* host.c: a Lua interpreter with vmem.core inside, for the sanitizers.
 *
 * Usage: host SCRIPT ARGUMENTS... as `lua5.4 SCRIPT ARGUMENTS...`. It is built
 * with -fsanitize and holds the core in package.preload, so that the sanitizers
 * see one program from its first allocation to its last: nothing is unloaded
 * before leaks are looked for, and their stacks keep their names. Other modules
 * (LPeg) are loaded as usual. The state is always closed.
 */
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>

int luaopen_vmem_core(lua_State *L);

static int host_traceback(lua_State *L)
{
    const char *text = luaL_tolstring(L, 1, NULL);
    luaL_traceback(L, L, text, 1);
    return 1;
}

static int host_main(lua_State *L)
{
    int argc = (int)lua_tointeger(L, 1);
    char **argv = lua_touserdata(L, 2);

    luaL_openlibs(L);
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
    lua_pushcfunction(L, luaopen_vmem_core);
    lua_setfield(L, -2, "vmem.core");

    lua_createtable(L, argc, 1);
    for (int i = 0; i < argc; i++) {
        lua_pushstring(L, argv[i]);
        lua_rawseti(L, -2, i - 1);
    }
    lua_setglobal(L, "arg");

    if (luaL_loadfile(L, argv[1]) != LUA_OK)
        return lua_error(L);
    for (int i = 2; i < argc; i++)
        lua_pushstring(L, argv[i]);
    lua_call(L, argc - 2, 0);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: %s SCRIPT [ARGUMENTS...]\n", argv[0]);
        return EXIT_FAILURE;
    }
    lua_State *L = luaL_newstate();
    if (L == NULL) {
        fprintf(stderr, "%s: not enough memory for a Lua state\n", argv[0]);
        return EXIT_FAILURE;
    }
    lua_pushcfunction(L, host_traceback);
    lua_pushcfunction(L, host_main);
    lua_pushinteger(L, argc);
    lua_pushlightuserdata(L, argv);
    int status = lua_pcall(L, 2, 0, 1);
    if (status != LUA_OK)
        fprintf(stderr, "%s: %s\n", argv[0], lua_tostring(L, -1));
    lua_close(L);
    return status == LUA_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}
