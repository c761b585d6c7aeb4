---@meta vmem.heap
error("vmem.meta_allocator describes vmem to a language server; require \"vmem\" instead")

-- Allocators in Lua (docs/allocators-in-lua.md). See meta.lua.

---@class vmem.heap.AllocatorFields
---@field name string
---@field doc? string
---@field params? table<string, any> # names and defaults, which come into self; word, align, chunk, source, limit may be among them
---@field instructions? integer # VM instructions that a call may take (10^8); 0: no limit
---@field init? fun(self: vmem.heap.AllocatorSelf)
---@field malloc fun(self: vmem.heap.AllocatorSelf, n: integer): integer? # nil: there is no memory
---@field free? fun(self: vmem.heap.AllocatorSelf, address: integer)
---@field realloc? fun(self: vmem.heap.AllocatorSelf, address: integer, n: integer): integer? # nil: nothing has moved
---@field resize? fun(self: vmem.heap.AllocatorSelf, address: integer, n: integer): boolean? # true: it holds n bytes where it stands
---@field memalign? fun(self: vmem.heap.AllocatorSelf, align: integer, n: integer): integer?
---@field usable_size? fun(self: vmem.heap.AllocatorSelf, address: integer): integer
---@field blocks? fun(self: vmem.heap.AllocatorSelf): fun(state: any, control: any): integer?, integer?, boolean?, integer? # iterates over address, size, allocated and start (address), upwards
---@field check? fun(self: vmem.heap.AllocatorSelf): boolean?, string?, integer? # false: what is wrong, and where

---@class vmem.heap.Allocator: vmem.heap.AllocatorFields

---What an allocator's functions know: its parameters, what they put there, these fields, and
---methods that reach the heap. An address outside of it, or in a block that is allocated
---where something is written, raises an error.
---@class vmem.heap.AllocatorSelf: table
---@field base integer # the heap's first address
---@field word integer # bytes: 4 or 8
---@field align integer # of payloads
---@field chunk integer # bytes by which it is to grow at least
local Self = {}

---@param n integer # bytes, rounded up to the alignment
---@return integer? address # of the first of them, which are 0; nil: refused
function Self:grow(n) end

---@return integer first # address
---@return integer stop # the first address behind
function Self:range() end

---@param address integer
---@param width? 4|8 # a word
---@return integer
function Self:get(address, width) end

---@param address integer
---@param x integer
---@param width? 4|8
function Self:put(address, x, width) end

---An address in a word, which is kept as a distance from the heap's start.
---@param address integer
---@return integer?
function Self:link(address) end

---@param address integer
---@param to? integer
function Self:set_link(address, to) end

---Upwards, by words; n is rounded up to 4.
---@param to integer
---@param from integer
---@param n integer # bytes
function Self:copy(to, from, n) end

---@param address integer
---@param n integer # bytes, rounded up to 4
function Self:zero(address, n) end

---@param counter "searches"|"steps"|"splits"|"coalesces"
---@param n? integer # 1
function Self:count(counter, n) end

---The header, in the word before the payload.
---@param address integer
---@return integer size
---@return boolean allocated
---@return integer bits # 0 to 3
function Self:block(address) end

---The footer of the block before.
---@param address integer
---@return integer size
---@return boolean allocated
---@return integer bits
function Self:before(address) end

---Header and footer, which is in the block's last word.
---@param address integer
---@param size integer # of all of the block
---@param bits boolean|integer # whether it is allocated, or 0 to 3
function Self:set_block(address, size, bits) end

---@param address integer
---@param size integer
---@param bits boolean|integer
function Self:set_header(address, size, bits) end

---Grow by n bytes (0) for one's own use, an allocated block without payload, and an epilogue.
---@param n? integer
---@return integer? address # where the row's first block will be
function Self:begin_row(n) end

---@param n integer # bytes, rounded up to the alignment
---@return integer? address # of a free block of so many, the row's last
function Self:extend_row(n) end

---@param address integer
---@return integer size
---@return integer before # size of the block before if that is free, else 0
---@return integer after # the same of the block behind
function Self:around(address) end

---@param first integer
---@param stop? integer # the epilogue
---@return fun(): integer?, integer?, boolean?, integer? # address, size, allocated, start of each block
function Self:row(first, stop) end

---A free block of the row, of `size` bytes at least.
---@param first integer
---@param size integer
---@param how? "first"|"best"|"worst"
---@param stop? integer # the epilogue
---@return integer? address
---@return integer? size
function Self:fit(first, size, how, stop) end

---@param list integer # the address of its head
---@param address integer
function Self:push(list, address) end

---@param list integer
---@param address integer
---@param order? "address"|"size" # size: of equal ones by address
function Self:insert(list, address, order) end

---@param list integer
---@param address integer
function Self:unlink(list, address) end

---@param list integer
---@return fun(): integer? # address of each member
function Self:list(list) end

---A block of the list, of `size` bytes at least; or of the first list that has one, of those
---whose heads are in the words up to `last`.
---@param list integer
---@param size integer
---@param how? "first"|"best"|"worst"
---@param last? integer # list
---@return integer? address
---@return integer? size
---@return integer? list
function Self:list_fit(list, size, how, last) end

---@param first integer # the head of the first list, of blocks of less than twice `least`; others follow
---@param count integer
---@param least integer # bytes
---@return fun(size: integer): integer # the head of the list for blocks of that size
function Self:size_classes(first, count, least) end
