--- Reference strings: traces reduced to which page is referenced when, decoded
--- once for any number of studies.

local core = require "vmem.core"
local text = require "vmem.text"

local refs = {}

---@class vmem.References
---@field refs integer number of references that are kept
---@field pages integer different pages among them
---@field all integer references of the whole trace
---@field rate number share of all pages' hashes that is kept; 1: no sample
---@field page integer bytes of a page
---@field writes boolean does any reference write?
---@field processes { task: integer, refs: integer, pages: integer }[]
local References = {}
References.__index = References

local STEP = 1 << 22 -- records between two calls of a progress function

local HASHES <const> = 1 << 24 -- a rate is so many of these

local function new(raw)
  local self = raw:facts()
  self._core = raw
  return setmetatable(self, References)
end

---@class vmem.DecodeOptions
---@field trace vmem.trace|vmem.References
---@field page? integer|string bytes of a page, a power of two; 4096
---@field processes? boolean each process has pages of its own (true), or all share one space
---@field sample? number share of the pages whose references are kept
---@field sample_pages? integer keep the references to so many pages at the most
---@field progress? fun(done: integer, all: integer?) called now and then

local function rate(o) return math.max(1, math.floor((o.sample or 1) * HASHES + 0.5)) end

--- Decode a trace, or take a sample of a reference string; without a sample a reference
--- string stays as it is.
---@param o table checked options
---@return vmem.References
function refs.decode(o)
  if getmetatable(o.trace) == References then
    if not o.sample and not o.sample_pages then return o.trace end
    return new(o.trace._core:part(rate(o), o.sample_pages or 0))
  end
  local bits = 0
  while 1 << bits ~= o.page do bits = bits + 1 end
  local raw = core.study_refs(o.trace, bits, o.processes, rate(o), o.sample_pages)
  local ended
  repeat
    local done
    done, ended = raw:read(STEP)
    if o.progress and not ended then o.progress(done) end
  until ended
  return new(raw)
end

--- The k-th of n equal parts of a sample, by the hashes of its pages.
---@return vmem.References
function References:_part(k, n) return new(self._core:part(HASHES, 0, k - 1, n)) end

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
  return ("reference string (%s to %s of %s%s%s)"):format(text.count(self.refs, "reference"),
    text.count(self.pages, "page"), text.bytes(self.page),
    self.rate < 1 and (", a sample of %s"):format(text.number(self.all)) or "",
    #self.processes > 1 and (", %d processes"):format(#self.processes) or "")
end

return refs
