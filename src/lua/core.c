/* core.c: the entry of the module "vmem.core", the only symbol it exports. */
#include "util.h"

#include "../vmem.h"

#if defined(__GNUC__)
__attribute__((visibility("default")))
#endif
int luaopen_vmem_core(lua_State *L);

int luaopen_vmem_core(lua_State *L)
{
    luaL_checkversion(L);
    lua_createtable(L, 0, 32);
    lua_open_policy(L);
    lua_open_trace(L);
    lua_open_generate(L);
    lua_open_record(L);
    lua_open_machine(L);
    lua_open_study(L);
    lua_open_heap(L);
    lua_open_heap_record(L);
    lua_open_detect(L);
    lua_open_gc(L);
    lua_pushliteral(L, VMEM_VERSION);
    lua_setfield(L, -2, "version");
    return 1;
}
