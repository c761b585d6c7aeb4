---@meta vmem
error("vmem.meta describes vmem to a language server; require \"vmem\" instead")

-- Everything that Lua can call, with arguments, units, results and errors. What
-- `vmem.trace` reads, records and makes is described in trace.lua, record.lua and
-- generate.lua; files and plain tables in meta_types.lua, heaps in meta_heap.lua,
-- error detectors in meta_detector.lua.
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
---@field disk? vmem.DiskOptions
---@field swap? vmem.Size # 0: none
---@field swap_readahead? integer # slots
---@field policy? string|table|vmem.Policy # whose page goes: "lru", "clock:enter=0", { "clock", enter = 0 }
---@field frames? string # how free frames are kept
---@field resident? integer # pages in frames at once, of all processes; 0: as many as fit
---@field reclaim? vmem.ReclaimOptions
---@field overcommit? "always"|"heuristic"|"strict" # what mmap may promise
---@field overcommit_ratio? integer # percent of memory that strict adds to swap
---@field zero_frame? boolean # reads of untouched memory share one frame
---@field huge? "never"|"madvise"|"always" # which private memory gets transparent huge pages
---@field huge_min? integer # base pages in memory that make a range worth promoting; 0: all of it
---@field huge_scan? integer # faults between two scans for ranges to promote; 0: none
---@field compact? boolean # move pages together when a block of frames is wanted
---@field stack? vmem.Size # that a growing stack may have
---@field young_flush? boolean # clearing a reference bit drops the page's TLB entries, too
---@field kernel? vmem.KernelOptions
---@field boot? boolean # false: paging stays off until m:boot()
---@field cpus? integer # processors
---@field seed? integer # of random policies
---@field shortcuts? boolean # false: the plain path for every access, which counts the same more slowly
---@field vectors? boolean # false: no vector instructions; counts the same

---@class vmem.ReclaimOptions
---@field low? integer # free frames below which pages are evicted in the background
---@field high? integer # free frames at which that ends
---@field scope? "global"|"local" # whose page goes: anybody's, or one of the process that needs a frame
---@field quota? "none"|"ws"|"pff" # with local: what fits, the working set, or by page-fault frequency
---@field window? integer # accesses: of the working set, between faults, or of load control
---@field lifetime? integer # load control: accesses between two page replacements; 0: none

---@class vmem.KernelOptions # cycles, but for low
---@field fault? integer
---@field zero? integer
---@field copy? integer
---@field fork? integer
---@field call? integer
---@field switch? integer
---@field interrupt? integer # of another processor, to drop translations
---@field low? vmem.Size # of physical memory, from 0 on, that the kernel maps; 0: it has no part of a space

---@class vmem.DiskOptions
---@field size? vmem.Size # for files
---@field latency? integer # cycles of a page read or written
---@field transfer? integer # cycles of a page that follows another in one request
---@field cluster? integer # neighbouring dirty pages written in one request at most
---@field readahead? integer # pages of a file
---@field bad_reads? integer # each n-th read fails
---@field bad_writes? integer

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
---@field policy? string|table|vmem.Policy

---@class vmem.CacheOptions
---@field size? vmem.Size # 0 leaves the level out
---@field ways? integer
---@field line? vmem.Size
---@field latency? integer # cycles
---@field policy? string|table|vmem.Policy
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

---How paging was turned on; with `boot = false` it is turned on now. A machine boots
---once: later calls give the same log. It prints as a worksheet.
---@return vmem.Boot
function Machine:boot() end

---Another replacement policy of page frames from now on. Pages come to it in the order of
---their frames; their reference bits stay as they are.
---@param what string|table|vmem.Policy
function Machine:set_policy(what) end

---Bytes of physical memory as they are in DRAM; nothing is counted. (What a program
---reads is what p:read gives.)
---@param pa integer
---@param n integer # up to 1 GiB, within DRAM
---@return string bytes
function Machine:peek(pa, n) end

