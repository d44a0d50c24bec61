-- Posts the bodies of a file, one after the other; each thread begins at another.
local requests = {}
local next_request = 0
local threads = 0

function setup(thread)
  thread:set("offset", threads * 331)
  threads = threads + 1
end

function init(arguments)
  local headers = { ["Content-Type"] = "application/json" }
  for body in io.lines(arguments[1]) do
    requests[#requests + 1] = wrk.format("POST", "/v1/builds", headers, body)
  end
  next_request = offset
end

function request()
  next_request = next_request % #requests + 1
  return requests[next_request]
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
