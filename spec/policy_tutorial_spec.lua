-- docs/policies-in-lua.md is one program: it runs, and prints what it says it does.
local tutorial = require("tutorial")

TestPolicyTutorial = {}

function TestPolicyTutorial.testRuns() tutorial("policies-in-lua.md") end
