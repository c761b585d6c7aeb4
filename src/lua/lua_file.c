/* lua_file.c: files on the simulated disk as Lua objects.
 *
 * A handle holds a reference, so that a file which was unlinked lives on while
 * somebody may still map it; it keeps its machine alive by a user value. Reading
 * and writing through a handle is done from outside of the machine: programs see
 * it at once, and no access, fault or disk operation is counted.
 */
#include "lua_machine.h"

#include <stdio.h>

typedef struct lua_file {
    lua_machine *owner; /* alive: user value 1 */
    file *f;            /* NULL: closed */
    bool readonly;
} lua_file;

static lua_file *file_handle(lua_State *L, int idx)
{
    lua_file *h = luaL_checkudata(L, idx, LUA_FILE);
    if (!h->f || !h->owner->m)
        luaL_argerror(L, idx, "this file is closed, or its machine is");
    if (h->owner->busy)
        luaL_argerror(
            L, idx, lua_pushfstring(L, "the machine of this file is busy with %s", h->owner->busy));
    return h;
}

file *lua_check_file(lua_State *L, int idx, bool *readonly)
{
    lua_file *h = file_handle(L, idx);
    *readonly = h->readonly;
    return h->f;
}

static lua_file *file_push(lua_State *L, int machine_idx, bool readonly)
{
    lua_file *h = lua_newuserdatauv(L, sizeof *h, 1);
    *h = (lua_file){.owner = lua_touserdata(L, machine_idx), .readonly = readonly};
    lua_pushvalue(L, machine_idx);
    lua_setiuservalue(L, -2, 1);
    luaL_setmetatable(L, LUA_FILE);
    return h;
}

/* m:_file(name, bytes or nil, readonly) -> file; nil, message, "ENOENT" where it must
 * exist and does not, or ENOSPC */
static int file_open_(lua_State *L)
{
    lua_machine *box = lua_check_machine(L, 1);
    kernel *k = &box->m->kernel;
    size_t size, n = 0;
    vm_error e;
    const char *name = luaL_checklstring(L, 2, &size);
    const char *bytes = luaL_optlstring(L, 3, NULL, &n);
    luaL_argcheck(L, size > 0 && size < FILE_NAME && strlen(name) == size, 2,
                  "a file's name has 1 to 63 bytes, none of them zero");
    lua_file *h = file_push(L, 1, lua_toboolean(L, 4));
    file *f = file_find(k, name);
    vm_status s = VM_OK;
    if (f)
        file_get(f);
    else if (bytes)
        s = file_new(k, name, false, &f, &e);
    else
        s = vm_fail_sys(&e, VM_REFUSED, 2 /* ENOENT */, "there is no file %s on the disk", name);
    if (s != VM_OK)
        return lua_failed(L, &e);
    h->f = f;
    if (bytes) { /* new contents, the file is the same */
        s = file_truncate(k, f, 0, &e);
        if (s == VM_OK)
            s = file_write(k, f, 0, bytes, n, &e);
    }
    if (s != VM_OK)
        return lua_failed(L, &e);
    return 1;
}

/* m:files() -> list of { name, size, cached, dirty, blocks } */
static int file_list_(lua_State *L)
{
    kernel *k = &lua_check_machine(L, 1)->m->kernel;
    lua_newtable(L);
    lua_Integer n = 0;
    for (size_t i = 1; i < k->file_count; i++) {
        const file *f = k->files[i];
        if (!f || !f->linked)
            continue;
        lua_createtable(L, 0, 4);
        lua_pushstring(L, f->name);
        lua_setfield(L, -2, "name");
        lua_pushinteger(L, (lua_Integer)f->size);
        lua_setfield(L, -2, "size");
        lua_pushinteger(L, (lua_Integer)f->cached);
        lua_setfield(L, -2, "cached");
        lua_pushinteger(L, (lua_Integer)file_dirty(k, f));
        lua_setfield(L, -2, "dirty");
        lua_rawseti(L, -2, ++n);
    }
    return 1;
}

/* m:sync() -> true: every dirty page of every file is on the disk */
static int file_sync_all_(lua_State *L)
{
    kernel *k = &lua_check_machine(L, 1)->m->kernel;
    vm_error e = {0}, one;
    vm_status s = VM_OK;
    for (size_t i = 1; i < k->file_count; i++) {
        file *f = k->files[i];
        vm_status st = f ? file_sync(k, f, 0, FILE_PAGES, &one) : VM_OK;
        if (s == VM_OK && st != VM_OK) {
            s = st;
            e = one;
        }
    }
    return lua_done(L, s, &e);
}

