---@meta vmem
error("vmem.meta describes vmem to a language server; require \"vmem\" instead")

-- Everything that Lua can call, with arguments, units, results and errors. What
-- `vmem.trace` reads, records and makes is described in trace.lua, record.lua and
-- generate.lua.
--
-- Addresses, cycles and counters are 64-bit integers: compare addresses with
-- math.ult, print them with %#x. A size is an integer of bytes or a text such as
-- "64MiB" (powers of 1024). Wrong use raises an error that names the argument; a
-- failed simulated call, or a failure of the host, gives nil, a message and a
-- code such as "ENOMEM".

---@alias vmem.Size integer|string
---@alias vmem.Trace vmem.trace

-- --- options ------------------------------------------------------------------------
-- The rows come from the core; `vmem options` lists them with bounds and defaults.

---@class vmem.MachineOptions
---@field preset? "csapp"|"core-i7"|"x86-32"|"sv39"|"sv48" # where to begin; what follows replaces parts of it
---@field paging? vmem.PagingOptions
---@field tlb? table<"l1"|"l1i"|"l1d"|"l2"|"l3", vmem.TlbOptions>|{ asid_bits: integer }
---@field pwc? table<"l1"|"l2"|"l3"|"l4", { entries: integer, ways: integer }> # paging-structure caches
---@field cache? table<"l1"|"l1i"|"l1d"|"l2"|"l3"|"l4", vmem.CacheOptions>|{ straddle: "each"|"once" }
---@field dram? vmem.Size|{ size: vmem.Size, latency: integer } # main memory
---@field disk? { latency: integer } # cycles of a page read or written
---@field swap? vmem.Size # 0: none
---@field policy? string # which page loses its frame: "fifo", "lru", "clock", "random"
---@field frames? string # how free frames are kept
---@field resident? integer # pages in frames at once, of all processes; 0: as many as fit
---@field young_flush? boolean # clearing a reference bit drops the page's TLB entries, too
---@field kernel? { fault: integer, zero: integer, switch: integer } # cycles
---@field seed? integer # of random policies
---@field shortcuts? boolean # false: the plain path for every access, which counts the same more slowly
---@field vectors? boolean # false: no vector instructions; counts the same

---@class vmem.PagingOptions
---@field enabled? boolean # false: a virtual address is a physical one
---@field va_bits? integer
---@field pa_bits? integer
---@field page? vmem.Size # of a base page
---@field levels? integer[] # index bits of each page-table level, the root first
---@field pte? "plain"|"x86-32"|"x86-64"|"riscv"

---@class vmem.TlbOptions
---@field entries? integer # 0 leaves the level out
---@field ways? integer
---@field latency? integer # cycles
---@field policy? string

---@class vmem.CacheOptions
---@field size? vmem.Size # 0 leaves the level out
---@field ways? integer
---@field line? vmem.Size
---@field latency? integer # cycles
---@field policy? string
---@field write? "back"|"through"|"untracked"
---@field allocate? boolean # a write that misses brings the line
---@field inclusive? boolean # holds every line of the levels above

-- --- machines -----------------------------------------------------------------------

---A whole machine: TLBs, page tables, caches, DRAM, disk and a kernel. To be
---closed (`local m <close> = …`), or left to the collector. One at a time may
---replay a trace on it; calls in the meantime raise an error.
---@class vmem.Machine
local Machine = {}

---Free what the machine holds. Its processes can't be used any more.
function Machine:close() end

---A new process with an empty address space.
---@param t? { name?: string }
---@return vmem.Process
function Machine:spawn(t) end

---The processes that have not ended.
---@return vmem.Process[]
function Machine:processes() end

---Counters since the last reset_stats: all of them as nested tables, or one by
---its dotted name. A name that does not exist raises an error.
---@param name? string # as in "tlb.l1d.misses"
---@return table|integer
function Machine:stats(name) end

---Begin to count anew. The clock goes on.
function Machine:reset_stats() end

---Cycles since the machine was made.
---@return integer
function Machine:clock() end

---Walk all invariants: true, or nil and the first that does not hold.
---@return true? ok
---@return string? broken
function Machine:check() end

