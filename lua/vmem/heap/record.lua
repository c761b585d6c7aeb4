--- Recording the allocations of real programs: which program, with which library
--- before its own. The recorder is src/record/malloc.c.

local command = require "vmem.command"
local core = require "vmem.core"
local rep = require "vmem.heap.rep"

local record = {}

---@class vmem.heap.Command: vmem.Command.Shared
---@field output? string the .rep file to write; compressed if it ends in .gz or .zst
---@field of? string record the first program of this name that it starts, in place of it
---@field limit? integer keep the first operations only, so many

local settings = { output = "string", of = "string", limit = "integer" }

-- What the loader takes for a list ends paths.
local function preload(library, env)
  if library:find "[%s:]" then
    return nil, ("the recorder %q can't be loaded: LD_PRELOAD takes no blank and no colon"):format(library), "EINVAL"
  end
  local others = env.LD_PRELOAD or os.getenv "LD_PRELOAD"
  return library .. (others and others ~= "" and ":" .. others or "")
end

local function absolute(path)
  if path:sub(1, 1) == "/" then return path end
  return (os.getenv "PWD" or ".") .. "/" .. path
end

--- Run a program, unmodified, and keep its calls of malloc and its kin: the blocks that
--- it asks for, one number each.
---@param t vmem.heap.Command
---@return vmem.heap.Trace? trace
---@return table|string? ending # { status =, signal =, more =, foreign = }; or why there is no trace
---@return string? code
function record.record(t)
  command.check(t, "heap.record", settings, 2)
  if t.limit and t.limit < 1 then error("heap.record: limit is a number of operations, 1 or more", 2) end
  if t.output and t.output:find "%.xz$" then error("heap.record: output ends in .gz or .zst, or is plain", 2) end
  local machine, argv, code = command.resolve(t)
  if not machine then return nil, argv --[[@as string]], code end
  local library, sought = command.library("libvmem-malloc.so", "VMEM_MALLOC_RECORDER")
  if not library then
    return command.missing(("the recorder %s is not there; 'make' builds it"):format(sought))
  end
  library = absolute(library)
  local list, why, bad = preload(library, t.env or {})
  if not list then return nil, why, bad end
  local env = { LD_PRELOAD = list }
  for k, v in pairs(t.env or {}) do env[k] = env[k] or v end
  local packed, ending
  packed, ending, code = core.heap_record { argv = argv, env = command.environment(env), library = library,
    stdin = t.stdin, stdout = t.stdout, of = t.of, limit = t.limit }
  if not packed then return nil, ending, code end
  local trace = rep.unpacked(packed, t.output or t.of or t[1])
  ending.ids, ending.peak = nil, nil
  if t.output then
    local saved
    saved, why, code = trace:save(t.output)
    if not saved then return nil, why, code end
  end
  return trace, ending
end

return record
