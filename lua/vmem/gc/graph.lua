--- The graph of objects and pointers that a collector sees: what its roots reach, and
--- what is garbage; as text for Graphviz (DOT), and as a picture (SVG).
--
-- In the picture a column is a distance from the roots, so that an arrow to the right is
-- the pointer by which an object was first reached; garbage stands below a line.

local escape = require("vmem.paging.plot").escape

local graph = {}

---@class vmem.gc.Node
---@field address integer
---@field size integer # bytes
---@field depth? integer # pointers from a root, 1: a root points to it; nil: garbage
---@field name string

---@class vmem.gc.Edge
---@field from integer # a node's number
---@field to integer
---@field offset integer # of the pointer in `from`

---@class vmem.gc.RootEdge
---@field kind "register"|"handle"|"memory"
---@field at? integer # of memory: the word's address
---@field to integer

---@class vmem.gc.Graph
---@field nodes vmem.gc.Node[] # in order of addresses
---@field edges vmem.gc.Edge[]
---@field roots vmem.gc.RootEdge[]
---@field garbage vmem.gc.Node[] # what no root reaches
local Graph = {}
Graph.__index = Graph

-- The node whose object an address is of.
local function finder(nodes, interior)
  return function(address)
    local lo, hi = 1, #nodes + 1
    while lo < hi do
      local mid = (lo + hi) // 2
      if math.ult(address, nodes[mid].address) then hi = mid else lo = mid + 1 end
    end
    local node = nodes[lo - 1]
    if node and (address == node.address or interior and address - node.address < node.size) then return lo - 1 end
  end
end

