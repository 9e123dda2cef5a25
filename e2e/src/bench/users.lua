-- For wrk: PUT users with ids that no other run, thread or request has. Bodies of one length, so that the head is fixed.
-- Arguments: the run's tag, the state that is waited for (else the service's own).
local threads = {}

function setup(thread)
   thread:set("number", #threads)
   table.insert(threads, thread)
end

function init(args)
   sent = 0
   id = args[1] .. "-" .. number .. "-"
   local sample = body(id .. "00000000", 10)
   local prefer = args[2] and "\r\nPrefer: state=" .. args[2] or ""
   head = " HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json" .. prefer
      .. "\r\nContent-Length: " .. #sample .. "\r\n\r\n"
end

function body(id, age)
   return '{"name":"user ' .. id .. '","age":' .. age .. ',"occupation":"builder of bridges and harbours",'
      .. '"first_name":"Maximiliane","last_name":"Hohenstein-Lindenberg"}'
end

function request()
   sent = sent + 1
   local own = id .. string.format("%08d", sent)
   return "PUT /users/" .. own .. head .. body(own, 10 + sent % 90)
end

-- One line for the bench: what was sent (a few of it unanswered when the time is over), answered, refused.
function done(summary, latency, requests)
   local all = 0
   for _, thread in ipairs(threads) do all = all + thread:get("sent") end
   local e = summary.errors
   io.write(string.format(
      '\n{"sent":%d,"answered":%d,"micros":%d,"refused":%d,"broken":%d,"p50":%d,"p99":%d}\n',
      all, summary.requests, summary.duration, e.status, e.connect + e.read + e.write + e.timeout,
      latency:percentile(50), latency:percentile(99)))
end
