---@meta vmem.types
error("vmem.meta_types describes vmem to a language server; require \"vmem\" instead")

-- What methods of machines and processes take and give: tables with fields, and
-- files. See meta.lua.

---In pages, but for `page` and `host_bytes`.
---@class vmem.MemoryInfo
---@field page integer # bytes
---@field frames integer
---@field free integer
---@field resident integer # of processes and files, under the policy or locked
---@field anonymous integer # private pages, large ones too
---@field huge integer # of them, those that transparent large pages map
---@field cached integer # of files and shared memory
---@field shared integer # of shared memory
---@field mapped integer # of files, that processes map
---@field dirty integer # of files, to be written back
---@field locked integer
---@field tables integer # frames that hold page tables of processes
---@field kernel integer # frames that are the kernel's own: its tables and stacks
---@field kernel_stacks integer # of these, stacks
---@field swap integer # slots
---@field swap_used integer # slots
---@field swap_cached integer # in memory with a slot that holds the same
---@field committed integer # promised to mappings
---@field commit_limit? integer # with overcommit = "strict"
---@field host_bytes integer # host memory behind the simulated DRAM

---@class vmem.Segment
---@field addr? integer # where it goes; shared objects leave it out
---@field bytes? string
---@field bss? vmem.Size # zeros behind the bytes
---@field prot? string
---@field name? string

---@class vmem.Image
---@field entry? integer # of the first instruction; the start of the text
---@field text? vmem.Segment|string # "rx", at 0x400000 where there is room, or 0x08048000, or the second page
---@field data? vmem.Segment|string # "rw", on the page behind the text
---@field bss? vmem.Size # zeros behind the data
---@field segments? vmem.Segment[] # further ones
---@field libs? vmem.Segment[] # shared objects, each at a place that the kernel finds
---@field stack? vmem.Size # bytes mapped at first; it grows

---A file of the simulated disk. Reading and writing are done from outside of the
---machine: programs see them at once, and nothing is counted. A handle keeps a file
---that was unlinked.
---@class vmem.File
---@field name string
---@field size integer # bytes
---@field cached integer # pages in memory
---@field dirty integer # pages to be written back
---@field linked boolean # has it its name still?
---@field closed boolean
local File = {}

---@param offset? integer # bytes; 0
---@param n? integer # bytes; to the end
---@return string bytes # fewer at the end
function File:read(offset, n) end

---@param offset integer # bytes; the file grows if it must
---@param bytes string
---@return true? ok
---@return string? message
---@return string? code # ENOSPC, EFBIG, EBADF
function File:write(offset, bytes) end

---Cut the file, or let it grow by zeros. Who touches a page behind the end gets SIGBUS.
---@param size integer # bytes
---@return true? ok
---@return string? message
---@return string? code # EFBIG
function File:truncate(size) end

---Write the file's dirty pages to the disk.
---@return true? ok
---@return string? message
---@return string? code # EIO
function File:sync() end

---Take the name away; the file goes when nobody maps or holds it any more.
function File:unlink() end

---Let go of the handle.
function File:close() end

---@class vmem.FrameOrder # of blocks of 2^order frames
---@field order integer
---@field free_blocks integer # free runs cut into blocks aligned to their size, as large as can be
---@field unusable number # share of free memory in blocks too small for a request of this order: 0 to 1

---Prints as a map of memory.
---@class vmem.Frames
---@field count integer # of all frames
---@field free integer
---@field page integer # bytes of a frame
---@field allocator string # bitmap or buddy
---@field orders vmem.FrameOrder[] # from order 0 on
---@field largest_run integer # free frames in a row
---@field splits integer # blocks that a buddy allocator halved
---@field merges integer # buddies that it put together
---@field group integer # frames behind a character of the map
---@field map string # a character for each group, by address: . free, letters as `legend` has them, # several uses
---@field legend table<string, string>

-- --- policies in Lua (docs/policies-in-lua.md) ---------------------------------------------

---@class vmem.PolicyFields
---@field name? string
---@field doc? string
---@field params? table<string, any> # names and defaults; they come into self
---@field limit? integer # VM instructions that a call may take (10^8); 0: no limit
---@field enter? 0|1 # 0: pages come with their reference bit clear, where bits are not those of PTEs
---@field init? fun(self: vmem.PolicySelf)
---@field insert? fun(self: vmem.PolicySelf, slot: integer, key: integer)
---@field touch? fun(self: vmem.PolicySelf, slot: integer, write: boolean)
---@field victim? fun(self: vmem.PolicySelf, key: integer?): integer
---@field remove? fun(self: vmem.PolicySelf, slot: integer, evicted: boolean)
---@field filter? fun(self: vmem.PolicySelf, slot: integer, key: integer): boolean? # of wraps

