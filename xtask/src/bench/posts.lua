-- Posts the bodies of a file, one after the other; each thread begins at another. With `fresh` after the file's
-- name no two bodies have the same bytes: white space that JSON does not mind follows each.
local bodies = {}
local requests = {}
local next_request = 0
local fresh = false
local count = 0
local threads = 0
local headers = { ["Content-Type"] = "application/json" }
local blanks = {}

function setup(thread)
  thread:set("number", threads)
  threads = threads + 1
end

function init(arguments)
  fresh = arguments[2] == "fresh"
  for body in io.lines(arguments[1]) do
    bodies[#bodies + 1] = body
    requests[#requests + 1] = wrk.format("POST", "/v1/builds", headers, body)
  end
  next_request = number * 331
  count = number * 2 ^ 22 + os.time() % 1000 * 2 ^ 24
  for n = 0, 255 do
    local bits = {}
    for bit = 0, 7 do
      bits[#bits + 1] = math.floor(n / 2 ^ bit) % 2 == 0 and " " or "\t"
    end
    blanks[n] = table.concat(bits)
  end
end

function request()
  next_request = next_request % #requests + 1
  if not fresh then
    return requests[next_request]
  end
  count = count + 1
  local tail, rest = {}, count
  for n = 1, 5 do
    tail[n] = blanks[rest % 256]
    rest = math.floor(rest / 256)
  end
  return wrk.format("POST", "/v1/builds", headers, bodies[next_request] .. table.concat(tail))
end

function done(summary, latency, _)
  local errors = summary.errors
  io.write(string.format(
    "figures %d %.3f %.3f %d\n",
    summary.requests / (summary.duration / 1e6),
    latency:percentile(50) / 1000,
    latency:percentile(99) / 1000,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout
  ))
end
