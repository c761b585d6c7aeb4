--- What the commands share: failing, the options that describe a machine,
--- opening traces, terminals and the progress line.

local vmem = require "vmem"
local options = require "vmem.options"
local text = require "vmem.text"

local common = {}

-- Exit codes.
common.OK, common.FAILED, common.MISUSED = 0, 1, 2

common.PRESET = "core-i7" -- where the command line names none

local Failure = { __tostring = function(f) return f.message end }

--- End the command with an exit code and one sentence on stderr.
local function stop(code, message)
  error(setmetatable({ code = code, message = message }, Failure), 0)
end

--- The command can't be done: exit code 1.
---@param message string
function common.fail(message) stop(common.FAILED, message) end

--- The command is not what it takes: exit code 2.
---@param message string
function common.misuse(message) stop(common.MISUSED, message) end

--- Is `e` one of the two above?
---@param e any
---@return boolean
function common.is_failure(e) return getmetatable(e) == Failure end

--- An error's text without the place in the code that raised it; what killed a
--- process, with what would have saved it.
---@param e any
---@return string
function common.sentence(e)
  if type(e) == "table" and e.signal then
    return ("the program was killed: %s%s"):format(tostring(e),
      e.code == "OOM" and " found neither a free frame nor swap (more of them: --dram, --swap)" or "")
  end
  local s = tostring(e):gsub("^[^\n:]*%.lua:%d+: ", ""):gsub("^vmem%.machine: ", ""):gsub("^paging%.%w+: ", "")
  return (s:gsub("%s*\n%s*", " "))
end

-- --- machines ------------------------------------------------------------------

local rows = {}
for _, row in ipairs(options.rows) do rows[row.name] = row end

--- Let a command take the options of a machine.
---@param command table of argparse
---@param policies? string what --policy takes
function common.takes_machine(command, policies)
  command:group("Options of the machine",
    command:option("--preset", "The machine to begin with: " .. table.concat(vmem.presets.names(), ", ")
      .. " (default: " .. common.PRESET .. ")."):argname("NAME"),
    command:option("--dram", "Main memory, as in 64MiB."):argname("SIZE"),
    command:option("--swap", "Swap area; 0 for none."):argname("SIZE"),
    command:option("--policy", (policies or "Which page loses its frame: ")
      .. table.concat(rows.policy.choices, ", ") .. "."):argname("NAME"),
    command:option("--resident", "At most N pages in frames; 0: as many as fit."):argname("N"),
    command:option("--set", "Any option by its name, as in tlb.l1d.entries=32; 'vmem options' lists them.")
      :argname("NAME=VALUE"):count("*"))
end

local truths = { ["true"] = true, on = true, yes = true, ["1"] = true,
  ["false"] = false, off = false, no = false, ["0"] = false }

