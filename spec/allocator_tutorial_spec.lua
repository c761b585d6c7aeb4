-- docs/allocators-in-lua.md is one program: it runs, and prints what it says it does.
local tutorial = require("tutorial")

TestAllocatorTutorial = {}

function TestAllocatorTutorial.testRuns() tutorial("allocators-in-lua.md") end
