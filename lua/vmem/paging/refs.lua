--- Reference strings: traces reduced to which page is referenced when, decoded
--- once for any number of studies.

local core = require "vmem.core"
local text = require "vmem.text"

local refs = {}

---@class vmem.References
---@field refs integer number of references
---@field pages integer different pages
---@field page integer bytes of a page
---@field writes boolean does any reference write?
---@field processes { task: integer, refs: integer, pages: integer }[]
local References = {}
References.__index = References

local STEP = 1 << 22 -- records between two calls of a progress function

--- Decode a trace; a reference string stays as it is.
---@param trace vmem.trace|vmem.References
---@param page integer bytes, a power of two
---@param apart boolean tasks have pages of their own
---@param progress? fun(done: integer)
---@return vmem.References
function refs.decode(trace, page, apart, progress)
  if getmetatable(trace) == References then return trace end
  local bits = 0
  while 1 << bits ~= page do bits = bits + 1 end
  local raw = core.study_refs(trace, bits, apart)
  local ended
  repeat
    local done
    done, ended = raw:read(STEP)
    if progress and not ended then progress(done) end
  until ended
  local self = raw:facts()
  self._core = raw
  return setmetatable(self, References)
end

--- Is it one?
function refs.is(v) return getmetatable(v) == References end

--- The page's number in the trace and the index of its process, of a dense number from 0.
---@param p integer
---@return integer number, integer process
function References:_page(p)
  self._numbers = self._numbers or self._core:numbers()
  self._owners = self._owners or self._core:owners()
  return (("=I8"):unpack(self._numbers, 8 * p + 1)), (("=I2"):unpack(self._owners, 2 * p + 1)) + 1
end

--- The i-th reference: dense page number, and whether it writes.
---@param i integer from 1
---@return integer page, boolean write
function References:_reference(i)
  self._words = self._words or self._core:words()
  local word = ("=I4"):unpack(self._words, 4 * i - 3)
  return word & 0x7fffffff, word >= 0x80000000
end

--- The i-th reference: the page's number in the trace, whether it writes, and the index of its process.
---@param i integer from 1
---@return integer page, boolean write, integer process
function References:at(i)
  if math.type(i) ~= "integer" or i < 1 or i > self.refs then
    error(("at: %s is no position from 1 to %d"):format(tostring(i), self.refs), 2)
  end
  local p, write = self:_reference(i)
  local number, process = self:_page(p)
  return number, write, process
end

function References:__len() return self.refs end

function References:__tostring()
  return ("reference string (%s to %s of %s%s)"):format(text.count(self.refs, "reference"),
    text.count(self.pages, "page"), text.bytes(self.page),
    #self.processes > 1 and (", %d processes"):format(#self.processes) or "")
end

return refs
