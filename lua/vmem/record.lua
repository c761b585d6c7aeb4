--- Recording programs: which emulator runs them, with the recorder as its plugin,
--- and what to do where there is none.

local command = require "vmem.command"
local core = require "vmem.core"
local options = require "vmem.options"
local trace = require "vmem.trace"

local record = {}

---@class vmem.Command: vmem.Command.Shared
---@field out? string of record: the file; without it, the trace lives as long as the Lua state
---@field emulator? string in place of the one for the program's machine
---@field via? "qemu"|"lackey"
---@field ring? string|integer memory between the program and vmem, for each thread (default "1MiB")

-- ELF's e_machine -> QEMU's name of the architecture
local machines = { [62] = "x86_64", [183] = "aarch64", [243] = "riscv64" }

local settings = { out = "string", emulator = "string", via = "string", ring = "string or integer" }

local missing = command.missing

local function check(t, call)
  command.check(t, call, settings, 3)
  if t.via and t.via ~= "qemu" and t.via ~= "lackey" then
    error(("%s: via is %q, but takes qemu or lackey"):format(call, t.via), 3)
  end
  local ring = t.ring and options.bytes(t.ring)
  if t.ring and not (ring and ring >= 65536 and ring <= 64 << 20 and ring & ring - 1 == 0) then
    error(("%s: ring is %s, but takes a power of two from 64KiB to 64MiB"):format(call, tostring(t.ring)), 3)
  end
  return ring
end

--- The emulator's words, then the program's. A descriptor's number is added to
--- the end of words[fd_at].
local function start(via, words, fd_at, argv, t, ring)
  local program = #words + 1
  table.move(argv, 1, #argv, program, words)
  return core.live(via, words, fd_at, program, t.stdin, t.stdout, ring)
end

local function by_qemu(emulator, recorder, argv, t, ring)
  -- A comma ends a part of this option; two stand for one.
  local words = { emulator, "-plugin", recorder:gsub(",", ",,") .. ",ring=" }
  local env = command.environment(t.env, "-E")
  table.move(env, 1, #env, #words + 1, words)
  return start("qemu", words, 3, argv, t, ring)
end

local function by_lackey(valgrind, argv, t, ring)
  local words = command.environment(t.env)
  if #words > 0 then table.insert(words, 1, "env") end
  table.move({ valgrind, "--tool=lackey", "--trace-mem=yes", "--log-fd=" }, 1, 4, #words + 1, words)
  return start("lackey", words, #words, argv, t, ring)
end

local function begin(t, ring)
  local number, argv, code = command.resolve(t)
  if not number then return nil, argv, code end
  local machine = machines[number]
  if not machine then
    return missing(("%s is for a machine (ELF number %d) that the recorder does not know; "
      .. "it knows x86_64, aarch64 and riscv64"):format(argv[1], number), "ENOEXEC")
  end
  local emulator = command.find(t.emulator or "qemu-" .. machine)
  if t.emulator and not emulator then return missing("there is no emulator " .. t.emulator) end
  local valgrind, recorder, sought = command.find "valgrind", command.library("libvmem-record.so", "VMEM_RECORDER")
  local via = t.via or (emulator and recorder and "qemu") or (valgrind and "lackey") or "qemu"
  if via == "lackey" then
    if not valgrind then return missing "there is no Valgrind; on Debian: apt-get install valgrind" end
    return by_lackey(valgrind, argv, t, ring)
  end
  if not emulator then
    return missing(("to record this program qemu-%s is needed (on Debian: apt-get install qemu-user)%s"):format(
      machine, valgrind and "" or ", or Valgrind (apt-get install valgrind)"))
  end
  if not recorder then
    return missing(("the recorder %s is not there; 'make' builds it"):format(sought))
  end
  return by_qemu(emulator, recorder, argv, t, ring)
end

--- Run a program and read its accesses as they come: a trace of one pass, with no
--- file in between. It starts when the pass does; closing the pass ends it.
---@param t vmem.Command
---@return vmem.trace? trace, string? message, string? code
function record.live(t)
  return begin(t, check(t, "trace.live"))
end

-- Files of recordings that nobody named go when the Lua state does.
local temporary = setmetatable({}, { __gc = function(list)
  for _, path in ipairs(list) do os.remove(path) end
end })

--- Run a program, unmodified, and keep its trace in a `.vmt` file.
---@param t vmem.Command
---@return vmem.trace? trace, string|table? message a table { status =, signal = } of how the
--- program ended where there is a trace, string? code
function record.record(t)
  local live <close>, why, code = begin(t, check(t, "trace.record"))
  if not live then return nil, why, code end
  local out = t.out
  if not out then
    out = os.tmpname()
    temporary[#temporary + 1] = out
  end
  local saved, save_why, save_code = live:save(out)
  if not saved then return nil, save_why, save_code end
  local status, signal = core.live_status(live)
  local kept, open_why, open_code = trace.open(out)
  if not kept then return nil, open_why, open_code end
  return kept, { status = status, signal = signal }
end

return record