---@class vmem.Policy: vmem.PolicyFields
---@field wraps? string
local Policy = {}

---The same policy with other parameters.
---@param params table<string, any>
---@return vmem.Policy
function Policy:with(params) end

---@class vmem.PolicySelf: table
---@field slots vmem.Slots
---@field seed integer
---@field inner? vmem.PolicyInner # of wraps

---Slots are numbers from 0. Lists are filled into a table that is given, or a new one. `#slots`
---is how many there are. It ends with its instance; later calls raise an error.
---@class vmem.Slots
local Slots = {}

---@return integer full
function Slots:count() end
---@return integer slots that can be full at once, as far as that is known
function Slots:capacity() end
---@param slot integer
---@return integer? key nil: empty
function Slots:key(slot) end
---Referenced since last asked? The bit is cleared.
---@param slot integer
---@return boolean
function Slots:test(slot) end
---@param slot integer
---@return boolean
function Slots:dirty(slot) end
---Slots referenced since last asked; their bits are cleared.
---@param t? integer[]
---@return integer[] slots, integer n
function Slots:touched(t) end
---Full slots with these bits (nil: any).
---@param t? integer[]
---@param referenced? boolean
---@param dirty? boolean
---@return integer[] slots, integer n
function Slots:list(t, referenced, dirty) end
---The first full slot with these bits, from `from` on, going round.
---@param from? integer
---@param referenced? boolean
---@param dirty? boolean
---@return integer? slot
function Slots:find(from, referenced, dirty) end
---The first full slot that was not referenced; the bits of those before it are cleared.
---@param from? integer
---@return integer? slot
function Slots:sweep(from) end
---@return integer references made so far, as far as the policy can know
function Slots:time() end
---@return integer pages that came so far
function Slots:faults() end
---@param n integer
---@return integer # 0 to n - 1, by the instance's seed
function Slots:random(n) end
---An array of integers by slot; a page that comes sets its own to `enter`. 16 at most.
---@param enter? integer
---@return vmem.SlotArray
function Slots:array(enter) end

---@class vmem.SlotArray
local SlotArray = {}

---@param slot integer
---@return integer
function SlotArray:get(slot) end
---@param slot integer
---@param value integer
function SlotArray:set(slot, value) end
---The full slot with the least number; of equals the one whose page came first.
---@return integer? slot, integer? value
function SlotArray:least() end
---@param limit integer
---@param t? integer[]
---@return integer[] slots, integer n
function SlotArray:upto(limit, t) end
---All numbers move right by one bit; reference bits come in at the top of `bits` (8), and are cleared.
---@param bits? integer
function SlotArray:age(bits) end
---Slots referenced since last asked are set to the value; their bits are cleared.
---@param value integer
function SlotArray:stamp(value) end
---Slots referenced since last asked grow by n (1); their bits are cleared.
---@param n? integer
function SlotArray:count(n) end
---The first full slot from `from` on, going round, that was not referenced, whose number is up to the
---limit, and which is dirty or not as said (nil: either). Those referenced before it lose their bits,
---and their numbers are set to `now`.
---@param from integer
---@param now integer
---@param limit integer
---@param dirty? boolean
---@return integer? slot
function SlotArray:sweep(from, now, limit, dirty) end

---The policy inside of a wrap; only the wrap's functions may call it.
---@class vmem.PolicyInner
local PolicyInner = {}

---@param slot integer
---@param key integer
function PolicyInner:insert(slot, key) end
---@param slot integer
---@param write? boolean
function PolicyInner:touch(slot, write) end
---@param slot integer
---@param evicted? boolean
function PolicyInner:remove(slot, evicted) end
---@param key? integer
---@return integer slot
function PolicyInner:victim(key) end

---A policy by hand (vmem.policy.open). What an owner must not do raises an error; so does
---what the policy does wrong.
---@class vmem.PolicyHand
local PolicyHand = {}

---@param slot integer empty, or the last victim
---@param key integer
---@param set? integer
function PolicyHand:insert(slot, key, set) end
---@param slot integer
---@param write? boolean
---@param set? integer
function PolicyHand:touch(slot, write, set) end
---@param slot integer
---@param set? integer
function PolicyHand:remove(slot, set) end
---@param key? integer
---@param set? integer
---@return integer slot
function PolicyHand:victim(key, set) end
---@return true|nil ok, string? broken
function PolicyHand:check() end
function PolicyHand:close() end
