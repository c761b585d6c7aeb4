--- Programs that vmem runs and records: the table that says which, where its file
--- is, what a script is run by, and where the recorders are.

local core = require "vmem.core"

local command = {}

---@class vmem.Command.Shared
---@field [integer] string the program and its arguments
---@field env? table<string, string> added to the program's environment
---@field stdin? string a file for the program's input, in place of ours
---@field stdout? string a file for its output

local settings = { env = "table", stdin = "string", stdout = "string" }

local function is_file(path)
  local f = io.open(path, "rb")
  if f then f:close() end
  return f ~= nil
end

--- A command's file, as a shell would find it.
---@param name string
---@return string? path
function command.find(name)
  if name:find("/", 1, true) then return is_file(name) and name or nil end
  for folder in (os.getenv("PATH") or "/usr/local/bin:/usr/bin:/bin"):gmatch("[^:]+") do
    local path = folder .. "/" .. name
    if core.executable(path) and is_file(path) then return path end
  end
  return nil
end

--- What the calls that record return where a thing is not there.
---@param text string
---@param code? string
---@return nil, string message, string code
function command.missing(text, code) return nil, text, code or "ENOENT" end

local find, missing = command.find, command.missing

--- What a program's file is: the machine of an ELF file, or the words of a #! line.
local function examine(path)
  local f, why, code = io.open(path, "rb")
  if not f then return missing(why, code == 13 and "EACCES" or "ENOENT") end
  local head = f:read(256) or ""
  f:close()
  if head:sub(1, 4) == "\127ELF" and #head >= 20 then
    return (("<I2"):unpack(head, 19))
  end
  local line = head:match("^#!%s*([^\n]+)")
  if not line then return missing(path .. " is neither an ELF program nor a script", "ENOEXEC") end
  local words = {}
  for w in line:gmatch("%S+") do words[#words + 1] = w end
  return words
end

--- The program's file and arguments; a script becomes its interpreter's argument.
---@param t vmem.Command.Shared
---@return integer? machine # ELF's number
---@return string[]|string argv # or why there is none
---@return string? code
function command.resolve(t)
  local path = find(t[1])
  if not path then return missing(("there is no program %s"):format(t[1])) end
  local argv = { path, table.unpack(t, 2) }
  for _ = 1, 4 do
    local what, why, code = examine(argv[1])
    if not what then return nil, why, code end
    if math.type(what) then return what, argv end
    local interpreter = what[1]
    if interpreter:match("/env$") and what[2] then
      interpreter = find(what[2]) or what[2]
      table.remove(what, 1)
    end
    what[1] = interpreter
    argv = table.move(argv, 1, #argv, #what + 1, what)
  end
  return missing(t[1] .. ": scripts whose interpreters are scripts, four deep", "ENOEXEC")
end

--- A recorder: beside the folder of vmem/core.so, or where the environment says.
---@param name string the file's
---@param variable string the environment's
---@return string? path
---@return string sought
function command.library(name, variable)
  local given = os.getenv(variable)
  if given then return is_file(given) and given or nil, given end
  local at = package.searchpath("vmem.core", package.cpath)
  local path = at and at:gsub("vmem/core%.[^/]*$", "") .. name
  return path and is_file(path) and path or nil, path or name
end

--- Raise what is wrong with a command: its own options are in `own`, and the types that
--- they take; `level` is that of the user, as error counts for the caller of this.
---@param t vmem.Command.Shared
---@param call string
---@param own table<string, string>
---@param level integer
function command.check(t, call, own, level)
  local function bad(text, ...) error(("%s: " .. text):format(call, ...), level + 2) end
  if type(t) ~= "table" then bad "takes a table: a program, its arguments, options by name" end
  if type(t[1]) ~= "string" then bad "there is no program at index 1" end
  for i, a in ipairs(t) do
    if type(a) ~= "string" then bad("argument %d is a %s, not a string", i, type(a)) end
  end
  for k, v in pairs(t) do
    if type(k) ~= "number" then
      local takes = own[k] or settings[k]
      if not takes then
        local names = {}
        for name in pairs(own) do names[#names + 1] = name end
        for name in pairs(settings) do names[#names + 1] = name end
        table.sort(names)
        bad("there is no option %s (there are %s)", tostring(k), table.concat(names, ", "))
      end
      if not takes:find(math.type(v) or type(v), 1, true) then bad("option %s is a %s, not a %s", k, type(v), takes) end
    end
  end
  for k, v in pairs(t.env or {}) do
    if type(k) ~= "string" or type(v) ~= "string" or k:find("=", 1, true) then
      bad 'option env takes strings by name, as in { LANG = "C" }'
    end
  end
end

--- The settings of the environment, sorted, each after `flag` if there is one.
---@param env? table<string, string>
---@param flag? string
---@return string[]
function command.environment(env, flag)
  local words, sorted = {}, {}
  for k, v in pairs(env or {}) do sorted[#sorted + 1] = k .. "=" .. v end
  table.sort(sorted)
  for _, setting in ipairs(sorted) do
    words[#words + 1] = flag
    words[#words + 1] = setting
  end
  return words
end

return command