---The options that the machine was made with, defaults included, nested.
---@return table
function Machine:options() end

---Frames and swap.
---@return vmem.MemoryInfo
function Machine:meminfo() end

---Call a function with each event of a type, in order, when the call that caused
---it is done (a replay stops for them now and then). It may use the machine; what
---that causes is told afterwards. Its error is raised from the call that caused
---the event; the events behind wait for the next call.
---@param name vmem.EventName|vmem.EventName[]
---@param f fun(event: vmem.Event)
---@return vmem.Listener listener
function Machine:on(name, f) end

---End a listener.
---@param listener vmem.Listener
---@return boolean was_on
function Machine:off(listener) end

---A listener that is on; ends with its scope (`local l <close> = m:on(…)`), too.
---@class vmem.Listener

---Keep the last events from now on, and forget those kept before; false: keep none.
---@param t? { size?: integer, only?: vmem.EventName|vmem.EventName[] }|false # 65536 events, of all types
function Machine:trace_events(t) end

---The events that are kept, the oldest first.
---@return vmem.Event[] events
---@return integer dropped # older ones that there was no room for
function Machine:events() end

---Write the events that are kept as a Chrome trace file, which Perfetto opens.
---@param path string
---@param t? { rate?: number } # cycles a second, for the time scale; 1e9
---@return true? ok
---@return string? message
---@return string? code
function Machine:save_events(path, t) end

---@alias vmem.EventName "fault"|"eviction"|"writeback"|"swap_in"|"swap_out"|"cow"|"zero_fill"|"fork"|"exec"|"exit"|"signal"|"shootdown"|"switch"|"oom"

---What every event has; docs/reference.md lists what each type has besides.
---@class vmem.Event
---@field type vmem.EventName
---@field clock integer # cycles; of a fault, when it was dealt with
---@field pid integer # 0: nobody's
---@field cpu integer
---@field addr? integer
---@field lost? integer # events before this one that there was no memory to keep for listeners
---@field [string] integer|string|boolean

---@class vmem.MemoryInfo
---@field page integer # bytes
---@field frames integer
---@field free integer # frames
---@field resident integer # pages of processes in frames
---@field tables integer # frames that hold page tables
---@field swap integer # slots
---@field swap_used integer # slots
---@field host_bytes integer # host memory behind the simulated DRAM

-- --- processes ----------------------------------------------------------------------

---A process of a machine. An access that faults for good ends the process and
---raises a vmem.Fault.
---@class vmem.Process
local Process = {}

---Load a little-endian number.
---@param address integer
---@param size? 1|2|4|8 # bytes; 8
---@return integer value
function Process:load(address, size) end

---Store a little-endian number; higher bits of the value are cut off.
---@param address integer
---@param value integer
---@param size? 1|2|4|8 # bytes; 8
function Process:store(address, value, size) end

---Load bytes: one access for each page they lie in.
---@param address integer
---@param n integer
---@return string bytes
function Process:read(address, n) end

---Store bytes: one access for each page they lie in.
---@param address integer
---@param bytes string
function Process:write(address, bytes) end

---Fetch instruction bytes.
---@param pc integer
---@param n? integer # bytes; 4
---@return string bytes
function Process:fetch(pc, n) end

---A function that does what the method does, without naming the process each
---time: for long loops.
---@overload fun(self: vmem.Process, name: "load"): fun(address: integer, size?: integer): integer
---@overload fun(self: vmem.Process, name: "store"): fun(address: integer, value: integer, size?: integer)
---@param name "load"|"store"
---@return function
function Process:bind(name) end

---@class vmem.MmapArguments
---@field length vmem.Size
---@field prot? string # of r, w, x, or "none"; "rw"
---@field flags? string # of private, anonymous, fixed, hugetlb; "private|anonymous"
---@field addr? integer # a hint, or the place where flags say fixed
---@field page? vmem.Size # page size of a hugetlb mapping
---@field name? string # as areas() shows it

---Map anonymous memory, which is zero until it is written.
---@param t vmem.MmapArguments
---@return integer? address
---@return string? message
---@return string? code
function Process:mmap(t) end