---@class vmem.Boot
---@field mapped boolean # the kernel has a part of every space
---@field why "mapped"|"no_paging"|"no_low"|"no_upper"|"no_dram"|"no_frames" # or why it has none
---@field format string
---@field low? integer # bytes of physical memory that the kernel maps, from 0 on
---@field base? integer # where they are in the kernel's part
---@field root? integer # physical address of the kernel's own root table
---@field frames? integer # that its tables took
---@field before table<string, integer> # registers: CR0, CR3, CR4, EFER, EIP or RIP; satp, pc; paging
---@field after table<string, integer>
---@field steps vmem.BootStep[]
local Boot = {}

---The step of this name; nil if the boot had none.
---@param name "off"|"alone"|"directory"|"identity"|"high"|"self"|"no_self"|"features"|"load"|"on"|"jump"|"drop"|"flush"
---@return vmem.BootStep?
function Boot:step(name) end

---The log as its tostring is.
---@return string
function Boot:worksheet() end

---@class vmem.BootStep
---@field name string
---@field text string # what the step does, in a sentence or two
---@field tables { name: string, pa: integer, bytes: integer, level: integer, va: integer }[] # that it made
---@field entries { name: string, index: integer, level: integer, va: integer, pa: integer, old: integer, new: integer }[]
---@field registers { name: string, old: integer, new: integer }[]
---@field walks { va: integer, pa?: integer }[] # where addresses lead after the step

---A new process with an empty address space, on processor `cpu` (from 0 on) or else
---where fewest processes run. Raises an error before the boot.
---@param t? { name?: string, cpu?: integer }
---@return vmem.Process
function Machine:spawn(t) end

---The processes that have not ended.
---@return vmem.Process[]
function Machine:processes() end

---Of these, the ones that a scheduler should choose from: neither blocked nor suspended
---by load control (reclaim.lifetime), which looks at the fault rate here as well. Who is
---suspended and accessed nevertheless is taken back at once.
---@return vmem.Process[]
function Machine:runnable() end

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

---Frames and swap; prints as /proc/meminfo does.
---@return vmem.MemoryInfo
function Machine:meminfo() end

---Counters of the kernel under the names of /proc/vmstat.
---@return vmem.Text # with the counters by name
function Machine:vmstat() end

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

---@alias vmem.EventName "fault"|"eviction"|"writeback"|"swap_in"|"swap_out"|"cow"|"zero_fill"|"fork"|"exec"|"exit"|"signal"|"shootdown"|"switch"|"oom"|"cluster"|"suspend"|"resume"|"promote"|"split"|"compaction"

---What every event has; docs/reference.md lists what each type has besides.
---@class vmem.Event
---@field type vmem.EventName
---@field clock integer # cycles; of a fault, when it was dealt with
---@field pid integer # 0: nobody's
---@field cpu integer
---@field addr? integer
---@field lost? integer # events before this one that there was no memory to keep for listeners
---@field [string] integer|string|boolean

---What physical memory looks like now.
---@return vmem.Frames
function Machine:frames() end

---Make transparent huge pages of base pages, where option huge allows: ranges of private
---memory that are in frames, shared with nobody and not locked.
---@param pages? integer # base pages to look at, from where it was last; all of them
---@return integer made # large pages
function Machine:promote(pages) end

---Move pages to the lowest free frames, so that free frames come together.
---@param order? integer # until a block of 2^order frames is free; else all that can move
---@return boolean free # there is such a block
---@return integer moved # pages
function Machine:compact(order) end

---A file on the simulated disk: made, or given new content, or, without content,
---opened.
---@param name string # 1 to 63 bytes
---@param content? string|{ host: string } # bytes, or the path of a file of the host
---@param mode? "r"|"rw" # r: it can't be written, nor mapped shared and writable
---@return vmem.File? file
---@return string? message
---@return string? code # ENOENT, ENOSPC, EFBIG
function Machine:file(name, content, mode) end

---The files that have a name.
---@return { name: string, size: integer, cached: integer, dirty: integer }[] # bytes, pages, pages
function Machine:files() end

---Write every dirty page of every file to the disk.
---@return true? ok
---@return string? message
---@return string? code # EIO
function Machine:sync() end

