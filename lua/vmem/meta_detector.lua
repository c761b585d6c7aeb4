---@meta vmem.detector
error("vmem.meta_detector describes vmem to a language server; require \"vmem\" instead")

-- Error detectors, the values and reports that they give. See meta.lua; docs/errors.md
-- tells the whole. What detector.lua adds (frame, mmap, fill, branch, syscall, reports,
-- leaks) is described there.

---A number and what is known of it: which of its bits are initialised, and the block that
---a pointer came from. Whole numbers of Lua stand where a value may: known, of no block.
---@class vmem.Tracked
---@operator add(vmem.Tracked|integer): vmem.Tracked
---@operator sub(vmem.Tracked|integer): vmem.Tracked
---@operator mul(vmem.Tracked|integer): vmem.Tracked
---@operator idiv(vmem.Tracked|integer): vmem.Tracked
---@operator mod(vmem.Tracked|integer): vmem.Tracked
---@operator band(vmem.Tracked|integer): vmem.Tracked
---@operator bor(vmem.Tracked|integer): vmem.Tracked
---@operator bxor(vmem.Tracked|integer): vmem.Tracked
---@operator shl(vmem.Tracked|integer): vmem.Tracked
---@operator shr(vmem.Tracked|integer): vmem.Tracked
---@operator unm: vmem.Tracked
---@operator bnot: vmem.Tracked
local Tracked = {}

---Use it in a branch; so do ==, < and <=.
---@return boolean # is it not 0?
function Tracked:test() end

---@return integer # the number that is there; no use
function Tracked:value() end

---@return integer # a mask of the bits that are not initialised
function Tracked:undefined() end

---@return vmem.Detector.Block? # that the pointer came from
function Tracked:block() end

---@param x vmem.Tracked|integer
---@return vmem.Tracked # 1 or 0
function Tracked:eq(x) end

---@param x vmem.Tracked|integer # signed
---@return vmem.Tracked # 1 or 0
function Tracked:lt(x) end

---@param x vmem.Tracked|integer # signed
---@return vmem.Tracked # 1 or 0
function Tracked:le(x) end

---@param x vmem.Tracked|integer # unsigned
---@return vmem.Tracked # 1 or 0
function Tracked:ult(x) end

---@class vmem.Detector.Block
---@field id integer # never given again
---@field kind "heap"|"stack"|"data"|"mapping"
---@field address integer
---@field size integer
---@field live boolean # not freed, left or unmapped
---@field name? string # of a variable or mapping
---@field family? "malloc"|"new"|"new_array"
---@field heap? vmem.Heap
---@field element? integer # bytes, where calloc said so
---@field made? string[] # where in the program
---@field gone? string[] # where it was freed or left
---@field leak? "definite"|"indirect"|"possible"|"reachable" # in a list of leaks

---@class vmem.Report
---@field kind string # one of vmem.error_kinds()
---@field text string # one sentence
---@field hint? string # what it often is
---@field address integer # of the access, or the argument
---@field size? integer # bytes
---@field first integer # the first byte that is wrong
---@field access? "load"|"store"|"fetch"
---@field use? "branch"|"address"|"size"|"syscall"|"load" # of an uninitialised value
---@field bits? integer # a mask of its undefined bits
---@field name? string # of the call or function
---@field source? integer # of an overlapping copy
---@field where? string[] # places in the program, innermost first
---@field count integer # of such errors from this place
---@field block? vmem.Detector.Block # whose byte it is, or that beside
---@field offset? integer # of `first` from the block's start
---@field side? "before"|"inside"|"behind" # the block
---@field distance? integer # bytes from that edge, or from the start
---@field pointer? vmem.Detector.Block # that the pointer came from, where it is another
---@field origin? vmem.Detector.Block # of uninitialised bits

---@class vmem.Leaks
---@field blocks vmem.Detector.Block[] # all live ones, in order of addresses
---@field definite { bytes: integer, blocks: integer }
---@field indirect { bytes: integer, blocks: integer }
---@field possible { bytes: integer, blocks: integer }
---@field reachable { bytes: integer, blocks: integer }

---A frame of the stack; its variables are fields, as pointers.
---@class vmem.Frame
---@field detector vmem.Detector
---@field id integer
---@field name string
---@field [string] vmem.Tracked