---Unmap a range of pages; areas are split where it cuts them.
---@param address integer
---@param length vmem.Size
---@return true? ok
---@return string? message
---@return string? code
function Process:munmap(address, length) end

---Change the protection of a range of pages.
---@param address integer
---@param length vmem.Size
---@param prot string # of r, w, x, or "none"
---@return true? ok
---@return string? message
---@return string? code
function Process:mprotect(address, length, prot) end

---Set the break, or ask for it.
---@param address? integer
---@return integer? break_
---@return string? message
---@return string? code
function Process:brk(address) end

---Move the break.
---@param n vmem.Size # bytes, negative too
---@return integer? old # the break before
---@return string? message
---@return string? code
function Process:sbrk(n) end

---@class vmem.Area
---@field start integer
---@field stop integer # the first byte behind it
---@field prot string # as in "rw-"
---@field flags string
---@field name string

---The areas of the address space, in order of addresses.
---@return vmem.Area[]
function Process:areas() end

---@class vmem.Page
---@field state "unallocated"|"uncached"|"cached"|"unknown" # unknown: a PTE that set_state did not give
---@field pte? integer # its bits
---@field size? integer # bytes
---@field frame? integer # where it is cached
---@field slot? integer # of swap
---@field dirty? boolean
---@field accessed? boolean
---@field prot? string

---What the page table says of an address; nothing is counted.
---@param address integer
---@return vmem.Page
function Process:page(address) end

---Make one access and tell every step of it.
---@param address integer
---@param t? { kind?: "load"|"store"|"fetch", size?: integer } # a load of 1 byte
---@return vmem.Explanation
function Process:explain(address, t) end

---Replay a trace: its first task is this process, others become processes of
---their own. What the trace's events did not map is mapped where it is touched.
---@param trace vmem.Trace
---@param t? { progress?: fun(done: integer), every?: integer, limit?: integer } # progress is called every
---`every` accesses (a million); `limit` ends the replay after so many
---@return table counters # of this run, nested as Machine:stats(), and `replay`: vmem.ReplayResult
function Process:replay(trace, t) end

---@class vmem.ReplayResult
---@field accesses integer # records of the trace; a modify is one
---@field events integer
---@field processes integer
---@field mapped integer # areas made because something unmapped was touched
---@field refused integer # events that the machine had no place for

---@class vmem.State
---@field ptes? table<integer, integer|false|{ ppn: integer, prot: string }> # by VPN; false: not present
---@field tlb? { level?: integer, vpn?: integer, set?: integer, tag?: integer, ppn: integer, prot?: string }[]
---@field cache? { cache?: string, set: integer, tag: integer, bytes?: integer[], dirty?: boolean }[]
---@field memory? table<integer, string> # by physical address

---How an address splits into fields, in bits; the TLB's and the cache's are those
---of the first data level.
---@return { paging: boolean, va_bits: integer, pa_bits: integer, page_bits: integer, levels: integer[], tlb_set_bits?: integer, line_bits?: integer, cache_set_bits?: integer }
function Process:geometry() end

---Put the machine into a state given by small tables; nothing is counted. The
---PTEs that `ptes` does not give are unknown, which is not the same as invalid.
---@param t vmem.State
function Process:set_state(t) end

---Counters of this process.
---@return table<string, integer>
function Process:stats() end

---@return integer
function Process:pid() end

---@return string
function Process:name() end

---@return vmem.Machine
function Process:machine() end

---Has it not ended?
---@return boolean
function Process:alive() end

---End the process and free its memory.
---@param status? integer # 0
function Process:exit(status) end

---Raised by an access that can't be served; prints as one line.
---@class vmem.Fault
---@field signal "SIGSEGV"|"SIGBUS"|"SIGKILL"
---@field code "MAPERR"|"ACCERR"|"ADRERR"|"UNKNOWN"|"OOM" # no area; no permission; a physical address beyond DRAM; a
---PTE that set_state did not give; memory used up
---@field addr integer
---@field access "fetch"|"load"|"store"|"modify"
---@field pid integer