---Put a program on the disk, for Process:execve.
---@param name string
---@param image vmem.Image
---@return vmem.File? file
---@return string? message
---@return string? code
function Machine:program(name, image) end

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
---@field flags? string # private or shared, anonymous, fixed, fixed_noreplace, populate, noreserve, growsdown,
---hugetlb, joined by "|"; "private|anonymous", or "private" with a file
---@field addr? integer # a hint, or the place if fixed
---@field page? vmem.Size # of a page of a hugetlb mapping
---@field file? vmem.File # what to map
---@field offset? vmem.Size # in the file, whole pages
---@field name? string # as areas() and maps() show it

---Map memory, anonymous or of a file. A write to private memory stays with the
---process; one to shared memory is seen by all who map it, and by the file.
---Fails as POSIX says: EINVAL, ENOMEM, EACCES, EBADF, EEXIST, EOVERFLOW.
---@param t vmem.MmapArguments
---@return integer? address
---@return string? message
---@return string? code
function Process:mmap(t) end

---Unmap pages; areas are split where the range ends inside one.
---@param address integer
---@param length vmem.Size
---@return true? ok
---@return string? message
---@return string? code # EINVAL
function Process:munmap(address, length) end

---Change the protection of a range of pages.
---@param address integer
---@param length vmem.Size
---@param prot string # of r, w, x, or "none"
---@return true? ok
---@return string? message
---@return string? code # EINVAL, ENOMEM, EACCES
function Process:mprotect(address, length, prot) end

---Grow, shrink or move a mapping; its pages are not copied.
---@param address integer
---@param old vmem.Size
---@param new vmem.Size
---@param t? { maymove?: boolean, addr?: integer } # maymove: anywhere, if it can't grow where it is;
---addr: to this place, in place of what is there
---@return integer? address
---@return string? message
---@return string? code # EINVAL, EFAULT, ENOMEM
function Process:mremap(address, old, new, t) end

---Say how memory will be used. dontneed: its pages go now; free: they need not be
---written when they go; willneed: bring them in as far as frames are free;
---sequential, random, normal: how much of a file is read ahead.
---@param address integer
---@param length vmem.Size
---@param what "normal"|"random"|"sequential"|"willneed"|"dontneed"|"free"|"hugepage"|"nohugepage"
---@return true? ok
---@return string? message
---@return string? code # EINVAL, ENOMEM
function Process:madvise(address, length, what) end

---Write the dirty pages of shared mappings of files in the range to the disk.
---@param address integer
---@param length vmem.Size
---@return true? ok
---@return string? message
---@return string? code # EINVAL, ENOMEM, EIO
function Process:msync(address, length) end

---Bring pages in and keep them in memory.
---@param address integer
---@param length vmem.Size
---@return true? ok
---@return string? message
---@return string? code # EINVAL, ENOMEM
function Process:mlock(address, length) end

---Let pages be evicted again.
---@param address integer
---@param length vmem.Size
---@return true? ok
---@return string? message
---@return string? code # EINVAL, ENOMEM
function Process:munlock(address, length) end

---Which pages are in memory.
---@param address integer
---@param length vmem.Size
---@return string? pages # a byte a page, "\1" or "\0"
---@return string? message
---@return string? code # EINVAL, ENOMEM
function Process:mincore(address, length) end

---Set the break, or ask for it.
---@param address? integer
---@return integer? break_
---@return string? message
---@return string? code # ENOMEM
function Process:brk(address) end

---Move the break.
---@param n vmem.Size # bytes, negative too
---@return integer? old # the break before
---@return string? message
---@return string? code # ENOMEM
function Process:sbrk(n) end

---The most pages of its own that the process may have in frames, where replacement is
---local (reclaim.scope); raises an error where it is not.
---@param pages? integer # 0: as many as fit; holds from the next fault on
---@return integer pages
function Process:limit(pages) end

---Write the process out: all pages that it has to itself lose their frames, as load
---control does to a process that has to wait. They come back when they are touched.
---@return integer pages # that went
function Process:swap_out() end

---@class vmem.Area
---@field start integer
---@field stop integer # the first byte behind it
---@field prot string # as in "rw-"
---@field flags string # as mmap takes them, and locked
---@field name string
---@field page integer # bytes of its pages
---@field file? string # what it maps
---@field offset? integer # of its start in the file, bytes

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
---@field mapped? integer # PTEs that map the frame
---@field locked? boolean

---What the page table says of an address; nothing is counted.
---@param address integer
---@return vmem.Page
function Process:page(address) end

