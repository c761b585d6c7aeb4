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