-- What the text of the command line means for each kind of option; what is not
-- understood stays a text, and the check of options says what is wrong.
local function whole(s) return math.tointeger(tonumber(s)) or s end
local readers = {
  count = whole, cycles = whole,
  bool = function(s) if truths[s] == nil then return s end return truths[s] end,
  list = function(s)
    local list = {}
    for item in (s .. ","):gmatch("%s*([^,]*),") do list[#list + 1] = whole(item) end
    return list
  end,
}

local function read(name, value)
  local row = rows[name]
  local reader = row and readers[row.kind]
  return reader and reader(value) or (not reader and value)
end

--- The options that the arguments ask for, checked.
---@param args table
---@param policy? string in place of args.policy
---@return table options for vmem.machine
function common.machine_options(args, policy)
  local t = { preset = args.preset or common.PRESET }
  for _, name in ipairs { "dram", "swap", "resident" } do
    if args[name] then t[name] = read(name, args[name]) end
  end
  t.policy = policy or args.policy
  for _, pair in ipairs(args.set or {}) do
    local name, value = pair:match("^%s*([^=%s]+)%s*=%s*(.-)%s*$")
    if not name then common.misuse(("--set takes NAME=VALUE, as in tlb.l1d.entries=32, but got %s"):format(pair)) end
    t[name] = read(name, value)
  end
  local ok, why = pcall(options.resolve, t)
  if not ok then common.misuse(common.sentence(why)) end
  return t
end

--- A machine of these options; what does not fit together is the caller's mistake.
---@param t table
---@return vmem.Machine
function common.machine(t)
  local ok, m = pcall(vmem.machine, t)
  if not ok then common.misuse(common.sentence(m)) end
  return m
end

-- --- traces ----------------------------------------------------------------------

--- What a function gave that returns nil and why where it fails.
---@generic T
---@param value T?
---@param why? string
---@return T
function common.made(value, why)
  if not value then common.fail(common.sentence(why)) end
  return value
end

--- Is this, by its name, a trace of allocations: a .rep file, compressed or not, or a pattern?
---@param name string
---@return boolean
function common.is_rep(name)
  local plain = name:gsub("%.gz$", ""):gsub("%.zst$", ""):gsub("%.xz$", "")
  return plain:find "%.rep$" ~= nil or name:sub(1, 1) == "@"
end

--- Let a command take the options of trace files.
---@param command table
function common.takes_trace(command)
  local names = {}
  for _, f in ipairs(vmem.trace.formats()) do names[#names + 1] = f.name end
  command:group("Options of the trace",
    command:option("--format", "The file's format, where its content does not tell: "
      .. table.concat(names, ", ") .. "."):argname("NAME"):choices(names),
    command:option("--page", "Bytes of a page in lists of page numbers (default: 4096)."):argname("SIZE"))
end

--- Open a trace file, or end the command.
---@param args table
---@param path string
---@return vmem.Trace
function common.open(args, path)
  local page
  if args.page then
    page = vmem.bytes(args.page)
    if not page or page < 1 then common.misuse(("--page is %s, but takes a size such as 4KiB"):format(args.page)) end
  end
  return common.made(vmem.trace.open(path, { format = args.format, page = page }))
end

--- Let a command take the options of a program that it runs.
---@param command table
function common.takes_program(command)
  command:group("Options of the program",
    command:option("--via", "Run it under qemu (fast) or Valgrind's lackey (default: what is there)."):argname("NAME")
      :choices { "qemu", "lackey" },
    command:option("--stdin", "The program reads this file."):argname("FILE"),
    command:option("--stdout", "The program's output goes to this file."):argname("FILE"))
end

--- The program and its options, as vmem.trace.live and record take them.
---@param args table
---@param program string[]
---@return table
function common.program(args, program)
  local t = { via = args.via, stdin = args.stdin, stdout = args.stdout }
  return table.move(program, 1, #program, 1, t)
end

--- How a program ended, as a sentence; nil where it ended well.
---@param status? integer
---@param signal? integer
---@return string?
function common.ending(status, signal)
  if signal then return ("The program was killed by signal %d."):format(signal) end
  if status and status ~= 0 then return ("The program ended with exit status %d."):format(status) end
end

--- A command's line as a shell would take it, shortened.
---@param argv string[]
---@return string
function common.command_line(argv)
  local words = {}
  for i, word in ipairs(argv) do
    words[i] = word:find("[^%w%._/=+,:@%%-]") and "'" .. word:gsub("'", "'\\''") .. "'" or word
  end
  local line = table.concat(words, " ")
  return #line > 60 and line:sub(1, 57) .. "..." or line
end

-- --- terminals --------------------------------------------------------------------

local terminals = {}

--- Is this file descriptor a terminal?
---@param fd integer 1 stdout, 2 stderr
---@return boolean
function common.is_terminal(fd)
  if terminals[fd] == nil then terminals[fd] = os.execute(("test -t %d"):format(fd)) == true end
  return terminals[fd]
end

--- Does the reader's locale have block characters?
---@return boolean
function common.has_blocks()
  local locale = os.getenv("LC_ALL")
  if not locale or locale == "" then locale = os.getenv("LC_CTYPE") end
  if not locale or locale == "" then locale = os.getenv("LANG") end
  return locale ~= nil and locale:lower():find("utf%-?8") ~= nil
end

--- How a report may look on stdout.
---@return { blocks: boolean, bold: boolean }
function common.style()
  local plain = os.getenv("NO_COLOR") or os.getenv("TERM") == "dumb"
  return { blocks = common.has_blocks(), bold = not plain and common.is_terminal(1) }
end

--- Does somebody look at a line that tells how far work is?
---@param args { quiet?: boolean, progress?: boolean }
---@return boolean
function common.shows_progress(args) return not args.quiet and (args.progress or common.is_terminal(2)) end

--- A line on stderr that tells how far long work is; nothing where nobody looks.
---@param args { quiet?: boolean, progress?: boolean }
---@param what string
---@param total? integer accesses in all, where that is known
---@return fun(done: integer)? step
---@return fun() finish takes the line away
function common.progress(args, what, total)
  if not common.shows_progress(args) then return nil, function() end end
  local shown, start, next_at = false, os.clock(), os.clock() + 0.3
  local function step(done)
    local now = os.clock()
    if now < next_at then return end
    next_at = now + 0.1
    local rate = done / (now - start)
    local line
    if total and total > 0 then
      local left = math.max(0, total - done) / rate
      line = ("%s: %s of %s accesses, %.0f M/s, %d:%02d left"):format(text.percent(done, total, 0):gsub("%.0* ", " "),
        text.number(done), text.number(total), rate / 1e6, left // 60, math.floor(left % 60))
    else
      line = ("%s accesses, %.0f M/s"):format(text.number(done), rate / 1e6)
    end
    shown = true
    io.stderr:write("\r", (what .. ": " .. line):sub(1, 79), "\27[K")
    io.stderr:flush()
  end
  return step, function()
    if shown then io.stderr:write("\r\27[K") end
  end
end

return common
