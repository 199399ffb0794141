-- Sends each body in turn; with RATE in the environment, so many requests a second over all connections.
local ffi = require("ffi")
ffi.cdef [[
  typedef struct { long seconds; long nanoseconds; } instant;
  int clock_gettime(int clock, instant *now);
]]
local held = ffi.new("instant")
local function now()
  ffi.C.clock_gettime(1, held)
  return tonumber(held.seconds) * 1000 + tonumber(held.nanoseconds) / 1e6
end

local turn, due = 0, 0
local rate = tonumber(os.getenv("RATE") or "0")
wrk.method = "POST"

function request()
  turn = turn % #BODIES + 1
  return wrk.format(nil, nil, nil, BODIES[turn])
end

if rate > 0 then
  function delay()
    local moment = now()
    due = math.max(due + 1000 / rate, moment - 50)
    return math.max(0, math.floor(due - moment + 0.5))
  end
end

function done(summary, latency, requests)
  local failed = summary.errors
  io.write(string.format(
    '\nRESULT {"requests": %d, "seconds": %.3f, "p50_ms": %.3f, "p95_ms": %.3f, "p99_ms": %.3f, "errors": %d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(95) / 1e3,
    latency:percentile(99) / 1e3, failed.connect + failed.read + failed.write + failed.status + failed.timeout))
end