---Watches a process: vmem.detector makes it. Calls of the allocator that find no memory
---return nil, message, "ENOMEM". `heap` is one that it is attached to; nil: its first.
---@class vmem.Detector
local Detector = {}

---@param n vmem.Tracked|integer # bytes
---@param heap? vmem.Heap
---@return vmem.Tracked? pointer # nil for 0 bytes
---@return string? message
---@return string? code # ENOMEM
function Detector:malloc(n, heap) end

---@param count integer
---@param size integer # bytes of an element
---@param heap? vmem.Heap
---@return vmem.Tracked? pointer # to zeros
---@return string? message
---@return string? code # ENOMEM
function Detector:calloc(count, size, heap) end

---Always to another place, so that old pointers show.
---@param pointer? vmem.Tracked|integer
---@param n integer
---@param heap? vmem.Heap
---@return vmem.Tracked? pointer
---@return string? message
---@return string? code # ENOMEM
function Detector:realloc(pointer, n, heap) end

---@param align integer # a power of two
---@param n vmem.Tracked|integer
---@param heap? vmem.Heap
---@return vmem.Tracked? pointer
---@return string? message
---@return string? code # ENOMEM; EINVAL: no such alignment
function Detector:memalign(align, n, heap) end

---@param pointer? vmem.Tracked|integer # a wrong one is reported, and nothing is done
---@param heap? vmem.Heap
function Detector:free(pointer, heap) end

---As malloc, to be freed by delete.
---@param n vmem.Tracked|integer
---@param heap? vmem.Heap
---@return vmem.Tracked? pointer
function Detector:new(n, heap) end

---@param pointer? vmem.Tracked|integer
---@param heap? vmem.Heap
function Detector:delete(pointer, heap) end

---As malloc, to be freed by delete_array.
---@param n vmem.Tracked|integer
---@param heap? vmem.Heap
---@return vmem.Tracked? pointer
function Detector:new_array(n, heap) end

---@param pointer? vmem.Tracked|integer
---@param heap? vmem.Heap
function Detector:delete_array(pointer, heap) end

---A variable of the data segment, zeros.
---@param name string
---@param n integer # bytes
---@return vmem.Tracked? pointer
---@return string? message
---@return string? code # ENOMEM: the area is full
function Detector:global(name, n) end

---@param address vmem.Tracked|integer
---@param size? 1|2|4|8 # 8
---@return vmem.Tracked
function Detector:load(address, size) end

---@param pc vmem.Tracked|integer
---@param size? 1|2|4|8 # 8
---@return vmem.Tracked
function Detector:fetch(pc, size) end

---@param address vmem.Tracked|integer
---@param value vmem.Tracked|integer
---@param size? 1|2|4|8 # 8
function Detector:store(address, value, size) end

---@param address vmem.Tracked|integer
---@param n integer
---@return string bytes
function Detector:read(address, n) end

---@param address vmem.Tracked|integer
---@param bytes string
function Detector:write(address, bytes) end

---As memcpy: the blocks must not overlap.
---@param to vmem.Tracked|integer
---@param from vmem.Tracked|integer
---@param n integer
function Detector:copy(to, from, n) end

---As memmove.
---@param to vmem.Tracked|integer
---@param from vmem.Tracked|integer
---@param n integer
function Detector:move(to, from, n) end

---@param address integer
---@return vmem.Tracked # a pointer of the live block that holds it
function Detector:pointer(address) end

---@param x vmem.Tracked|integer
---@return vmem.Tracked # the same number
function Detector:value(x) end

---From now on these bytes are not initialised.
---@param address vmem.Tracked|integer
---@param n integer
function Detector:undefine(address, n) end

---From now on they are.
---@param address vmem.Tracked|integer
---@param n integer
function Detector:define(address, n) end

---@param address vmem.Tracked|integer
---@return vmem.Detector.Block? # that holds it or its redzone does, or did last
function Detector:block(address) end

---@return integer # errors so far, those that are not reported by themselves included
function Detector:errors() end

---@return vmem.Process
function Detector:process() end

---Stand in front of one more heap of the process.
---@param heap vmem.Heap
---@return vmem.Detector self
function Detector:attach(heap) end

---Watch no longer; heaps stay what they are.
function Detector:close() end
