-- Random programs that share memory, against a flat model; `make soak` runs more.
local lu = require("luaunit")
local kfuzz = require("fuzz.kernel_fuzz")

local scale = require("scale")

TestKernelFuzz = {}

function TestKernelFuzz:testProcessesThatShareSeeTheBytesOfAFlatModel()
    for seed = 1, math.ceil(50 * scale) do lu.assertNil(kfuzz.case(seed, 120)) end
end

-- A page of a file without a block was taken for a dirty one; a forked child had its
-- parent's locks; an execve without memory looked for a victim without end.
function TestKernelFuzz:testSeedsThatFailed()
    for _, seed in ipairs({ 24, 57, 5006 }) do lu.assertNil(kfuzz.case(seed, 200)) end
end
