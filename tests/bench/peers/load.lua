-- wrk's part: arguments are the file of keys, the method, the bytes of the body and "keep" or "close".
local requests, at = {}, 0

function init(args)
    local method, body = args[2], nil
    if tonumber(args[3]) > 0 then body = string.rep("x", tonumber(args[3])) end
    for key in io.lines(args[1]) do
        local headers = { ["Authorization"] = "Bearer " .. key, ["User-Agent"] = "bench/1.0", ["Accept"] = "*/*" }
        if body then headers["Content-Type"] = "application/json" end
        if args[4] == "close" then headers["Connection"] = "close" end
        requests[#requests + 1] = wrk.format(method, nil, headers, body)
    end
end

function request()
    at = at % #requests + 1
    return requests[at]
end

function done(summary, latency)
    local errors = summary.errors
    io.write(string.format('{"requests":%d,"seconds":%f,"refused":%d,"broken":%d}\n', summary.requests,
        summary.duration / 1e6, errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