/* f:read([offset [, n]]) -> bytes; from the start, all of it; less at the end */
static int file_read_(lua_State *L)
{
    lua_file *h = file_handle(L, 1);
    lua_Integer offset = luaL_optinteger(L, 2, 0), n = luaL_optinteger(L, 3, LUA_MAXINTEGER);
    luaL_argcheck(L, offset >= 0, 2, "an offset is 0 or more bytes");
    luaL_argcheck(L, n >= 0, 3, "a length is 0 or more bytes");
    uint64_t size = h->f->size, left = (uint64_t)offset < size ? size - (uint64_t)offset : 0;
    if ((uint64_t)n < left)
        left = (uint64_t)n;
    if (left > INT32_MAX)
        return luaL_error(L, "file %s has %d bytes there; read at most 2^31 - 1 at once",
                          h->f->name, (int)(left >> 20));
    luaL_Buffer b;
    char *to = luaL_buffinitsize(L, &b, (size_t)left);
    file_read(&h->owner->m->kernel, h->f, (uint64_t)offset, to, (size_t)left);
    luaL_pushresultsize(&b, (size_t)left);
    return 1;
}

/* f:write(offset, bytes) -> true */
static int file_write_(lua_State *L)
{
    lua_file *h = file_handle(L, 1);
    size_t n;
    vm_error e;
    lua_Integer offset = luaL_checkinteger(L, 2);
    const char *bytes = luaL_checklstring(L, 3, &n);
    luaL_argcheck(L, offset >= 0, 2, "an offset is 0 or more bytes");
    vm_status s = h->readonly
                      ? vm_fail_sys(&e, VM_REFUSED, 9 /* EBADF */,
                                    "write: file %s is open for reading only", h->f->name)
                      : file_write(&h->owner->m->kernel, h->f, (uint64_t)offset, bytes, n, &e);
    return lua_done(L, s, &e);
}

static int file_truncate_(lua_State *L)
{
    lua_file *h = file_handle(L, 1);
    vm_error e;
    lua_Integer size = luaL_checkinteger(L, 2);
    luaL_argcheck(L, size >= 0, 2, "a size is 0 or more bytes");
    return lua_done(L, file_truncate(&h->owner->m->kernel, h->f, (uint64_t)size, &e), &e);
}

static int file_sync_(lua_State *L)
{
    lua_file *h = file_handle(L, 1);
    vm_error e;
    return lua_done(L, file_sync(&h->owner->m->kernel, h->f, 0, FILE_PAGES, &e), &e);
}

/* f:unlink(): the name goes; the file when nobody maps or holds it any more */
static int file_unlink_(lua_State *L)
{
    lua_file *h = file_handle(L, 1);
    file_unlink(&h->owner->m->kernel, h->f);
    return 0;
}

/* f:close(), also by the collector */
static int file_close_(lua_State *L)
{
    lua_file *h = luaL_checkudata(L, 1, LUA_FILE);
    if (h->f && h->owner->m)
        file_put(&h->owner->m->kernel, h->f);
    h->f = NULL;
    return 0;
}

static int file_tostring(lua_State *L)
{
    const lua_file *h = luaL_checkudata(L, 1, LUA_FILE);
    char text[200];
    if (!h->f || !h->owner->m)
        snprintf(text, sizeof text, "vmem.file: closed");
    else
        snprintf(text, sizeof text, "vmem.file %s: %llu bytes, %llu pages in memory%s", h->f->name,
                 (unsigned long long)h->f->size, (unsigned long long)h->f->cached,
                 h->f->linked ? "" : ", unlinked");
    lua_pushstring(L, text);
    return 1;
}

/* f.size, f.name, f.cached, f.dirty, f.linked, or a method */
static int file_index(lua_State *L)
{
    lua_pushvalue(L, 2);
    if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL)
        return 1;
    const char *name = luaL_checkstring(L, 2);
    const lua_file *h = luaL_checkudata(L, 1, LUA_FILE);
    bool open = h->f && h->owner->m;
    if (strcmp(name, "closed") == 0)
        lua_pushboolean(L, !open);
    else if (!open)
        lua_pushnil(L);
    else if (strcmp(name, "size") == 0)
        lua_pushinteger(L, (lua_Integer)h->f->size);
    else if (strcmp(name, "name") == 0)
        lua_pushstring(L, h->f->name);
    else if (strcmp(name, "cached") == 0)
        lua_pushinteger(L, (lua_Integer)h->f->cached);
    else if (strcmp(name, "dirty") == 0)
        lua_pushinteger(L, (lua_Integer)file_dirty(&h->owner->m->kernel, h->f));
    else if (strcmp(name, "linked") == 0)
        lua_pushboolean(L, h->f->linked);
    else
        lua_pushnil(L);
    return 1;
}

void lua_open_file(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"read", file_read_}, {"write", file_write_},   {"truncate", file_truncate_},
        {"sync", file_sync_}, {"unlink", file_unlink_}, {"close", file_close_},
        {NULL, NULL},
    };
    static const luaL_Reg of_machine[] = {
        {"_file", file_open_}, {"files", file_list_}, {"sync", file_sync_all_}, {NULL, NULL}};
    luaL_setfuncs(L, of_machine, 0);
    luaL_newmetatable(L, LUA_FILE);
    lua_pushcfunction(L, file_close_);
    lua_setfield(L, -2, "__gc");
    lua_pushcfunction(L, file_close_);
    lua_setfield(L, -2, "__close");
    lua_pushcfunction(L, file_tostring);
    lua_setfield(L, -2, "__tostring");
    luaL_newlib(L, methods);
    lua_pushcclosure(L, file_index, 1);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
}