-- Breadth first, from all roots at once.
local function reach(g)
  local out, queue, head = {}, {}, 1
  for _, edge in ipairs(g.edges) do
    local list = out[edge.from] or {}
    list[#list + 1], out[edge.from] = edge.to, list
  end
  local function see(i, depth)
    if g.nodes[i].depth then return end
    g.nodes[i].depth = depth
    queue[#queue + 1] = i
  end
  for _, root in ipairs(g.roots) do see(root.to, 1) end
  while queue[head] do
    local i = queue[head]
    head = head + 1
    for _, to in ipairs(out[i] or {}) do see(to, g.nodes[i].depth + 1) end
  end
  for _, node in ipairs(g.nodes) do
    if not node.depth then g.garbage[#g.garbage + 1] = node end
  end
end

---@param t table nodes, edges and found (roots in memory) as the core gives them; registers, handles: addresses
---@return vmem.gc.Graph
function graph.new(t)
  local g = setmetatable({ nodes = t.nodes, edges = t.edges, roots = {}, garbage = {} }, Graph)
  local node_of = finder(t.nodes, t.interior)
  for _, kind in ipairs { "register", "handle" } do
    for _, address in ipairs(t[kind .. "s"]) do
      local to = node_of(address)
      if to then g.roots[#g.roots + 1] = { kind = kind, to = to } end
    end
  end
  for _, word in ipairs(t.found) do
    g.roots[#g.roots + 1] = { kind = "memory", at = word.offset, to = word.to }
  end
  for _, node in ipairs(t.nodes) do
    node.name = t.names and t.names[node.address] or ("%#x"):format(node.address)
  end
  reach(g)
  return g
end

function Graph:__tostring()
  return ("vmem.gc.Graph: %d objects, %d pointers, %d roots, %d objects are garbage"):format(#self.nodes, #self.edges,
    #self.roots, #self.garbage)
end

local function root_name(root)
  return root.kind == "memory" and ("%#x"):format(root.at) or root.kind
end

local function quoted(s) return '"' .. s:gsub('[\\"]', "\\%0") .. '"' end

---The graph for Graphviz: roots are boxes, garbage is dashed.
---@return string
function Graph:dot()
  local out = { "digraph gc {", "  rankdir=LR;", "  node [shape=record];" }
  local function put(s, ...) out[#out + 1] = s:format(...) end
  for i, root in ipairs(self.roots) do
    put("  r%d [shape=box, style=filled, label=%s];", i, quoted(root_name(root)))
    put("  r%d -> n%d;", i, root.to)
  end
  for i, node in ipairs(self.nodes) do
    put("  n%d [label=%s%s];", i, quoted(("%s|%d bytes"):format(node.name:gsub("[{}|<>]", "\\%0"), node.size)),
      node.depth and "" or ", style=dashed, color=grey")
  end
  for _, edge in ipairs(self.edges) do put("  n%d -> n%d [label=\"+%d\"];", edge.from, edge.to, edge.offset) end
  out[#out + 1] = "}\n"
  return table.concat(out, "\n")
end

local W, H, DX, DY, LEFT, TOP = 104, 34, 160, 58, 20, 58
local MOST = 400 -- objects of a picture that can still be read

-- Places: roots and objects in columns by depth; garbage in rows below. Of a root, or the
-- object at places[node]: its left upper corner.
local function lay_out(self)
  local rows, places, roots = { [0] = 0 }, {}, {}
  for i in ipairs(self.roots) do roots[i] = { LEFT, TOP + (i - 1) * DY } end
  local deepest, tallest = 0, #self.roots
  for _, node in ipairs(self.nodes) do
    if node.depth then
      rows[node.depth] = (rows[node.depth] or 0) + 1
      places[node] = { LEFT + node.depth * DX, TOP + (rows[node.depth] - 1) * DY }
      deepest, tallest = math.max(deepest, node.depth), math.max(tallest, rows[node.depth])
    end
  end
  local line, columns = TOP + tallest * DY, math.max(deepest + 1, 4)
  for i, node in ipairs(self.garbage) do
    places[node] = { LEFT + (i - 1) % columns * DX, line + 30 + (i - 1) // columns * DY }
  end
  local height = #self.garbage > 0 and line + 30 + ((#self.garbage - 1) // columns + 1) * DY or line
  return roots, places, line, LEFT + columns * DX, height + 8
end

-- From the right edge of one box to the left edge of another that is further right; else
-- from top to top, by an arc above; within a column beside it.
local function arrow(a, b, colour, dash)
  local function path(s, ...)
    return ('<path d="%s" fill="none" stroke="%s"%s marker-end="url(#a)"/>'):format(s:format(...), colour, dash)
  end
  local x0, y0, x1, y1 = a[1] + W, a[2] + H / 2, b[1], b[2] + H / 2
  if a == b then
    return path("M%d %dC%d %d %d %d %d %d", x0 - 26, a[2], x0 - 26, a[2] - 18, x0 - 6, a[2] - 18, x0 - 6, a[2])
  end
  if x1 >= x0 then return path("M%d %dC%d %d %d %d %d %d", x0, y0, x0 + 24, y0, x1 - 24, y1, x1, y1) end
  if a[1] == b[1] then
    return path("M%d %dC%d %d %d %d %d %d", x0, y0 + 6, x0 + 26, y0 + 6, x0 + 26, y1 - 6, x0, y1 - 6)
  end
  x0, x1 = a[1] + W / 2 - 10, b[1] + W / 2 + 10
  return path("M%d %dC%d %d %d %d %d %d", x0, a[2], x0 - 30, a[2] - 26, x1 + 30, b[2] - 26, x1, b[2])
end

---The graph as a picture, of 400 objects at the most.
---@return string svg
function Graph:svg()
  if #self.nodes > MOST then
    error(("gc: a picture shows %d objects at the most, but there are %d (dot has all)"):format(MOST, #self.nodes), 2)
  end
  local roots, places, line, width, height = lay_out(self)
  local out = { ('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" '
    .. 'font-family="sans-serif" font-size="12">'):format(width, height, width, height),
    '<defs><marker id="a" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    .. '<path d="M0 0L8 4L0 8z" fill="#555"/></marker></defs>',
    '<rect width="100%" height="100%" fill="white"/>' }
  local function put(s, ...) out[#out + 1] = s:format(...) end
  put('<text x="%d" y="22" font-size="14">%d objects are reached, %d are garbage</text>', LEFT,
    #self.nodes - #self.garbage, #self.garbage)
  if #self.garbage > 0 then
    put('<path d="M%d %dH%d" stroke="#bbb" stroke-dasharray="2 3"/>', LEFT, line, width - LEFT)
    put('<text x="%d" y="%d" fill="#888">garbage</text>', LEFT, line + 18)
  end
  for _, edge in ipairs(self.edges) do
    local from, to = self.nodes[edge.from], self.nodes[edge.to]
    put("%s", arrow(places[from], places[to], from.depth and "#1b6ca8" or "#999",
      from.depth and "" or ' stroke-dasharray="4 3"'))
  end
  for i, root in ipairs(self.roots) do
    local at = roots[i]
    put("%s", arrow(at, places[self.nodes[root.to]], "#c8553d", ""))
    put('<rect x="%d" y="%d" width="%d" height="%d" fill="#fdeee8" stroke="#c8553d"/>', at[1], at[2], W, H)
    put('<text x="%d" y="%d" text-anchor="middle">%s</text>', at[1] + W // 2, at[2] + H // 2 + 4,
      escape(root_name(root)))
  end
  for _, node in ipairs(self.nodes) do
    local at = places[node]
    put('<rect x="%d" y="%d" width="%d" height="%d" rx="6" fill="%s" stroke="%s"%s/>', at[1], at[2], W, H,
      node.depth and "#e8f1f8" or "#f4f4f4", node.depth and "#1b6ca8" or "#999",
      node.depth and "" or ' stroke-dasharray="4 3"')
    put('<text x="%d" y="%d" text-anchor="middle">%s</text>', at[1] + W // 2, at[2] + 14, escape(node.name))
    put('<text x="%d" y="%d" text-anchor="middle" fill="#777" font-size="10">%d bytes</text>', at[1] + W // 2,
      at[2] + 27, node.size)
  end
  out[#out + 1] = "</svg>\n"
  return table.concat(out, "\n")
end

return graph
