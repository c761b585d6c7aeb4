--- vmem explain: every step of one access, as a worksheet.

local common = require "vmem.cli.common"
local report = require "vmem.report"
local states = require "vmem.states"

local explain = {
  summary = "Show every step of one access: fields, TLB, page table, caches, cycles.",
  description = "Show every step of one access. The machine begins in a state that you give, or with nothing but "
    .. "the page around the address allocated, so that the first access faults it in. The machine csapp begins as in "
    .. "figure 9.20 of CS:APP.",
}

function explain.describe(command)
  command:argument("address", "A virtual address, as in 0x03d4.")
  command:usage("Usage: vmem explain [options] ADDRESS")
  common.takes_machine(command)
  command:group("Options of the command",
    command:option("--kind", "What the access is."):choices { "load", "store", "fetch" }:default "load",
    command:option("--size", "Bytes: 1, 2, 4 or 8."):argname("N"):default("1"),
    command:option("--times", "Make the access N times and show each."):argname("N"):default("1"),
    command:option("--state", "How memory begins: fig9.20, a Lua file that returns tables of state (docs/guide.md), "
      .. "or none."):argname("NAME|FILE"),
    command:flag("--json", "Print JSON: a list of one object for each access."))
end

--- The state to begin with, or nil.
local function state_of(args)
  local name = args.state or args.preset == "csapp" and "fig9.20" or "none"
  if name == "none" then return nil end
  if states[name] then return states[name] end
  local file, why = io.open(name)
  if not file then common.fail("no state: " .. why) end
  local source = file:read("a")
  file:close()
  local chunk, wrong = load(source or "", "@" .. name, "t", {})
  if not chunk then common.fail("no state: " .. wrong) end
  local ok, state = pcall(chunk)
  if not ok or type(state) ~= "table" then
    common.fail(("%s is no state: it must return a table of tables, but %s"):format(name,
      ok and "returns a " .. type(state) or "fails: " .. tostring(state)))
  end
  return state
end

local function integer(args, name, least)
  local n = math.tointeger(tonumber(args[name]))
  if not n or n < least then
    common.misuse(("--%s is %s, but takes a whole number from %d"):format(name, args[name], least))
  end
  return n
end

--- Put the machine into a state; the file's mistakes are the file's.
local function set_state(p, state)
  local t = {}
  for k, v in pairs(state) do
    if k ~= "preset" then t[k] = v end
  end
  local ok, why = pcall(p.set_state, p, t)
  if not ok then common.fail(common.sentence(why)) end
end

function explain.run(args)
  local va = math.tointeger(tonumber(args.address))
  local digits = args.address:match("^0[xX]0*(%x+)$")
  if not va or digits and #digits > 16 then common.misuse(("%s is no address; one is 0x03d4"):format(args.address)) end
  local size, times = integer(args, "size", 1), integer(args, "times", 1)
  if not (size == 1 or size == 2 or size == 4 or size == 8) then
    common.misuse(("--size is %d, but takes 1, 2, 4 or 8"):format(size))
  end
  local state = state_of(args)
  args.preset = args.preset or state and state.preset
  local m <close> = common.machine(common.machine_options(args))
  local p = m:spawn { name = "explain" }
  local page = m:options().paging.page
  if state then
    set_state(p, state)
  else
    -- Where nothing can be, the worksheet shows the fault.
    p:mmap { addr = va & ~(page - 1), length = 2 * page, prot = "rwx", flags = "private|anonymous|fixed" }
  end
  local list = {}
  for i = 1, times do
    local x = p:explain(va, { kind = args.kind, size = size })
    list[i] = x
    if not args.json then print((i > 1 and "\n" or "") .. tostring(x)) end
    if x.fault then break end
  end
  if args.json then print(report.json(list)) end
end

return explain
