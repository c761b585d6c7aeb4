--- The kernel's events: listeners, the events that are kept, and Chrome trace
--- files of them, which Perfetto opens.

local core = require "vmem.core"
local options = require "vmem.options"

local Machine = core.Machine
local events = {}

--- What the kernel tells of: rows of name, doc, addr (what the address is; nil
--- where an event has none) and fields (name, kind, doc, names).
---@type table[]
events.rows = core.event_rows()

local by_name, names = {}, {}
for i, row in ipairs(events.rows) do
  row.bit = 1 << (i - 1)
  by_name[row.name] = row
  names[i] = row.name
end
local all = (1 << #events.rows) - 1

--- The bits of one name, of a list of them, or of all for nil.
local function types(where, v)
  if v == nil then return all end
  local bits = 0
  for _, name in ipairs(type(v) == "table" and v or { v }) do
    local row = by_name[name]
    if not row then
      error(("%s: there is no event %s%s (there are %s)"):format(where, tostring(name),
        options.suggestion(name, names), table.concat(names, ", ")), 3)
    end
    bits = bits | row.bit
  end
  if bits == 0 then error(where .. ": an empty list of events", 3) end
  return bits
end

local function check(where, t, known)
  if t ~= nil and type(t) ~= "table" then
    error(("%s takes a table of options, got %s"):format(where, type(t)), 3)
  end
  for k in pairs(t or {}) do
    if not known[k] then error(("%s: there is no option %s"):format(where, tostring(k)), 3) end
  end
  return t or {}
end

--- Call a function with each event of a type, in order, once the call that
--- caused it is done. Its error is raised from that call.
---@param name string|string[] one event's name, or a list
---@param f fun(event: vmem.Event)
---@return vmem.Listener listener for m:off; or closed at the end of a scope
function Machine:on(name, f)
  if name == nil then error("on takes an event's name (there are " .. table.concat(names, ", ") .. ")", 2) end
  if type(f) ~= "function" then error("on takes a function to call, got " .. type(f), 2) end
  return self:_on(types("on", name), f)
end

local MOST = 1 << 24 -- events of 40 bytes

--- Keep the last events, from now on; what was kept before is forgotten.
---@param t? { size?: integer, only?: string|string[] }|false events to keep (65536), of these
--- types only; false: keep no more, and forget those that were kept
function Machine:trace_events(t)
  if t == false then return self:_keep_events(0, 0) end
  t = check("trace_events", t, { size = true, only = true })
  local size = t.size == nil and 65536 or math.tointeger(t.size)
  if type(size) ~= "number" or size < 1 or size > MOST then
    error(("trace_events: size is %s, but takes a number of events, from 1 to %d"):format(tostring(t.size), MOST), 2)
  end
  self:_keep_events(size, types("trace_events", t.only))
end

local function kept(m, where)
  local first, stop, dropped = m:_kept_events()
  if not first then error(where .. ": no events are kept; m:trace_events{} begins to keep them", 3) end
  return first, stop, dropped
end

--- The events that are kept, the oldest first.
---@return vmem.Event[] list
---@return integer dropped how many older ones there was no room for
function Machine:events()
  local first, stop, dropped = kept(self, "events")
  return self:_events(first, stop), dropped
end

-- --- Chrome trace files ---------------------------------------------------------------

local escapes = { ['"'] = '\\"', ["\\"] = "\\\\" }

--- A JSON text. A name may be any bytes: what is no UTF-8 is taken as Latin-1.
local function quote(s)
  if not utf8.len(s) then s = s:gsub("[\x80-\xff]", function(c) return utf8.char(c:byte()) end) end
  return '"' .. s:gsub('[%c"\\]', function(c) return escapes[c] or ("\\u%04x"):format(c:byte()) end) .. '"'
end

local function value(v)
  if type(v) == "string" then return quote(v) end
  return tostring(v)
end

--- The address and the fields of an event, in the order of its row.
local function arguments(row, e)
  local out = {}
  if row.addr then out[1] = ('"addr":"0x%x"'):format(e.addr) end
  for _, f in ipairs(row.fields) do out[#out + 1] = ('"%s":%s'):format(f.name, value(e[f.name])) end
  if e.clock then out[#out + 1] = ('"clock":%d'):format(e.clock) end
  return "{" .. table.concat(out, ",") .. "}"
end

--- A line of the file for one event. What takes time lasts until its clock.
local function line(e, time)
  local row = by_name[e.type]
  local phase
  if e.cycles then
    phase = ('"ph":"X","ts":%s,"dur":%s'):format(time(e.clock - e.cycles), time(e.cycles))
  else
    phase = ('"ph":"i","s":"t","ts":%s'):format(time(e.clock))
  end
  return ('{"name":"%s","cat":"kernel",%s,"pid":%d,"tid":%d,"args":%s}'):format(
    row.name, phase, e.pid, e.cpu, arguments(row, e))
end

--- Names for the tracks: a process for each pid, a thread for each processor it ran on.
local function track(m, pid, cpu, seen, put)
  if not seen[pid] then
    seen[pid] = {}
    local name = pid == 0 and "kernel" or m:_process_name(pid) or ""
    put(('{"name":"process_name","ph":"M","pid":%d,"args":{"name":%s}}'):format(pid,
      quote(name ~= "" and name or "process " .. pid)))
  end
  if not seen[pid][cpu] then
    seen[pid][cpu] = true
    put(('{"name":"thread_name","ph":"M","pid":%d,"tid":%d,"args":{"name":"cpu %d"}}'):format(pid, cpu, cpu))
  end
end

local CHUNK = 1024 -- events that are tables at once

local function write(file, m, first, stop, dropped, rate)
  -- Three digits are nanoseconds; a faster clock has more.
  local digits = rate <= 1e9 and "%.3f" or "%.6f"
  local function time(cycles) return (digits:format(cycles * 1e6 / rate):gsub(",", ".")) end -- in any locale
  local ok, why, code = file:write('{"displayTimeUnit":"ns","otherData":{"clock_hz":', ("%.0f"):format(rate),
    ',"dropped_events":', dropped, '},"traceEvents":[')
  local separator, seen, lines = "\n", {}, {}
  local function put(text)
    lines[#lines + 1] = separator
    lines[#lines + 1] = text
    separator = ",\n"
  end
  for from = first, stop - 1, CHUNK do
    if not ok then break end
    lines = {}
    for _, e in ipairs(m:_events(from, math.min(from + CHUNK, stop))) do
      track(m, e.pid, e.cpu, seen, put)
      put(line(e, time))
    end
    ok, why, code = file:write(table.concat(lines))
  end
  if ok then ok, why, code = file:write("\n]}\n") end
  if ok then return file:close() end
  file:close()
  return ok, why, code
end

--- Write the events that are kept as a Chrome trace file (JSON): faults as spans,
--- the others as instants, on a track for each process and processor.
---@param path string
---@param t? { rate?: number } cycles a second, for the time scale: 1e9
---@return true? ok, string? message, string? code
function Machine:save_events(path, t)
  if type(path) ~= "string" then error("save_events takes a path, got " .. type(path), 2) end
  t = check("save_events", t, { rate = true })
  local rate = t.rate or 1e9
  if type(rate) ~= "number" or not (rate >= 1 and rate <= 1e15) then
    error(("save_events: rate is %s, but takes cycles a second, from 1 to 1e15"):format(tostring(t.rate)), 2)
  end
  local first, stop, dropped = kept(self, "save_events")
  local file, why, code = io.open(path, "w")
  local ok
  if file then ok, why, code = write(file, self, first, stop, dropped, rate) end
  if ok then return true end
  why = tostring(why)
  if why:sub(1, #path) ~= path then why = path .. ": " .. why end
  return nil, why, core.errno_name(code)
end

return events