---The states of a range of pages, a letter each: "-" unallocated, "u" uncached, "c"
---cached, "?" a PTE that set_state did not give.
---@param start integer
---@param stop integer # the first address behind the range
---@return string letters
function Process:pages(start, stop) end

---The kernel's part of the space, by ranges; empty where it has none. Those that are
---not `shared` are this process's own: its kernel stack, and its page tables as the
---directory's entry for itself shows them, or, where the format has no such entry, its
---root table in the low region (without start and stop if it lies elsewhere).
---@return { start?: integer, stop?: integer, what: string, shared: boolean, frame?: integer }[]
function Process:kernel() end

---The first address that is not the user's.
---@return integer
function Process:user_top() end

---An object whose tostring is a text.
---@class vmem.Text
---@field text string

---A picture of the address space, the highest address first.
---@return vmem.Text # with `areas`
function Process:map() end

---The areas as /proc/PID/maps prints them.
---@return vmem.Text # with `areas`
function Process:maps() end

---The areas with what of them is in memory, as /proc/PID/smaps prints them.
---@return vmem.Text # with `areas`, each with `smap`, in bytes
function Process:smaps() end

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

---A copy of the process: pages are shared until one side writes.
---@return vmem.Process? child
---@return string? message
---@return string? code # ENOMEM
function Process:fork() end

---A child in the same space, for which the process waits: it can't be used until the
---child calls execve or exits.
---@return vmem.Process? child
---@return string? message
---@return string? code
function Process:vfork() end

---A thread: a process in the same space.
---@param name? string
---@return vmem.Process? thread
---@return string? message
---@return string? code
function Process:clone(name) end

---Run another program, which Machine:program put on the disk: areas and pages go;
---text and data are private mappings of the file, bss and heap demand-zero, argv and
---envp are on the stack. On failure the process is as it was.
---@param name string
---@param argv? string[] # { name }
---@param envp? string[] # of "NAME=value"
---@return true? ok
---@return string? message
---@return string? code # ENOENT, ENOEXEC, ENOMEM, E2BIG
function Process:execve(name, argv, envp) end

---What execve set.
---@return integer pc
---@return integer sp
function Process:registers() end

---End the process and free its memory. It is a zombie until its parent waits for it;
---its children are orphans, whom nobody needs to wait for.
---@param status? integer # 0
function Process:exit(status) end

---Ask for a child that has ended.
---@param pid? integer # any child if left out
---@return integer? pid
---@return integer|string status # or a message
---@return string? signal # that killed it; or a code: ECHILD, no such child; EAGAIN, none has ended yet
function Process:wait(pid) end

---The parent's pid; nil if the host made the process, or the parent has ended.
---@return integer?
function Process:parent() end

---@return "running"|"blocked"|"zombie"|"reaped" state # blocked: waits for a vfork child
---@return integer? status # once it has ended
---@return string? signal # that killed it
function Process:status() end

---The processor that it runs on, from 0 on. Threads and children begin where fewest run.
---@return integer
function Process:cpu() end

---Run on another processor from the next access on. What it had in TLBs and caches
---stays behind.
---@param cpu integer
---@return vmem.Process? self # nil, message, "EINVAL": there is none such
---@return string? message
---@return string? code
function Process:run_on(cpu) end

---Give a signal to a function: it gets the fault, and returns true if it has mended
---the cause, so that the access is tried again; else the process is killed. An error
---in it is raised by the access, and the process lives.
---@param signal "SIGSEGV"|"SIGBUS"
---@param handler? fun(fault: vmem.Fault): boolean? # nil: the default, death
---@return true
function Process:sigaction(signal, handler) end

---Raised by an access that can't be served; prints as one line.
---@class vmem.Fault
---@field signal "SIGSEGV"|"SIGBUS"|"SIGKILL"
---@field code "MAPERR"|"ACCERR"|"ADRERR"|"OBJERR"|"UNKNOWN"|"OOM" # no area; no permission; beyond DRAM, or beyond
---the end of a file; the disk failed or is full; a PTE that set_state did not give; memory used up
---@field addr integer
---@field access "fetch"|"load"|"store"|"modify"
---@field pid integer
