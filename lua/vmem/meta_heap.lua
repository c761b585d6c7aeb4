---@meta vmem.heap
error("vmem.meta_heap describes vmem to a language server; require \"vmem\" instead")

-- Heaps. See meta.lua.

---An allocator at work in the memory of a process: vmem.heap.open makes it. Calls that
---find no memory return nil, message, "ENOMEM", and nothing has moved.
---@class vmem.Heap
local Heap = {}

---@param n integer # bytes
---@return integer? address # nil for 0 bytes
---@return string? message
---@return string? code # ENOMEM
function Heap:malloc(n) end

---@param count integer
---@param size integer
---@return integer? address # of count * size bytes, all 0
---@return string? message
---@return string? code # ENOMEM
function Heap:calloc(count, size) end

---@param address? integer # nil or 0: as malloc
---@param n integer # 0: as free
---@return integer? address # nil: the old block is as it was
---@return string? message
---@return string? code # ENOMEM
function Heap:realloc(address, n) end

---@param align integer # a power of two
---@param n integer
---@return integer? address
---@return string? message
---@return string? code # ENOMEM; EINVAL: no such alignment
function Heap:memalign(align, n) end

---@param address? integer # raises an error if no allocated block begins there
function Heap:free(address) end

---@param address? integer
---@return integer # bytes that the block can hold
function Heap:usable_size(address) end

---@class vmem.Heap.Block
---@field start integer # of all of it
---@field size integer # of all of it
---@field address integer # of its payload
---@field allocated boolean
---@field payload? integer # bytes that were asked for

---All blocks in order of addresses, without an access.
---@return vmem.Heap.Block[]
function Heap:blocks() end

---@class vmem.Heap.List
---@field list integer # its number: a class of sizes, an order; 0 where there is one
---@field [integer] integer # addresses, in the list's order

---The free lists that have blocks, without an access. Where free blocks are found by a walk
---over all, they are one list, by addresses; bump has none.
---@return vmem.Heap.List[]
function Heap:lists() end

---@return string # of the allocator
function Heap:name() end

---@return integer # bytes of the heap, areas beside it included
function Heap:size() end

---Walk the heap's invariants, without an access.
---@return boolean ok
---@return string? what # is wrong
---@return integer? address # of the word that says so
function Heap:check() end

---The heap's range, or that of the area beside it that an address is in.
---@param address? integer
---@return integer first # address
---@return integer stop # the first address behind
function Heap:range(address) end

---@return vmem.Process? # nil: native
function Heap:process() end

---No more calls. An area of its own is unmapped; what sbrk gave stays the process's.
function Heap:close() end
