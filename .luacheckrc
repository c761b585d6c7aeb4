std = "lua54"
max_line_length = 120
cache = false

files["spec/*_spec.lua"] = {
    -- LuaUnit collects what is global and begins with Test.
    allow_defined_top = true,
    new_globals = {},
    ignore = { "131/Test.*", "111/Test.*", "112/Test.*", "113/Test.*", "212/self" },
}
files["spec/run.lua"] = { ignore = { "122/_G", "142/_G" } }
files["lua/vmem/meta*.lua"] = {
    -- Declarations for the language server: nothing in it runs.
    ignore = { "211", "212", "241", "631" },
}
