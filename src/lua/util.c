#include "util.h"

#include <errno.h>

vm_host lua_host(lua_State *L)
{
    vm_host h;
    if (lua_getfield(L, LUA_REGISTRYINDEX, LUA_HOST) == LUA_TLIGHTUSERDATA)
        h = *(const vm_host *)lua_touserdata(L, -1);
    else
        h.alloc = lua_getallocf(L, &h.ud);
    lua_pop(L, 1);
    return h;
}

/* luaL_error adds the caller's position; the text is data, not a format. */
int lua_raise(lua_State *L, const vm_error *e) { return luaL_error(L, "%s", e->text); }

int lua_checked(lua_State *L, const char *broken)
{
    if (!broken) {
        lua_pushboolean(L, 1);
        return 1;
    }
    lua_pushnil(L);
    lua_pushstring(L, broken);
    return 2;
}

int lua_failed(lua_State *L, const vm_error *e)
{
    if (e->status == VM_INVALID || e->status == VM_NOMEM)
        return lua_raise(L, e);
    lua_pushnil(L);
    if (e->status == VM_REFUSED) /* a system call: as perror has it, the code first */
        lua_pushfstring(L, "%s: %s", errno_name(e->sys), e->text);
    else
        lua_pushstring(L, e->text);
    lua_pushstring(L, e->status == VM_FORMAT ? "EFORMAT" : errno_name(e->sys));
    return 3;
}

const char *errno_name(int sys)
{
    static const struct {
        int sys;
        const char *name;
    } names[] = {
        {EPERM, "EPERM"},     {ENOENT, "ENOENT"},
        {EIO, "EIO"},         {EBADF, "EBADF"},
        {ENOMEM, "ENOMEM"},   {EACCES, "EACCES"},
        {EFAULT, "EFAULT"},   {EEXIST, "EEXIST"},
        {ENOTDIR, "ENOTDIR"}, {EISDIR, "EISDIR"},
        {EINVAL, "EINVAL"},   {EMFILE, "EMFILE"},
        {ENOSPC, "ENOSPC"},   {EROFS, "EROFS"},
        {EPIPE, "EPIPE"},     {EAGAIN, "EAGAIN"},
        {E2BIG, "E2BIG"},     {ENOEXEC, "ENOEXEC"},
        {EBUSY, "EBUSY"},     {ENOSYS, "ENOSYS"},
        {ECHILD, "ECHILD"},   {ENAMETOOLONG, "ENAMETOOLONG"},
        {ESRCH, "ESRCH"},     {EFBIG, "EFBIG"},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (names[i].sys == sys)
            return names[i].name;
    return "EIO";
}

void lua_remember(lua_State *L, const void *key, const void *of, int idx)
{
    idx = lua_absindex(L, idx);
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, key) == LUA_TNIL) {
        lua_pop(L, 1);
        lua_newtable(L);
        lua_createtable(L, 0, 1);
        lua_pushliteral(L, "v");
        lua_setfield(L, -2, "__mode");
        lua_setmetatable(L, -2);
        lua_pushvalue(L, -1);
        lua_rawsetp(L, LUA_REGISTRYINDEX, key);
    }
    lua_pushvalue(L, idx);
    lua_rawsetp(L, -2, of);
    lua_pop(L, 1);
}

void lua_set_integer(lua_State *L, const char *name, uint64_t v)
{
    lua_pushinteger(L, (lua_Integer)v);
    lua_setfield(L, -2, name);
}

void lua_set_string(lua_State *L, const char *name, const char *v)
{
    lua_pushstring(L, v);
    lua_setfield(L, -2, name);
}

void lua_set_boolean(lua_State *L, const char *name, bool v)
{
    lua_pushboolean(L, v);
    lua_setfield(L, -2, name);
}

void lua_class(lua_State *L, const char *name, const luaL_Reg *methods, lua_CFunction gc)
{
    luaL_newmetatable(L, name);
    lua_pushcfunction(L, gc);
    lua_setfield(L, -2, "__gc");
    lua_pushcfunction(L, gc);
    lua_setfield(L, -2, "__close");
    lua_newtable(L);
    luaL_setfuncs(L, methods, 0);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
}

void lua_set_names(lua_State *L, const char *name, const char *const *names)
{
    lua_newtable(L);
    for (lua_Integer i = 0; names[i]; i++) {
        lua_pushstring(L, names[i]);
        lua_rawseti(L, -2, i + 1);
    }
    lua_setfield(L, -2, name);
}
