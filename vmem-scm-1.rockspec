rockspec_format = "3.0"
package = "vmem"
version = "scm-1"
source = {
   url = "git+file://.",
}
description = {
   summary = "A virtual-memory laboratory",
   detailed = [[
      A whole virtual-memory machine that you script from Lua: TLBs, page
      tables, caches, a paging kernel and traces of real programs, simulated
      by a C core, access by access.
   ]],
   license = "MIT",
}
dependencies = {
   "lua ~> 5.4",
   "lpeg >= 1.0",
   "argparse >= 0.7",
   "dkjson >= 2.5",
}
test_dependencies = {
   "luaunit >= 3.4",
}
external_dependencies = {
   ZLIB = { header = "zlib.h" },
   ZSTD = { header = "zstd.h" },
}
build = {
   type = "builtin",
   modules = {
      ["vmem"] = "lua/vmem/init.lua",
      ["vmem.boot"] = "lua/vmem/boot.lua",
      ["vmem.cli"] = "lua/vmem/cli.lua",
      ["vmem.cli.common"] = "lua/vmem/cli/common.lua",
      ["vmem.cli.convert"] = "lua/vmem/cli/convert.lua",
      ["vmem.cli.explain"] = "lua/vmem/cli/explain.lua",
      ["vmem.cli.heap"] = "lua/vmem/cli/heap.lua",
      ["vmem.cli.info"] = "lua/vmem/cli/info.lua",
      ["vmem.cli.options"] = "lua/vmem/cli/options.lua",
      ["vmem.cli.paging"] = "lua/vmem/cli/paging.lua",
      ["vmem.cli.record"] = "lua/vmem/cli/record.lua",
      ["vmem.cli.run"] = "lua/vmem/cli/run.lua",
      ["vmem.command"] = "lua/vmem/command.lua",
      ["vmem.detector"] = "lua/vmem/detector.lua",
      ["vmem.events"] = "lua/vmem/events.lua",
      ["vmem.explain"] = "lua/vmem/explain.lua",
      ["vmem.frames"] = "lua/vmem/frames.lua",
      ["vmem.gc"] = "lua/vmem/gc.lua",
      ["vmem.gc.graph"] = "lua/vmem/gc/graph.lua",
      ["vmem.generate"] = "lua/vmem/generate.lua",
      ["vmem.heap"] = "lua/vmem/heap.lua",
      ["vmem.heap.allocator"] = "lua/vmem/heap/allocator.lua",
      ["vmem.heap.check"] = "lua/vmem/heap/check.lua",
      ["vmem.heap.compare"] = "lua/vmem/heap/compare.lua",
      ["vmem.heap.diverge"] = "lua/vmem/heap/diverge.lua",
      ["vmem.heap.driver"] = "lua/vmem/heap/driver.lua",
      ["vmem.heap.loss"] = "lua/vmem/heap/loss.lua",
      ["vmem.heap.facts"] = "lua/vmem/heap/facts.lua",
      ["vmem.heap.patterns"] = "lua/vmem/heap/patterns.lua",
      ["vmem.heap.record"] = "lua/vmem/heap/record.lua",
      ["vmem.heap.rep"] = "lua/vmem/heap/rep.lua",
      ["vmem.heap.stepper"] = "lua/vmem/heap/stepper.lua",
      ["vmem.heap.subject"] = "lua/vmem/heap/subject.lua",
      ["vmem.heap.view"] = "lua/vmem/heap/view.lua",
      ["vmem.machine"] = "lua/vmem/machine.lua",
      ["vmem.maps"] = "lua/vmem/maps.lua",
      ["vmem.memory"] = "lua/vmem/memory.lua",
      ["vmem.paging"] = "lua/vmem/paging.lua",
      ["vmem.paging.comparison"] = "lua/vmem/paging/comparison.lua",
      ["vmem.paging.curve"] = "lua/vmem/paging/curve.lua",
      ["vmem.paging.locality"] = "lua/vmem/paging/locality.lua",
      ["vmem.paging.log"] = "lua/vmem/paging/log.lua",
      ["vmem.paging.options"] = "lua/vmem/paging/options.lua",
      ["vmem.paging.plot"] = "lua/vmem/paging/plot.lua",
      ["vmem.paging.refs"] = "lua/vmem/paging/refs.lua",
      ["vmem.program"] = "lua/vmem/program.lua",
      ["vmem.options"] = "lua/vmem/options.lua",
      ["vmem.policy"] = "lua/vmem/policy.lua",
      ["vmem.policy.check"] = "lua/vmem/policy/check.lua",
      ["vmem.presets"] = "lua/vmem/presets.lua",
      ["vmem.record"] = "lua/vmem/record.lua",
      ["vmem.report"] = "lua/vmem/report.lua",
      ["vmem.say"] = "lua/vmem/say.lua",
      ["vmem.shrink"] = "lua/vmem/shrink.lua",
      ["vmem.states"] = "lua/vmem/states.lua",
      ["vmem.text"] = "lua/vmem/text.lua",
      ["vmem.trace"] = "lua/vmem/trace.lua",
      ["vmem.core"] = {
         sources = { "src/vmem_all.c" },
         defines = { "_GNU_SOURCE=" },
         libraries = { "z", "zstd", "pthread", "m" },
         incdirs = { "$(ZLIB_INCDIR)", "$(ZSTD_INCDIR)" },
         libdirs = { "$(ZLIB_LIBDIR)", "$(ZSTD_LIBDIR)" },
      },
      -- No module of Lua's: the recorder, which QEMU loads.
      ["libvmem-record"] = {
         sources = {
            "src/record/image.c",
            "src/record/recorder.c",
            "src/record/touches.c",
            "src/record/writer.c",
         },
         defines = { "_GNU_SOURCE=" },
         libraries = { "pthread" },
      },
      -- Nor this: the recorder of allocations, which programs load.
      ["libvmem-malloc"] = {
         sources = { "src/record/malloc.c" },
         defines = { "_GNU_SOURCE=" },
         libraries = { "dl" },
      },
   },
   install = {
      bin = { vmem = "bin/vmem" },
   },
}
test = {
   type = "command",
   command = "make test",
}
